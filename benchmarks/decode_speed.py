"""How many sentences a second are written? Ours over `generate` of Hugging Face transformers.

By beam search: an encoder-decoder of equal dimensions, layers, heads, vocabulary and tied embeddings (theirs
is a Marian, the faster of their two, T5 being the other), random weights, sources of 17 to 32 tokens sorted
by length, 32 rows at a time, beam 4, 32 steps for every sentence since neither side may end before.
`vs_hf_t5`: greedily, as for a task, a T5 of both, 64 rows at a time, exactly 8 tokens. One thread, one core,
CPU time, both in turn in every round; from lists of ids to lists of ids.  python -m benchmarks.decode_speed
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import their_t5
from benchmarks.measuring import Result, result, show, spread
from trainer.config import ModelConfig
from trainer.models import Settings, init_params, model_settings
from trainer.scoring.decode import EOS, PAD, translate_all

STEPS, ROWS = 32, 32
T5_STEPS, T5_ROWS = 8, 64
# Of a model: vocabulary, sentences, rounds.
SIZES = {"tiny": (320, 128, 9), "small": (8_000, 32, 5)}
T5_SIZES = {"t5-tiny": (320, 256, 9), "t5-small": (32_128, 64, 3)}
Translate = Callable[[list[list[int]]], object]


def one_thread() -> None:
    """For JAX before it starts its threads, which it does when first used, and for PyTorch."""
    import torch

    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def sentences(count: int, vocabulary: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return sorted((rng.integers(3, vocabulary, rng.integers(17, 33)).tolist() for _ in range(count)), key=len)


def ours(settings: Settings, *, beam: int) -> Translate:
    params = init_params(settings, 0)
    # One dimension of the last norm is there to make the end impossible before the last step.
    params["decoder_norm"]["scale"][0], params["decoder_norm"]["bias"][0] = 0, 100
    params["embedding"][:, 0] = 0
    params["embedding"][EOS, 0] = -100
    params = jax.device_put(params)

    def translate(sources: list[list[int]]) -> object:
        written = translate_all(settings, params, sources, rows=ROWS, beam=beam, length=STEPS)
        assert {len(ids) for ids in written} == {STEPS - 1}  # and the end
        return written

    return translate


def theirs(settings: Settings, *, beam: int) -> Translate:
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    s = settings
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", s.layers), ("attention_heads", s.heads), ("ffn_dim", s.d_ff))
    }
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    config = MarianConfig(
        vocab_size=s.vocabulary,
        d_model=s.d_model,
        activation_function=s.activation,
        max_position_embeddings=128,
        forced_eos_token_id=None,
        **sizes,
        **ids,
    )
    penalty = {"length_penalty": 0.6} if beam > 1 else {}
    return generating(MarianMTModel(config), rows_at_a_time=ROWS, steps=STEPS, num_beams=beam, **penalty)


def our_t5(settings: Settings) -> Translate:
    params = jax.device_put(init_params(settings, 0))

    def answer(sources: list[list[int]]) -> object:
        # The last step writes the end, which no step before may.
        written = translate_all(
            settings, params, sources, rows=T5_ROWS, beam=1, length=T5_STEPS, never=(EOS,)
        )
        assert {len(ids) for ids in written} == {T5_STEPS - 1}
        return written

    return answer


def generating(model: Any, *, rows_at_a_time: int, steps: int, **search: Any) -> Translate:
    """Theirs, as its documentation would have it."""
    import torch

    model.eval()

    def translate(sources: list[list[int]]) -> object:
        written = []
        for begin in range(0, len(sources), rows_at_a_time):
            rows = sources[begin : begin + rows_at_a_time]
            batch = torch.zeros(len(rows), len(rows[-1]), dtype=torch.long)
            for row, source in enumerate(rows):
                batch[row, : len(source)] = torch.tensor(source)
            with torch.inference_mode():
                ids = model.generate(
                    batch,
                    attention_mask=(batch != PAD).long(),
                    do_sample=False,
                    min_new_tokens=steps,
                    max_new_tokens=steps,
                    **search,
                )
            assert ids.shape == (len(rows), 1 + steps)
            written += ids[:, 1:].tolist()
        return written

    return translate


def in_turn(sides: dict[str, Translate], sources: list[list[int]], *, rounds: int) -> dict[str, Any]:
    """Sentences per second of both, and the ratio by round."""
    times_s: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):  # the first compiles
        for side, translate in sides.items():
            begun_s = time.process_time()
            translate(sources)
            if number:
                times_s[side].append(time.process_time() - begun_s)
    rates = {side: len(sources) / statistics.median(times) for side, times in times_s.items()}
    by_round = [t / o for t, o in zip(times_s["theirs"], times_s["ours"], strict=True)]
    return {"ratio": rates["ours"] / rates["theirs"], "per_s": rates, "spread": spread(by_round)}


def compare(size: str, *, beam: int) -> dict[str, Any]:
    vocabulary, count, rounds = SIZES[size]
    settings = model_settings(ModelConfig(size=size), vocabulary=vocabulary)
    sides = {"ours": ours(settings, beam=beam), "theirs": theirs(settings, beam=beam)}
    return in_turn(sides, sentences(count, vocabulary), rounds=rounds)


def compare_t5(size: str) -> dict[str, Any]:
    vocabulary, count, rounds = T5_SIZES[size]
    settings = model_settings(ModelConfig(size=size), vocabulary=vocabulary)
    model = their_t5.model_of(settings)
    sides = {
        "ours": our_t5(settings),
        "theirs": generating(model, rows_at_a_time=T5_ROWS, steps=T5_STEPS, num_beams=1),
    }
    return in_turn(sides, sentences(count, vocabulary), rounds=rounds)


def measure() -> Result:
    one_thread()
    transformers = their_t5.quiet()
    tiny = compare("tiny", beam=4)
    others = {"greedy": compare("tiny", beam=1), "small": compare("small", beam=4)}
    t5 = {size: compare_t5(size) for size in T5_SIZES}
    return result(
        "decode_speed",
        ratios={"vs_hf_generate": tiny["ratio"], "vs_hf_t5": t5["t5-tiny"]["ratio"]},
        figures={
            "sentences_per_s": tiny["per_s"],
            "spread": tiny["spread"],
            **others,
            **t5,
            "transformers": transformers,
        },
        wants={"vs_hf_generate": "≥ 3", "vs_hf_t5": "≥ 2"},
    )


if __name__ == "__main__":
    lacking = their_t5.absent("decode_speed")
    if lacking:
        sys.exit(their_t5.missing(lacking))
    show(measure())
