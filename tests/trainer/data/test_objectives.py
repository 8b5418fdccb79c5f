"""Do the objectives make what T5 shows, from masks that are all equally likely, and lose nothing?"""

from __future__ import annotations

import collections
import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from tests.trainer.data.streams import PIECES, SENTINELS, noise
from trainer.config import noise_lengths
from trainer.config.choices import OBJECTIVES as NAMES
from trainer.config.noise_lengths import corrupted, spans
from trainer.data import objectives
from trainer.data.examples import Examples
from trainer.data.objectives import OBJECTIVES, first_spans, span_masks, token_masks
from trainer.data.vocabulary import END

# -- T5's Table 3 ----------------------------------------------------------------------------------------

TEXT_OF_3 = "Thank you for inviting me to your party last week ."
SHUFFLED = "party me for your to . last you inviting week Thank"  # printed with a "fun" that is in no text
SENTENCE, ORDER = TEXT_OF_3.split(), SHUFFLED.split()
SIGNS = {"</s>": END, "apple": 900, "<X>": 50, "<Y>": 49, "<Z>": 48, "<M>": 50}
IDS = {word: 10 + number for number, word in enumerate(SENTENCE)} | SIGNS
TEXT = np.array([[IDS[word] for word in SENTENCE]], np.int32)
SIGNS_IN_ORDER = np.array([50, 49, 48], np.int32)


def mask_of(*corrupted_words: str) -> np.ndarray:
    return np.array([[word in corrupted_words for word in SENTENCE]])


def original(*, changed: str = "") -> np.ndarray:
    """A table of other tokens, of which one stands where a corrupted word is replaced."""
    others = np.zeros_like(TEXT)
    others[0, SENTENCE.index(changed)] = IDS["apple"]
    return others


SOME = mask_of("for", "inviting", "last")
TABLE_3 = {
    "prefix language modeling": (
        objectives.prefix_lm(TEXT, np.array([4])),
        "Thank you for inviting",
        "me to your party last week .",
    ),
    "BERT-style": (
        objectives.masked(TEXT, SOME, IDS["<M>"], original(changed="last")),
        "Thank you <M> <M> me to your party apple week .",
        TEXT_OF_3,
    ),
    "deshuffling": (
        objectives.deshuffling(TEXT, np.array([[SENTENCE.index(word) for word in ORDER]])),
        SHUFFLED,
        TEXT_OF_3,
    ),
    "MASS-style": (
        objectives.masked(TEXT, SOME, IDS["<M>"]),
        "Thank you <M> <M> me to your party <M> week .",
        TEXT_OF_3,
    ),
    "i.i.d. noise, replace spans": (
        objectives.replaced_spans(TEXT, SOME, SIGNS_IN_ORDER),
        "Thank you <X> me to your party <Y> week .",
        "<X> for inviting <Y> last <Z>",
    ),
    "i.i.d. noise, drop tokens": (
        objectives.dropped(TEXT, SOME),
        "Thank you me to your party week .",
        "for inviting last",
    ),
    "random spans": (
        objectives.replaced_spans(
            TEXT, mask_of("for", "inviting", "me", "your", "party", "last"), SIGNS_IN_ORDER
        ),
        "Thank you <X> to <Y> week .",
        "<X> for inviting me <Y> your party last <Z>",
    ),
}


@pytest.mark.parametrize("row", TABLE_3)
def test_a_row_of_table_3_comes_out_word_for_word(row: str) -> None:
    found, inputs, targets = TABLE_3[row]
    assert found.source.tolist() == [IDS[word] for word in f"{inputs} </s>".split()]
    assert found.target.tolist() == [IDS[word] for word in f"{targets} </s>".split()]


def test_the_table_has_its_seven_rows_and_every_objective_has_a_name() -> None:
    assert len(TABLE_3) == 7
    assert tuple(OBJECTIVES) == NAMES


def test_a_language_model_reads_nothing_and_writes_all() -> None:
    found = objectives.lm(TEXT)
    assert found.source_lengths.tolist() == [0]
    assert found.target.tolist() == [*TEXT[0], END]


