"""How do the train reports of a chunk lie in one row of a database? Name by name, a list of numbers each.

Reports of one attempt that come together differ in numbers alone. A row for each would repeat names, ids
and what has not changed, which is most of it. A row's id, sequence, step and time are its last report's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from orchestrator.ledger.records import Event

PACKED = "train"
MOST = 256  # reports in a row

Shape = tuple[tuple[str, tuple[str, ...]], ...]


def packs(events: Sequence[Event]) -> Iterator[list[Event]]:
    """The events in their order, in groups that make a row each."""
    group: list[Event] = []
    shape: Shape | None = None
    for event in events:
        its_shape = _shape(event)
        if not (
            group
            and its_shape is not None
            and its_shape == shape
            and len(group) < MOST
            and (event.trial_id, event.attempt, event.sequence)
            == (group[-1].trial_id, group[-1].attempt, group[-1].sequence + 1)
        ):
            if group:
                yield group
            group, shape = [], its_shape
        group.append(event)
    if group:
        yield group


def packed(group: Sequence[Event]) -> Event:
    """A group as one event, whose payload `unpacked` understands; a group of one is as it was."""
    last = group[-1]
    if len(group) == 1:
        return last
    numbers = {
        section: {name: _column([event.payload[section][name] for event in group]) for name in named}
        for section, named in last.payload.items()
    }
    payload = {"step": [e.step for e in group], "at": [e.at for e in group], "payload": numbers}
    return Event(last.trial_id, last.attempt, last.sequence, last.kind, last.step, payload, last.at)


def unpacked(row: Event, count: int) -> Iterator[Event]:
    """The events of a row that holds so many."""
    if count == 1:
        yield row
        return
    sections = {name: _rows(columns, count) for name, columns in row.payload["payload"].items()}
    first = row.sequence - count + 1
    for i, (step, at) in enumerate(zip(row.payload["step"], row.payload["at"], strict=True)):
        payload = {name: next(rows) for name, rows in sections.items()}
        yield Event(row.trial_id, row.attempt, first + i, row.kind, step, payload, at)


def _shape(event: Event) -> Shape | None:
    """The names in a payload; None for one that is not all numbers, two levels down."""
    if event.kind != PACKED:
        return None
    for section in event.payload.values():
        if type(section) is not dict or not all(type(value) in (int, float) for value in section.values()):
            return None
    return tuple((name, tuple(section)) for name, section in event.payload.items())


def _column(values: list[Any]) -> list[Any]:
    """A number that stays is written once: one that would be written alike, so 0 and -0.0 do not stay."""
    stays = values[0] == values[-1] and len(set(map(repr, values))) == 1
    return values[:1] if stays else values


def _rows(columns: Mapping[str, list[Any]], count: int) -> Iterator[dict[str, Any]]:
    if not columns:
        yield from ({} for _ in range(count))
        return
    series = (repeat(values[0], count) if len(values) == 1 else values for values in columns.values())
    for numbers in zip(*series, strict=True):
        yield dict(zip(columns, numbers, strict=True))
