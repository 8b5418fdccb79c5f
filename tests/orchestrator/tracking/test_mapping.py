"""Which points of a trial's reports does MLflow get?"""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from orchestrator.ledger.records import Event
from orchestrator.tracking.mapping import Reports


def said(step: int, kind: str = "train", *, at: float = 0.0, **hyper: float) -> Event:
    payload = {"values": {}, "hyper": hyper, "clocks": {"train_s": float(step)}}
    return Event("t", 1, sequence=step + 1, kind=kind, step=step, payload=payload, at=at)


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


def test_a_straight_line_is_told_by_its_ends_and_a_bend_where_it_is() -> None:
    events = [said(step, a=step / 2 if step < 40 else 20 - (step - 40) / 4) for step in range(1, 100)]
    assert told(*events, said(100, "final", a=5.0)) == [(1, 0.5), (40, 20.0), (100, 5.0)]


@pytest.mark.parametrize("curve", ["warmup", "noise", "steps"])
def test_what_is_left_out_is_not_seen_in_a_chart(curve: str) -> None:
    draw = random.Random(0)
    values = {
        "warmup": [0.1 + min(s / 40, (40 / (s + 1)) ** 0.5) for s in range(256)],
        "noise": [6 * math.exp(-s / 50) + 0.3 + draw.gauss(0, 0.05) for s in range(256)],
        "steps": [1.0 if s < 100 else 0.9 if s < 200 else 0.2 for s in range(256)],
    }[curve]
    there = told(*(said(s, a=v) for s, v in enumerate(values)), said(255, "final", a=values[-1]))
    assert all(value == values[step] for step, value in there)
    drawn = np.interp(range(256), [s for s, _ in there], [v for _, v in there])
    off = np.abs(drawn - values)
    assert off.max() <= (max(values) - min(values)) / 250 + 1e-12
    assert (off / np.abs(drawn)).max() <= 1 / 50 + 0.001
    assert len(there) < {"warmup": 40, "noise": 256, "steps": 8}[curve]


def test_a_run_that_lasts_is_seen_while_it_goes_on() -> None:
    """A report a minute: what moves is told with each, what stays is not."""
    reports = Reports()
    seen = [reports.points(said(step, at=60.0 * step, a=step / 2, b=1.0)) for step in range(1, 6)]
    assert [[point.name for point in points] for points in seen] == [["hyper/a", "hyper/b"]] + 4 * [
        ["hyper/a"]
    ]


def test_a_number_that_is_none_breaks_the_line_and_is_told() -> None:
    events = [said(step, a=math.nan if step == 5 else float(step)) for step in range(1, 10)]
    there = told(*events, said(9, "final", a=9.0))
    assert [step for step, _ in there] == [1, 4, 5, 6, 9]


def test_every_point_is_told_once_whatever_an_attempt_goes_back_to() -> None:
    draw = random.Random(1)
    for _ in range(200):
        at = [draw.randrange(30) for _ in range(60)]
        kinds = draw.choices(["train", "eval"], [4, 1], k=60)
        there = told(*(said(step, kind, a=draw.random()) for step, kind in zip(at, kinds, strict=True)))
        assert len({step for step, _ in there}) == len(there)


def test_steps_that_a_later_attempt_says_again_are_not_told_again() -> None:
    events = [said(1, a=1.0), said(2, a=1.0), said(3, a=1.0), said(2, a=1.0), said(3, a=1.0), said(4, a=5.0)]
    assert told(*events, said(5, "eval", a=5.0)) == [(1, 1.0), (3, 1.0), (4, 5.0), (5, 5.0)]


def test_what_no_number_changes_stays_short_whatever_the_length() -> None:
    assert len(told(*(said(step, eps=1e-6) for step in range(1, 1000)), said(1000, "final", eps=1e-6))) == 2


def test_clocks_are_no_curves() -> None:
    assert all("train_s" not in point.name for point in Reports().points(said(1, a=1.0)))