# -- lengths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_tokens", "raw", "of_target"), [(512, 568, 114), (64, 70, 14), (128, 141, 29), (256, 284, 58)]
)
def test_inputs_of_random_spans_just_fill_their_length(source_tokens: int, raw: int, of_target: int) -> None:
    """T5's figures, and in a target the last sentinel that its formula leaves out."""
    found = noise_lengths.lengths("random-spans", source_tokens)
    assert (found.raw, found.inputs, found.targets) == (raw, source_tokens, of_target + 1)


def test_the_raw_length_is_what_t5_s_search_by_ones_finds() -> None:
    for source_tokens, rate, span in itertools.product((8, 64, 200, 512), (0.1, 0.15, 0.25, 0.5), (2, 3, 10)):
        tokens = 1
        while True:  # as the released code does
            m = max(1, round((tokens + 1) * rate))
            if tokens + 1 - m + max(1, round(m / span)) + 1 > source_tokens:
                break
            tokens += 1
        found = noise_lengths.lengths("random-spans", source_tokens, rate=rate, span=span)
        assert found.raw == tokens, (source_tokens, rate, span)


def test_five_hundred_tokens_have_twenty_five_spans_of_three() -> None:
    """T5 3.3.4."""
    assert (corrupted(500, rate=0.15), spans(500, rate=0.15, span=3.0)) == (75, 25)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    source_tokens=st.integers(8, 300),
    rate=st.sampled_from([0.1, 0.15, 0.25, 0.5, 0.9]),
    span=st.sampled_from([2.0, 3.0, 5.0, 10.0]),
    sentinels=st.integers(2, 100),
    seed=st.integers(0, 100),
)
def test_nothing_is_ever_longer_than_its_length(
    name: str, source_tokens: int, rate: float, span: float, sentinels: int, seed: int
) -> None:
    if name == "random-spans":
        sentinels = 100
        if not noise_lengths.fits(name, source_tokens, rate=rate, span=span, sentinels=sentinels):
            return
    long = noise_lengths.lengths(name, source_tokens, rate=rate, span=span, sentinels=sentinels)
    assert long.inputs <= source_tokens
    pieces = np.random.default_rng(seed).integers(3, PIECES, (8, long.raw)).astype(np.int32)
    given_noise = noise(rate=rate, span=span, sentinels=sentinels)
    found, _ = objectives.made(name, pieces, np.random.default_rng(seed), given_noise)
    rows = found.source_lengths.reshape(-1, long.pieces), found.target_lengths.reshape(-1, long.pieces)
    assert rows[0].sum(axis=1).max() <= long.inputs
    assert rows[1].sum(axis=1).max() <= long.targets
    if name not in ("iid-spans", "lm"):  # whose lengths are for the worst case, and which reads nothing
        assert rows[0].sum(axis=1).min() == long.inputs
    if name != "iid-spans":
        assert rows[1].sum(axis=1).min() == long.targets


# -- masks -----------------------------------------------------------------------------------------------

# The upper ends of 99.9 % of chi-square, by its degrees of freedom.
CHI_SQUARE = {20: 45.31, 27: 55.48}


def starts(mask: np.ndarray) -> np.ndarray:
    return np.diff(mask.astype(np.int8), axis=1, prepend=0) == 1


def chi_square(masks: np.ndarray, possible: int) -> float:
    seen = collections.Counter(map(bytes, masks))
    assert len(seen) == possible
    expected = len(masks) / possible
    return sum((count - expected) ** 2 / expected for count in seen.values())


def test_all_masks_of_four_tokens_in_one_span_are_equally_likely() -> None:
    masks = span_masks(np.random.default_rng(0), 10_000, 24, 4, 1)
    assert chi_square(masks, 21) < CHI_SQUARE[20]


def test_all_masks_of_several_spans_are_equally_likely() -> None:
    """8 tokens, 4 of them in 2 spans: 3 ways to cut the 4, and 10 pairs of gaps."""
    masks = span_masks(np.random.default_rng(1), 12_000, 8, 4, 2)
    every = [
        mask
        for places in itertools.combinations(range(8), 4)
        if starts(mask := np.isin(np.arange(8), places)[None]).sum() == 2
    ]
    assert len(every) == 30
    seen = collections.Counter(map(bytes, masks))
    assert set(seen) == {mask.tobytes() for mask in every}
    expected = len(masks) / 30
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < 58.30  # of 29, 99.9 %


