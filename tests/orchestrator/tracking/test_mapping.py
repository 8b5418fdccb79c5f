"""Which points of a trial's reports does MLflow get?"""

from __future__ import annotations

from orchestrator.ledger.records import Event
from orchestrator.tracking.mapping import Reports


def said(step: int, kind: str = "train", *, sequence: int = 0, **hyper: float) -> Event:
    payload = {"values": {}, "hyper": hyper, "clocks": {"train_s": float(step)}}
    return Event("t", 1, sequence=sequence or step + 1, kind=kind, step=step, payload=payload, at=float(step))


def told(*events: Event) -> list[tuple[int, float]]:
    reports = Reports()
    return [(point.step, point.value) for event in events for point in reports.points(event)]


def test_a_number_that_stays_is_told_first_at_evaluations_before_it_changes_and_at_the_end() -> None:
    events = [
        *(said(step, a=1.0) for step in (1, 2, 3)),
        said(3, "eval", a=1.0),
        *(said(step, a=1.0) for step in (4, 5)),
        *(said(step, a=2.0) for step in (6, 7, 8)),
        said(8, "final", a=2.0),
    ]
    assert told(*events) == [(1, 1.0), (3, 1.0), (5, 1.0), (6, 2.0), (8, 2.0)]


def test_a_number_that_moves_is_told_at_every_step() -> None:
    assert told(*(said(step, a=step / 2) for step in range(1, 6))) == [(s, s / 2) for s in range(1, 6)]


def test_steps_that_a_later_attempt_says_again_are_not_told_again() -> None:
    events = [said(1, a=1.0), said(2, a=1.0), said(3, a=1.0), said(2, a=1.0), said(3, a=1.0), said(4, a=5.0)]
    assert told(*events) == [(1, 1.0), (3, 1.0), (4, 5.0)]


def test_what_no_number_changes_stays_short_whatever_the_length() -> None:
    assert len(told(*(said(step, eps=1e-6) for step in range(1, 1000)), said(1000, "final", eps=1e-6))) == 2


def test_clocks_are_no_curves() -> None:
    assert all("train_s" not in point.name for point in Reports().points(said(1, a=1.0)))
