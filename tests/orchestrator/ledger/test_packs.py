"""Do reports that lie together in one row come back as they were said?"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from orchestrator.ledger import packs, sql_rows
from orchestrator.ledger.codec import settled
from orchestrator.ledger.records import (
    AttemptRow,
    AttemptState,
    Event,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
)
from orchestrator.ledger.sql import SqlLedger
from orchestrator.ledger.sql_tables import Tables


def report(sequence: int, **changes: Any) -> Event:
    payload = {
        "values": {"train_loss": 5.0 / sequence, "multiplier": 1.0},
        "hyper": {"alpha": 1.0},
        "clocks": {"train_s": sequence / 7, "steps": 30},
    }
    event = Event("s.a.0.0", 1, sequence, "train", sequence, payload, at=1e9 + sequence / 3)
    return replace(event, **changes)


def there_and_back(events: list[Event]) -> list[Event]:
    rows = [(settled(packs.packed(group)), len(group)) for group in packs.packs(events)]
    return [event for row, count in rows for event in packs.unpacked(row, count)]


def test_reports_of_a_chunk_are_one_row_of_a_quarter_of_the_size() -> None:
    events = [report(n) for n in range(1, 31)]
    [group] = packs.packs(events)
    assert there_and_back(events) == events
    assert len(repr(packs.packed(group))) < sum(len(repr(event)) for event in events) / 3


@pytest.mark.parametrize(
    "other",
    [
        report(4, kind="eval"),
        report(4, trial_id="s.a.0.1"),
        report(4, attempt=2),
        report(5),
        report(4, payload={"values": {"loss": 1.0}, "hyper": {}, "clocks": {}}),
        report(4, payload={"values": {"train_loss": "nan", "multiplier": 1.0}}),
        report(4, payload={"note": "no section"}),
        report(4, payload={"values": {"train_loss": True}}),
    ],
)
def test_what_differs_in_more_than_numbers_has_a_row_of_its_own(other: Event) -> None:
    events = [report(1), report(2), report(3), other]
    assert [len(group) for group in packs.packs(events)] == [3, 1]
    assert there_and_back(events) == events


def test_every_number_comes_back_as_it_was_written() -> None:
    numbers = [0.0, -0.0, 0, 1, 1.0, 5e-324, 1e308, float("inf"), -float("inf"), 0.1 + 0.2, 2**60]
    draw = random.Random(0)
    for _ in range(300):
        few = draw.sample(numbers, 2)
        events = [
            report(n, payload={"values": {"a": draw.choice(few), "b": draw.choice(numbers)}, "hyper": {}})
            for n in range(1, 6)
        ]
        assert repr(there_and_back(events)) == repr(events)
    nans = [report(n, payload={"values": {"a": float("nan")}}) for n in range(1, 4)]
    assert repr(there_and_back(nans)) == repr(nans)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    file = f"sqlite:///{tmp_path / 'ledger.db'}"
    store = SqlLedger(file if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    store.create_study(StudyRow("s", "s", {}, "h", StudyState.RUNNING, 1.0))
    epoch = store.lead("test")
    assert epoch is not None
    for index in (0, 1):
        name = f"s.a.0.{index}"
        store.add_trial(epoch, TrialRow(name, "s", "a", 0, index, {}, {}, TrialState.WAITING, 1.0))
        store.start_attempt(epoch, AttemptRow(name, 1, AttemptState.LAUNCHING, 1.0))
    yield store, epoch
    store.close()


def test_a_reader_meets_single_events_whatever_lies_in_a_row(ledger: Any) -> None:
    store, epoch = ledger
    other = [replace(report(n), trial_id="s.a.0.1") for n in range(1, 8)]
    said = [report(n) for n in range(1, 21)] + other + [report(21, kind="eval")]
    assert store.append(epoch, said) == 28
    with store._engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(Tables.events)).scalar_one() == 3
    assert store.newest_event() == 28
    for after in range(30):
        for limit in (1, 3, 100):
            found = store.events(after=after, limit=limit)
            assert [s.event_id for s in found] == list(range(after + 1, min(28, after + limit) + 1))
            assert [s.event for s in found] == said[after : after + limit]
    assert [s.event for s in store.events(trial_id="s.a.0.1", after=22, limit=3)] == other[2:5]


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 3, 10])
def test_rows_that_are_read_in_pages_are_all_read_and_none_twice(
    ledger: Any, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_rows, "PAGE_ROWS", rows_at_a_time)
    store, epoch = ledger
    said = [
        report(n, kind=kind) for n, kind in enumerate(["train", "train", "eval", "train", "eval", "eval"], 1)
    ]
    store.append(epoch, said)
    assert [s.event for s in store.events(after=1)] == said[1:]
    assert [s.event for s in store.events(after=1, limit=4)] == said[1:5]
    assert store.events(after=6) == []


def test_events_that_are_said_again_are_known_wherever_their_row_ends(ledger: Any) -> None:
    store, epoch = ledger
    said = [report(n) for n in range(1, 41)]
    assert store.append(epoch, said[:30]) == 30
    for begin in (0, 7, 29):
        assert store.append(epoch, said[begin:30]) == 0
    assert store.append(epoch, said[5:35]) == 5
    assert store.append(epoch, [said[11], said[39], said[38]]) == 2
    assert store.append(epoch, said) == 3
    events = [s.event for s in store.events()]
    assert sorted(events, key=lambda e: e.sequence) == said
    assert [s.event_id for s in store.events()] == list(range(1, 41))


def test_a_row_that_is_stored_is_read_for_ever() -> None:
    payload = {
        "step": [7, 8],
        "at": [1.5, 2.5],
        "payload": {"values": {"loss": [0.5, 0.25]}, "hyper": {"alpha": [1.0]}, "clocks": {}},
    }
    row = Event("s.a.0.0", 1, 9, "train", 8, payload, 2.5)
    first = {"values": {"loss": 0.5}, "hyper": {"alpha": 1.0}, "clocks": {}}
    second = {"values": {"loss": 0.25}, "hyper": {"alpha": 1.0}, "clocks": {}}
    assert list(packs.unpacked(row, 2)) == [
        Event("s.a.0.0", 1, 8, "train", 7, first, 1.5),
        Event("s.a.0.0", 1, 9, "train", 8, second, 2.5),
    ]
