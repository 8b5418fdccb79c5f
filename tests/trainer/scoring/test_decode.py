"""Does the search find what a literal search finds, row by row, in one program for each shape?"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.trainer import compiling
from trainer.models import Settings, forward, init_params
from trainer.scoring import decode as decoding
from trainer.scoring.decode import EOS, PAD, UNKNOWN, Found, decode, find, translate_all

ROOT = Path(__file__).parents[3]
NMT = Settings(d_model=16, d_attention=16, d_ff=24, heads=2, layers=1, vocabulary=6)
T5 = dataclasses.replace(NMT, positions="relative", norm="rms", activation="gated-gelu")
SHARED, PREFIX, CAUSAL = (
    dataclasses.replace(T5, stacks=stacks) for stacks in ("shared", "prefix-lm", "language-model")
)
SOURCE = np.array([[3, 4, 5, 2, 1], [5, 1, 0, 0, 0], [2, 2, 4, 1, 0], [4, 3, 3, 5, 1]], np.int32)
LENGTH = 6

# Float32, with other orders of sums: 1e-7 of log-probabilities of up to about 20.
CLOSE = {"rtol": 0, "atol": 5e-5}

logits_of = jax.jit(forward, static_argnums=0, compiler_options=compiling.OPTIONS)


def lively_params(settings: Settings, seed: int = 0) -> Any:
    """Parameters that write sentences of several lengths: what comes next depends on what was read and
    written, some tokens are far likelier than others, and the end seldom is the likeliest."""
    params = init_params(settings, seed)
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 2 * x if jax.tree_util.keystr(path).endswith("['kernel']") else x, params
    )
    params["embedding"][PAD] = 0.0
    params["embedding"][EOS] *= 0.3
    params["decoder_norm"]["scale"] *= 3
    return params


def with_end(params: Any, logit: float) -> Any:
    """The same model but for the end's logit, which is this in every place: the last norm's bias has a
    dimension for it alone."""
    norm = {name: value.copy() for name, value in params["decoder_norm"].items()}
    norm["scale"][0], norm["bias"][0] = 0.0, 4.0  # times d_model^-0.5, a quarter: 1
    embedding = params["embedding"].copy()
    embedding[:, 0] = 0.0
    embedding[EOS] = 0.0
    embedding[EOS, 0] = logit
    return params | {"embedding": embedding, "decoder_norm": norm}


# -- the literal searches --------------------------------------------------------------------------------


def log_probabilities(settings: Settings, params: Any, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of every token of targets (n, length) of one source, by recomputation, in float64: (n, length, V)."""
    shifted = np.pad(target, ((0, 0), (1, 0)))[:, :-1]
    batch = {"source": np.repeat(source[None], len(target), axis=0), "target_in": shifted}
    logits = np.asarray(logits_of(settings, params, batch), np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def divisor(tokens: int, exponent: float) -> float:
    return ((5 + tokens) / 6) ** exponent


def best_of_all(
    settings: Settings, params: Any, source: np.ndarray, *, length: int, exponent: float
) -> tuple[list[int], float]:
    """Every hypothesis there is."""
    others = [token for token in range(settings.vocabulary) if token not in (PAD, EOS)]
    all_of_them = [ids for n in range(length) for ids in itertools.product(others, repeat=n)]
    target = np.zeros((len(all_of_them), length), np.int32)
    for row, ids in enumerate(all_of_them):
        target[row, : len(ids) + 1] = (*ids, EOS)
    each = np.take_along_axis(
        log_probabilities(settings, params, source, target), target[..., None].astype(int), axis=-1
    )[..., 0]
    scores = [
        each[row, : len(ids) + 1].sum() / divisor(len(ids) + 1, exponent)
        for row, ids in enumerate(all_of_them)
    ]
    winner = int(np.argmax(scores))
    return list(all_of_them[winner]), float(scores[winner])


def literal_search(
    settings: Settings, params: Any, source: np.ndarray, *, beam: int, length: int, exponent: float
) -> tuple[list[int], float]:
    """Beam search as one would tell it, without a cache; unknown text is never written."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for step in range(length):
        target = np.zeros((beam, length), np.int32)
        for row, (_, ids) in enumerate(live):
            target[row, : len(ids)] = ids
        following = log_probabilities(settings, params, source, target)[:, step]
        allowed = [EOS] if step == length - 1 else [t for t in range(settings.vocabulary) if t not in (0, 2)]
        candidates = sorted(
            ((logp + following[row, t], [*ids, t]) for row, (logp, ids) in enumerate(live) for t in allowed),
            reverse=True,
        )
        ended += [(p / divisor(step + 1, exponent), ids) for p, ids in candidates[:beam] if ids[-1] == EOS]
        live = [(p, ids) for p, ids in candidates if ids[-1] != EOS][:beam]
        if len(ended) >= beam:
            break
        if ended and live and max(ended)[0] >= live[0][0] / divisor(length, exponent):
            break
    score, ids = max(ended)
    return ids[:-1], score


def sentences(found: Found) -> list[list[int]]:
    return [row[row != PAD].tolist() for row in np.asarray(found.ids)]


# -- what is found ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "exponent"),
    [(T5, 0.0), (T5, 0.6), (T5, 3.0), (SHARED, 0.6), (PREFIX, 0.6), (CAUSAL, 0.6)],
    ids=["0", "0.6", "3", "shared", "prefix-lm", "language-model"],
)
def test_a_wide_beam_finds_the_best_of_all_sequences(settings: Settings, exponent: float) -> None:
    # 85 hypotheses of at most 4 tokens, 80 candidates before the last step: none is ever dropped.
    for seed in range(6):
        params = lively_params(settings, seed)
        found = find(settings, params, SOURCE, beam=80, length=4, length_penalty=exponent)
        expected = [best_of_all(settings, params, source, length=4, exponent=exponent) for source in SOURCE]
        assert sentences(found) == [ids for ids, _ in expected]
        np.testing.assert_allclose(found.scores, [score for _, score in expected], **CLOSE)


@pytest.mark.parametrize(
    ("settings", "beam", "least_cache", "length"),
    [
        (T5, 1, 16, LENGTH),
        (NMT, 3, 16, LENGTH),
        (T5, 2, 3, 7),
        (SHARED, 2, 16, LENGTH),
        (dataclasses.replace(NMT, stacks="prefix-lm"), 1, 16, LENGTH),
        (PREFIX, 3, 3, 7),
        (dataclasses.replace(NMT, stacks="language-model"), 1, 16, LENGTH),
        (CAUSAL, 3, 16, LENGTH),
    ],
    ids=[
        "greedy",
        "beam",
        "cache that grows",
        "shared",
        "greedy behind a prefix",
        "cache that grows behind a prefix",
        "greedy in a language model",
        "beam in a language model",
    ],
)
def test_a_narrow_beam_finds_what_a_literal_search_without_a_cache_finds(
    settings: Settings, beam: int, least_cache: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LEAST_CACHE", least_cache)  # length 7 stands in no other test
    lengths = set()
    for seed in range(5):
        params = lively_params(settings, seed)
        exponent = seed / 2
        found = find(
            settings, params, SOURCE, beam=beam, length_penalty=exponent, length=length, unknown=False
        )
        expected = [
            literal_search(settings, params, source, beam=beam, length=length, exponent=exponent)
            for source in SOURCE
        ]
        assert sentences(found) == [ids for ids, _ in expected]
        np.testing.assert_allclose(found.scores, [score for _, score in expected], **CLOSE)
        lengths |= {len(ids) for ids, _ in expected}
    assert len(lengths) > 2, "these models end too much alike to tell anything"


def test_a_cache_doubles_up_to_the_length() -> None:
    sizes = {length: decoding._cache_sizes(length) for length in (1, 31, 32, 65)}
    assert sizes == {1: [1], 31: [31], 32: [16, 32], 65: [17, 33, 65]}


def test_a_beam_of_one_writes_the_likeliest_token_at_every_step() -> None:
    for seed in range(3):
        params = lively_params(T5, seed)
        ids = np.asarray(decode(T5, params, SOURCE, beam=1, length=LENGTH, unknown=False))
        for source, row in zip(SOURCE, ids, strict=True):
            likely = log_probabilities(T5, params, source, row[None])[0]
            likely[:, [PAD, UNKNOWN]] = -np.inf
            likely[-1, EOS] = 0  # the last step can only end
            n = np.count_nonzero(row)
            np.testing.assert_array_equal(likely.argmax(axis=-1)[: n + 1], [*row[:n], EOS])


def test_padding_is_never_written() -> None:
    def first(params: Any) -> int:
        nothing = np.zeros((1, LENGTH), np.int32)
        return int(log_probabilities(T5, params, SOURCE[0], nothing)[0, 0].argmax())

    params = lively_params(T5)
    params["embedding"][PAD] = 3 * params["embedding"][first(params)]
    assert first(params) == PAD, "it would not be written anyway"
    ids = np.asarray(decode(T5, params, SOURCE, length=LENGTH))
    assert not any(PAD in np.trim_zeros(row, "b") for row in ids)
    assert ids[0].any()


def test_unknown_text_is_written_only_when_it_may() -> None:
    params = lively_params(T5, 3)
    assert UNKNOWN in np.asarray(decode(T5, params, SOURCE, length=LENGTH))
    known = np.asarray(decode(T5, params, SOURCE, beam=1, length=LENGTH, unknown=False))
    assert UNKNOWN not in known
    assert known.any()


# -- when it ends ----------------------------------------------------------------------------------------


def test_the_search_ends_once_nothing_can_beat_what_is_finished() -> None:
    sure = with_end(lively_params(NMT), 40.0)
    found = find(NMT, sure, SOURCE, beam=3, length=LENGTH, unknown=False)
    assert sentences(found) == [[]] * 4
    np.testing.assert_allclose(found.scores, 0, **CLOSE)
    assert int(found.steps) == 1
    loath = with_end(sure, -40.0)
    assert int(find(NMT, loath, SOURCE, beam=3, length=LENGTH, unknown=False).steps) == LENGTH


def test_rows_do_not_influence_each_other() -> None:
    params = lively_params(T5)
    together = find(T5, params, SOURCE, length=LENGTH)
    among_others = SOURCE[[2, 0, 1, 3]]
    among_others[[1, 3]] = 0  # empty
    found = find(T5, params, among_others, length=LENGTH)
    texts = sentences(together)
    assert len({len(ids) for ids in texts}) > 2
    assert sentences(found) == [texts[2], [], texts[1], []]
    scores = np.asarray(together.scores)
    np.testing.assert_allclose(found.scores, [scores[2], -np.inf, scores[1], -np.inf], **CLOSE)
    assert int(find(T5, params, 0 * SOURCE, length=LENGTH).steps) == 0


# -- many sentences, programs and devices ----------------------------------------------------------------


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The shapes of the sources of all searches that are traced, each of which is a program of its own."""
    shapes, start = [], decoding._start

    def noted(settings: Any, params: Any, source: Any, **sizes: Any) -> Any:
        shapes.append(source.shape)
        return start(settings, params, source, **sizes)

    monkeypatch.setattr(decoding, "_start", noted)
    decoding._found.__wrapped__.clear_cache()
    yield shapes
    decoding._found.__wrapped__.clear_cache()


def test_sentences_come_back_in_their_order_and_few_programs_are_compiled(traced: list[Any]) -> None:
    params = lively_params(T5)
    rng = np.random.default_rng(0)
    sources = [rng.integers(2, 6, n).tolist() for n in (3, 17, 0, 9, 30, 1, 12, 5, 16)]
    together = translate_all(T5, params, sources, rows=4, beam=2, length=5)
    assert traced == [(4, 16), (4, 32)]
    assert together[2] == []
    for number, source in enumerate(sources):
        if 0 < len(source) <= 16:  # padded to 16 alone, too
            assert translate_all(T5, params, [source], rows=4, beam=2, length=5) == [together[number]]
    assert len(traced) == 2
    assert len({tuple(ids) for ids in together}) > 3
    assert translate_all(T5, params, [], rows=4) == []


def test_a_narrow_model_translates_few_rows_at_a_time(traced: list[Any]) -> None:
    sources = [[2, 3], [4, 5, 3]]
    by_default = translate_all(T5, lively_params(T5), sources, beam=1, length=5)
    assert traced == [(decoding.NARROW_ROWS, 16)]
    assert by_default == translate_all(T5, lively_params(T5), sources, rows=4, beam=1, length=5)


def test_one_program_serves_all_parameters_and_penalties(traced: list[Any]) -> None:
    run = functools.partial(find, T5, source=SOURCE, length=LENGTH)
    run(params=lively_params(T5))
    assert len(traced) == 1
    others = [run(params=lively_params(T5, n), length_penalty=n / 5).scores for n in range(1, 4)]
    assert len(traced) == 1
    assert len(np.unique(np.array(others))) == 12


def test_a_sharded_search_finds_what_one_device_finds() -> None:
    flags = compiling.flags(devices=8)
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer.scoring.decode_program"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sharded = json.loads(done.stdout.splitlines()[-1])
    for settings, translations in zip((T5, PREFIX), sharded["translations"], strict=True):
        alone = translate_all(settings, lively_params(settings), sharded["sources"], rows=4, beam=2, length=5)
        assert translations == alone
        assert len({tuple(ids) for ids in alone}) > 3


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"beam": 0}, "The beam is 0. Allowed is a whole number from 1."),
        ({"length": 0}, "The length is 0. Allowed is a whole number from 1."),
        (
            {"length_penalty": -1},
            "The length penalty is -1. Allowed is a number from 0 (none); 0.6 is usual.",
        ),
        ({"source": SOURCE[0]}, "The source has the shape (5,). Give (rows, length), 0 for padding."),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        find(NMT, {}, **{"source": SOURCE, "length": 4, **options})
    assert str(refused.value) == sentence


def test_sources_that_cannot_be_translated_are_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError) as refused:
        translate_all(NMT, {}, [[3]], rows=0)
    assert str(refused.value) == "rows is 0. Allowed is a whole number from 1."
    with pytest.raises(ValueError) as refused:
        translate_all(NMT, {}, [[3], [], [2, 6]], rows=4)
    assert str(refused.value).startswith("A source holds the id 6, and the model has 6 of them, from 0.")
