"""What is still to be mirrored, and how is it written now? For `orch mlflow`, and for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import MoveRefused
from orchestrator.ledger import Store
from orchestrator.records import StudyRow
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.target import Target, writing

PAGE = 1000
MOST_COUNTED = 100_000  # a second of reading or two


def lag(ledger: Store, place: Target, study_id: str, *, most: int = MOST_COUNTED) -> int:
    """How many of a study's reports are not in MLflow; counted up to about `most`."""
    emptied = place.file is not None and not place.file.exists()
    after, count = 0 if emptied else ledger.cursor(place.cursor(study_id)), 0
    while count < most and (page := ledger.events(after=after, study_id=study_id, limit=PAGE)):
        count, after = count + len(page), page[-1].event_id
    return count


def left_over(ledger: Store, place: Target, study_id: str) -> list[str]:
    """The sentence on what a run that ends now leaves unwritten."""
    name, count = ledger.study(study_id).name, lag(ledger, place, study_id)
    if not count:
        what = "The last states are"
    else:
        more = " or more" if count >= MOST_COUNTED else ""
        what = f"{count:,}{more} report{' is' if count == 1 else 's are'}"
    return [f"{what} not in MLflow yet. Go on with: orch mlflow sync {name}"]


def sync(
    ledger: Store, place: Target, studies: Sequence[StudyRow], *, told: Callable[[StudyRow, int, int], None]
) -> None:
    """Write all that is missing of these studies, also what a person deleted in MLflow.

    `told` hears again and again how many reports were written, and of how many. Stopped by MirrorLost, or
    by anything else: what was written stays, and the next one goes on from there.
    """
    with _alone(place) as sink:
        for study in studies:
            mirrored = StudyMirror(ledger, sink, place, study.study_id, restore=True)
            missing, written = lag(ledger, place, study.study_id), 0

            def going_on(reports: int, study: StudyRow = study, missing: int = missing) -> bool:
                nonlocal written
                written += reports
                told(study, written, missing)
                return True

            mirrored.advance(going_on)


def attach(ledger: Store, place: Target, study: StudyRow, paths: Sequence[Path]) -> None:
    """Put files, or all of a folder, at a study's run."""
    with _alone(place) as sink:
        mirrored = StudyMirror(ledger, sink, place, study.study_id)
        for path in paths:
            mirrored.attach(path)


@contextmanager
def _alone(place: Target) -> Iterator[MlflowStore]:
    with writing(place) as alone:
        if not alone:
            raise MoveRefused(
                "Another process writes to MLflow for this ORCH_HOME now. See how far it is with: "
                "orch mlflow status"
            )
        yield MlflowStore(place)
