"""Where do the studies of a command line live? In the ledger here, or with a service: one port, two places.

A command says what it wants of the place and shows what comes back; that is all it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dashboards.evidence.tables import Table
    from orchestrator.ledger.records import AttemptRow, StoredEvent, StudyRow, TrialRow, Wish
    from orchestrator.readings.overview import Overview
    from orchestrator.runs.schedules import Curves
    from orchestrator.service.creation import Created
    from orchestrator.study.plan import Plan
    from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Conclusion:
    """What was found. `verdict` is as scripts get it; `report`: where it lies, if it could be written."""

    study: str
    status: str
    verdict: dict[str, Any]
    table: Table
    report: str | None


class Place(Protocol):
    name: str  # for people

    # -- before a study ------------------------------------------------------------------------------
    def plan(self, spec: StudySpec, *, slots: int | None, refuse_above: float | None) -> Plan: ...

    def create(self, spec: StudySpec, *, workers: int | None, refuse_above: float | None) -> Created:
        """A new study, or the equal one of that name. NameTaken by another."""

    # -- look ----------------------------------------------------------------------------------------
    def listed(self) -> list[dict[str, Any]]:
        """All studies, oldest first."""

    def study(self, name: str) -> StudyRow: ...

    def overview(self, study: StudyRow) -> Overview: ...

    def wishes(self, study: StudyRow) -> list[Wish]: ...

    def running(self, study: StudyRow) -> int:
        """How many of its trials run now."""

    def trial(self, given: str) -> TrialRow: ...

    def attempts(self, trial: TrialRow) -> list[AttemptRow]: ...

    def events(self, trial: TrialRow, *, after: int, most: int) -> list[StoredEvent]: ...

    def schedule(self, trial: TrialRow) -> Curves: ...

    # -- what was found ------------------------------------------------------------------------------
    def table(self, study: StudyRow, *, metric: str | None) -> Table: ...

    def verdict(self, study: StudyRow) -> dict[str, Any]: ...

    def conclude(self, study: StudyRow) -> Conclusion:
        """Of a study that has ended."""

    def report(self, study: StudyRow, folder: Path, *, slots: int | None) -> Conclusion:
        """Written into a folder, also before the end."""

    # -- act -----------------------------------------------------------------------------------------
    def wished(self, study: StudyRow, verb: str, detail: Mapping[str, Any]) -> None:
        """Put a wish down and see it obeyed. MoveRefused carries a no."""

    def let_stop(self, study: StudyRow) -> None:
        """After a pause or a cancellation: see that what runs hears of it."""

    def is_led(self) -> bool:
        """Whether it is for another process to run the studies there."""

    def see_to_the_end(
        self, study: StudyRow, *, workers: int | None, as_json: bool, extra: Mapping[str, Any] | None = None
    ) -> int:
        """Run it, or follow it where it runs, and show its result. The exit code."""

    def watch(self, study: StudyRow) -> None:
        """Follow what another process runs. MoveRefused when none does."""

    def hint(self, study: StudyRow) -> str:
        """What to do about a study that is running."""

    def left_alone(self, study: StudyRow) -> str:
        """What becomes of a study that is created and not followed."""