def test_all_sets_of_corrupted_tokens_are_equally_likely() -> None:
    masks = token_masks(np.random.default_rng(2), 10_000, 8, 2)
    assert chi_square(masks, math.comb(8, 2)) < CHI_SQUARE[27]


@pytest.mark.parametrize(("tokens", "m", "k"), [(24, 4, 1), (64, 10, 3), (512, 77, 26)])
def test_masks_have_their_numbers_and_no_end_is_favoured(tokens: int, m: int, k: int) -> None:
    assert (corrupted(tokens, rate=0.15), spans(tokens, rate=0.15, span=3.0)) == (m, k)
    draws = 20_000 if tokens < 512 else 5_000
    masks = span_masks(np.random.default_rng(3), draws, tokens, m, k)
    assert (masks.sum(axis=1) == m).all()
    assert (starts(masks).sum(axis=1) == k).all()
    share = masks.mean(axis=0)
    at_the_end = k / (tokens - m + 1)
    error = math.sqrt(at_the_end * (1 - at_the_end) / draws)
    assert abs(share[0] - at_the_end) < 3 * error
    assert abs(share[-1] - at_the_end) < 3 * error
    # Each position against its mirror image, in standard errors of their difference.
    half = tokens // 2
    both = masks[:, :half].astype(float) - masks[:, ::-1][:, :half]
    standardised = both.sum(axis=0) / np.sqrt((both**2).sum(axis=0))
    assert (np.abs(standardised) < 4.5).all()  # of 256 positions, but for one time in 500


def test_the_rate_of_every_position_is_that_of_counting_all_masks() -> None:
    """9 tokens, 4 in 2 spans, all of them written out."""
    every = [
        np.isin(np.arange(9), places)
        for places in itertools.combinations(range(9), 4)
        if starts(np.isin(np.arange(9), places)[None]).sum() == 2
    ]
    expected = np.mean(every, axis=0)
    share = span_masks(np.random.default_rng(4), 40_000, 9, 4, 2).mean(axis=0)
    assert np.abs(share - expected).max() < 4 * math.sqrt(0.25 / 40_000)


# -- nothing is lost -------------------------------------------------------------------------------------


def sides(found: Examples, number: int) -> tuple[list[int], list[int]]:
    """The input and the target of an example, without their ends, which must be there."""
    source = found.source[found.source_starts[number] : found.source_starts[number + 1]].tolist()
    target = found.target[found.target_starts[number] : found.target_starts[number + 1]].tolist()
    assert target[-1] == END
    assert not source or source[-1] == END
    return source[:-1], target[:-1]


