"""How long is a piece of unlabelled text, how many of its tokens are corrupted, and in how many spans?

The raw length is such that inputs and targets just fill their lengths, so that nothing is cut and hardly
anything is padding. At a rate of .15 and spans of 3, inputs of 512 take 568 tokens and inputs of 64 take 70,
ends included, as T5 has them. T5 states targets of 114 and 14 for them: that is 85 + 28 and an end. Ours
close with one more sentinel, as its Table 3 shows: 115 and 15. Padded to a multiple of 8, it is the same
program.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

FEWEST_SOURCE_TOKENS = 8  # of unlabelled text: below, a piece holds a handful of tokens
_END = 1
# By what is corrupted in a piece: nothing at all, tokens, or spans of them.
CORRUPTING = ("bert", "mass", "iid-spans", "iid-drop", "random-spans")
WITH_SENTINELS = ("iid-spans", "random-spans")  # one for each span, and one that closes the target
WITH_MASK = ("bert", "mass")  # the first sentinel is their mask


@dataclass(frozen=True)
class Lengths:
    """Of one piece in tokens, and of a row of so many pieces, ends included."""

    raw: int  # of the text, without the end that is added
    inputs: int  # at most
    targets: int  # at most
    pieces: int = 1  # in a row


def corrupted(tokens: int, *, rate: float) -> int:
    """How many of so many tokens: one at least and, where there are two, not all."""
    return min(max(1, round(rate * tokens)), max(1, tokens - 1))


def spans(tokens: int, *, rate: float, span: float) -> int:
    """In how many spans of this mean length the corrupted tokens stand; between two is a token."""
    m = corrupted(tokens, rate=rate)
    return min(max(1, round(m / span)), m, tokens - m + 1)


def lengths(
    objective: str, source_tokens: int, *, rate: float = 0.15, span: float = 3.0, sentinels: int = 100
) -> Lengths:
    """Of pieces whose inputs have at most `source_tokens`. Targets of random spans hold their tokens, a
    sentinel for each span, one more that closes them (T5's formula leaves it out) and an end. Of i.i.d. spans
    the number is random: the lengths are for the most that can be. With `prefix-lm` two pieces share a row,
    and with `lm` nothing is read: its targets have `source_tokens`."""

    def m(n: int) -> int:
        return corrupted(n, rate=rate)

    def k(n: int) -> int:
        return spans(n, rate=rate, span=span)

    if objective == "random-spans":
        raw = _longest(source_tokens, lambda n: n - m(n) + k(n) + _END, rate=rate)
        return Lengths(raw, raw - m(raw) + k(raw) + _END, m(raw) + k(raw) + 1 + _END)
    if objective == "iid-drop":
        raw = _longest(source_tokens, lambda n: n - m(n) + _END, rate=rate)
        return Lengths(raw, raw - m(raw) + _END, m(raw) + _END)
    if objective == "prefix-lm":  # what one piece reads, the other one writes
        return Lengths(source_tokens - 2 * _END, source_tokens, source_tokens, pieces=2)
    raw = source_tokens - _END
    if objective == "iid-spans":
        most = min(m(raw), raw - m(raw) + 1, sentinels - 1)
        return Lengths(raw, source_tokens, m(raw) + most + 1 + _END)
    return Lengths(raw, 0 if objective == "lm" else source_tokens, source_tokens)


def _longest(source_tokens: int, inputs: Callable[[int], int], *, rate: float) -> int:
    """The most tokens whose inputs, which never shrink as tokens are added, have at most so many."""
    beyond = int(source_tokens / (1 - rate)) + 2
    return max(1, bisect.bisect_right(range(1, beyond), source_tokens, key=inputs))


def spans_expected(objective: str, tokens: int, *, rate: float, span: float) -> float:
    """How many spans a piece has; of i.i.d. ones, the mean over all masks."""
    if objective == "random-spans":
        return spans(tokens, rate=rate, span=span)
    m = corrupted(tokens, rate=rate)
    return m * (tokens - m + 1) / tokens


def have_room(tokens: int, *, rate: float, span: float) -> bool:
    """Is there a token that stays between any two spans?"""
    m = corrupted(tokens, rate=rate)
    return round(m / span) <= tokens - m + 1


def fits(objective: str, source_tokens: int, *, rate: float, span: float, sentinels: int) -> bool:
    """Are there sentinels for the spans, and for the end of the target?"""
    raw = lengths(objective, source_tokens, rate=rate, span=span, sentinels=sentinels).raw
    return spans_expected(objective, raw, rate=rate, span=span) + 1 <= sentinels


def largest_rate(
    objective: str, source_tokens: int, *, rate: float, span: float, sentinels: int
) -> float | None:
    """In hundredths and below `rate`, such that the sentinels suffice; None where none does."""
    below = (percent / 100 for percent in range(min(99, int(100 * rate)), 0, -1))
    fitting = (
        each
        for each in below
        if each < rate and fits(objective, source_tokens, rate=each, span=span, sentinels=sentinels)
    )
    return next(fitting, None)
