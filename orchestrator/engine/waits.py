"""Which studies wait for room, and whose turn is next? Whoever has waited longest gets the next room."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.ground.clock import Clock
from orchestrator.ledger.records import StudyRow
from orchestrator.study.spec import Resources


class Waits:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, tuple[float, Resources]] = {}  # study -> monotonic, and what a trial asks for

    def begins(self, study_id: str, wanted: Resources) -> None:
        """It has a trial to launch and there is no room. One that waits already goes on waiting."""
        self._since.setdefault(study_id, (self._clock.monotonic(), wanted))

    def ends(self, study_id: str) -> None:
        self._since.pop(study_id, None)

    def keep_only(self, study_ids: Collection[str]) -> None:
        self._since = {study_id: since for study_id, since in self._since.items() if study_id in study_ids}

    def in_turn(self, studies: Iterable[StudyRow]) -> list[StudyRow]:
        """Those that wait first, the longest wait before the others; the rest as they come."""
        return sorted(studies, key=lambda s: self._since[s.study_id][0] if s.study_id in self._since else 1e300)

    def ahead(self, study_id: str) -> tuple[Resources, ...]:
        """What trials of the studies ask for that have waited longer than this one."""
        own = self._since.get(study_id)
        order = sorted(self._since.items(), key=lambda each: each[1][0])
        return tuple(
            wanted for other, (at, wanted) in order if other != study_id and (own is None or at < own[0])
        )
