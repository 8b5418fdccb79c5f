"""Which studies wait for room, and whose turn is next? Whoever has waited longest gets the next room."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.ledger.records import StudyRow
from orchestrator.study.spec import Resources


class Waits:
    def __init__(self) -> None:
        self._waiting: dict[str, Resources] = {}  # study -> what a trial asks for; the longest wait first

    def begins(self, study_id: str, wanted: Resources) -> None:
        """It has a trial to launch and there is no room. One that waits already keeps its turn."""
        self._waiting.setdefault(study_id, wanted)

    def ends(self, study_id: str) -> None:
        self._waiting.pop(study_id, None)

    def keep_only(self, study_ids: Collection[str]) -> None:
        self._waiting = {study: wanted for study, wanted in self._waiting.items() if study in study_ids}

    def in_turn(self, studies: Iterable[StudyRow]) -> list[StudyRow]:
        """Those that wait first, the longest wait before the others; the rest as they come."""
        turns = {study: turn for turn, study in enumerate(self._waiting)}
        return sorted(studies, key=lambda study: turns.get(study.study_id, len(turns)))

    def ahead(self, study_id: str) -> tuple[Resources, ...]:
        """What trials of the studies ask for that have waited longer than this one."""
        turns = list(self._waiting)
        before = turns[: turns.index(study_id)] if study_id in turns else turns
        return tuple(self._waiting[study] for study in before)