def joined(name: str, source: list[int], target: list[int], mask: np.ndarray | None) -> list[int]:
    """The text, from both sides."""
    if name in ("prefix-lm", "lm"):
        return source + target
    if name in ("iid-spans", "random-spans"):
        of_sentinel: dict[int, list[int]] = {}
        for token in target:
            if token >= PIECES:
                of_sentinel[token] = last = []
            else:
                last.append(token)
        return [t for s in source for t in (of_sentinel[s] if s >= PIECES else [s])]
    if name == "iid-drop":
        assert mask is not None
        kept, left = iter(source), iter(target)
        return [next(left) if out else next(kept) for out in mask]
    return target


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    text=st.lists(st.integers(1, PIECES - 1), min_size=1, max_size=600),
    rate=st.sampled_from([0.1, 0.15, 0.25, 0.5]),
    span=st.sampled_from([2.0, 3.0, 5.0, 10.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_inputs_and_targets_joined_give_the_text_back(
    name: str, text: list[int], rate: float, span: float, seed: int
) -> None:
    """Ends of documents among the tokens, and ids that are as low as they can be."""
    if name == "random-spans" and spans(len(text), rate=rate, span=span) >= len(SENTINELS):
        return  # refused before anything trains
    pieces = np.array([text, text], np.int32)
    found, beyond = objectives.made(name, pieces, np.random.default_rng(seed), noise(rate=rate, span=span))
    mask = None
    if name == "iid-drop":  # the one objective whose sides do not tell where tokens were
        m = corrupted(len(text), rate=rate)
        mask = token_masks(np.random.default_rng(seed), 2, len(text), m)
    assert len(found) == 2
    for number in range(2):
        source, target = sides(found, number)
        assert target
        assert joined(name, source, target, None if mask is None else mask[number]) == text
        in_source = [t for t in source if t >= PIECES]
        in_target = [t for t in target if t >= PIECES]
        if name in ("iid-spans", "random-spans"):
            assert in_source == list(SENTINELS[: len(in_source)])  # each once, in order
            assert in_target == [*in_source, SENTINELS[len(in_source)]]  # finished by the next one
            assert target[-1] == in_target[-1]
        elif name in ("bert", "mass"):
            assert set(in_source) <= {SENTINELS[0]}  # the mask
            changed = sum(a != b for a, b in zip(source, text, strict=True))
            assert changed <= corrupted(len(text), rate=rate)
        else:
            assert not in_source + in_target
        if name == "deshuffling":
            assert collections.Counter(source) == collections.Counter(text)
    assert name == "iid-spans" or not beyond.any()


def test_of_corrupted_tokens_a_tenth_is_another_token_and_the_rest_a_mask() -> None:
    pieces = np.full((400, 100), 5, np.int32)
    found, _ = objectives.made("bert", pieces, np.random.default_rng(0), noise(rate=0.15))
    source = found.source.reshape(400, 101)[:, :100]
    masks, others = (source == SENTINELS[0]).sum(), ((source != 5) & (source != SENTINELS[0])).sum()
    assert masks + others == pytest.approx(400 * 15, abs=10)  # a random token may be the one that was there
    assert others / 6000 == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 6000))
    random = source[(source != 5) & (source != SENTINELS[0])]
    assert random.min() >= 3
    assert random.max() < PIECES
    assert len(np.unique(random)) > 300
    mass, _ = objectives.made("mass", pieces, np.random.default_rng(0), noise(rate=0.15))
    assert (mass.source == SENTINELS[0]).sum() == 400 * 15


def test_spans_beyond_the_last_sentinel_stay_and_are_counted() -> None:
    mask = np.array([[1, 0, 1, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0, 0, 0, 0]], bool)
    kept, beyond = first_spans(mask, 2)
    assert kept.astype(int).tolist() == [[1, 0, 1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 0]]
    assert beyond.tolist() == [2, 0]
    pieces = np.random.default_rng(0).integers(3, PIECES, (50, 200)).astype(np.int32)
    few = noise(rate=0.25, sentinels=30)
    found, beyond = objectives.made("iid-spans", pieces, np.random.default_rng(5), few)
    whole, _ = objectives.made("iid-spans", pieces, np.random.default_rng(5), noise(rate=0.25))
    closing = few.sentinels[-1]
    for number in range(50):
        source, target = sides(found, number)
        every = sum(t >= PIECES for t in sides(whole, number)[0])
        assert beyond[number] == max(0, every - 29)
        assert sum(t >= PIECES for t in source) == min(29, every)
        assert (target[-1] == closing) == (every >= 29)
        assert joined("iid-spans", source, target, None) == pieces[number].tolist()
    assert beyond.sum() > 100


@pytest.mark.parametrize("tokens", [2, 3, 70])
def test_every_split_of_a_prefix_is_equally_likely_and_two_pieces_fill_a_row(tokens: int) -> None:
    pieces = np.full((20_000, tokens), 5, np.int32)
    found, _ = objectives.made("prefix-lm", pieces, np.random.default_rng(0), noise())
    read = found.source_lengths - 1
    counts = np.bincount(read, minlength=tokens)[1:]
    assert counts.sum() == 20_000
    assert len(counts) == tokens - 1
    expected = 20_000 / (tokens - 1)
    assert np.abs(counts - expected).max() <= 5 * math.sqrt(2 * expected)  # in pairs: twice the variance
    pairs = found.source_lengths.reshape(-1, 2).sum(axis=1), found.target_lengths.reshape(-1, 2).sum(axis=1)
    assert {*pairs[0], *pairs[1]} == {tokens + 2}
