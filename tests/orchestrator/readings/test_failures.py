"""The one sentence on a study of which no run completed."""

from __future__ import annotations

import pytest

from orchestrator.readings.failures import failure, stopped_alike


@pytest.mark.parametrize(
    ("counts", "reasons", "said"),
    [
        ({}, [], ""),
        ({"completed": 1, "failed": 6}, ["no"] * 6, ""),
        ({"failed": 1}, ["The text is empty."], "The only run failed: The text is empty."),
        ({"failed": 2}, ["s.a.0.0 broke", "s.b.0.1 broke"], "All 2 runs failed: s.a.0.0 broke"),
        ({"diverged": 5}, [], "All 5 runs diverged."),
        (
            {"failed": 3, "diverged": 1, "stopped": 4},
            ["It\nbroke."] * 3,
            "No run completed (3 failed, 1 diverged, 4 were stopped or not started): It broke.",
        ),
        (
            {"failed": 3},
            ["a", "b", "b"],
            "All 3 runs failed, for 2 different reasons. The most frequent, of 2 runs: b",
        ),
    ],
)
def test_how_it_reads(counts: dict[str, int], reasons: list[str], said: str) -> None:
    assert failure(counts, reasons) == said


def test_what_stopped_an_arm_is_found_among_other_reasons() -> None:
    alike = "The first 3 runs of a failed for the same reason: no"
    assert stopped_alike(["The study was cancelled.", alike]) == alike
    assert stopped_alike(["The study was cancelled."]) == ""
