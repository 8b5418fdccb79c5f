"""Which studies cannot go on in this process, why, and when are they looked at again?"""

from __future__ import annotations

import logging
from collections.abc import Collection

from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import OrchError
from orchestrator.runs.folders import NotWritten

LOOK_AGAIN_S = 30.0  # what is amiss may be mended without a word: a package installed, a file put back


class Unrunnable:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[str, tuple[str, float]] = {}  # study -> why, and when it was looked at
        self._passing: set[str] = set()  # those whose trouble may pass by itself

    def add(self, study_id: str, why: Exception) -> None:
        said, before = sentence(why), self._found.get(study_id)
        if not isinstance(why, OrchError) and (
            before is None or before[0] != said
        ):  # it may be a fault of ours
            logging.getLogger(__name__).error("The study %s cannot go on", study_id, exc_info=why)
        self._found[study_id] = (said, self._clock.monotonic())
        (self._passing.add if isinstance(why, NotWritten) else self._passing.discard)(study_id)

    def rests(self, study_id: str) -> bool:
        """It could not go on a moment ago: leave it alone for now."""
        found = self._found.get(study_id)
        return found is not None and self._clock.monotonic() - found[1] < LOOK_AGAIN_S

    def discard(self, study_id: str) -> None:
        self._found.pop(study_id, None)

    def keep_only(self, study_ids: Collection[str]) -> None:
        self._found = {study_id: why for study_id, why in self._found.items() if study_id in study_ids}

    def clear(self) -> None:
        self._found.clear()

    def passing(self) -> frozenset[str]:
        """Those that wait for room on a disk, or for a disk."""
        return frozenset(self._passing & self._found.keys())

    def sentences(self) -> dict[str, str]:
        return {study_id: why for study_id, (why, _) in self._found.items()}


def sentence(why: Exception) -> str:
    """As it is where it is one of ours; another's names its kind, since "'alpha'" alone says nothing."""
    if isinstance(why, OrchError):
        return str(why)
    said = str(why).strip() or "no more was said"
    return f"It cannot go on here ({type(why).__name__}: {said}). Mend that, or cancel the study."
