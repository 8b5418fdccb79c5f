"""Did no run of a study complete, and for which reason? One sentence, for terminals, pages and scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.engine.skipping import ALIKE, kind_of
from orchestrator.ledger.records import TrialState

ENDS = {
    TrialState.FAILED: "failed",
    TrialState.DIVERGED: "diverged",
    TrialState.STOPPED: "were stopped or not started",
}


def failure(counts: Mapping[str, int], reasons: Iterable[str]) -> str:
    """Of a study that has ended: why nothing worked; "" where a run completed. `counts`: its trials by state;
    `reasons`: those of the failed ones."""
    ends = {words: counts[state] for state, words in ENDS.items() if counts.get(state)}
    total = sum(ends.values())
    if not ends or counts.get(TrialState.COMPLETED):
        return ""
    if len(ends) == 1:
        head = f"All {total:,} runs {next(iter(ends))}" if total > 1 else f"The only run {next(iter(ends))}"
    else:
        head = f"No run completed ({', '.join(f'{n:,} {words}' for words, n in ends.items())})"
    said = [" ".join(reason.split()) for reason in reasons if reason.strip()]
    kinds = Counter(map(kind_of, said))
    if not kinds:
        return f"{head}."
    kind, often = kinds.most_common(1)[0]
    shown = next(reason for reason in said if kind_of(reason) == kind)
    if len(kinds) == 1:
        return f"{head}: {shown}"
    return f"{head}, for {len(kinds)} different reasons. The most frequent, of {often:,} runs: {shown}"


def stopped_alike(reasons: Iterable[str]) -> str:
    """The reason for which an arm was stopped, among those of its trials that were not started."""
    return next((reason for reason in reasons if ALIKE in reason), "")
