"""What is still to be mirrored, and how is it written now? For `orch mlflow`, and for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.ground.errors import MoveRefused, NotFound
from orchestrator.ledger import Store, paging
from orchestrator.ledger.records import StudyRow
from orchestrator.tracking.destination import Destination, writing
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror

MOST_COUNTED = 100_000  # a second of reading or two
MOST_NAMED = 3  # studies in a sentence


def lag(ledger: Store, place: Destination, study_id: str, *, most: int = MOST_COUNTED) -> int:
    """How many of a study's reports are not in MLflow; counted up to about `most`."""
    emptied = place.file is not None and not place.file.exists()
    after, count = 0 if emptied else ledger.cursor(place.cursor(study_id)), 0
    for page in paging.pages(ledger, after=after, study_id=study_id):
        count += len(page)
        if count >= most:
            break
    return count


def missing(ledger: Store, place: Destination, study_ids: Iterable[str]) -> dict[str, int]:
    """How many reports of these studies are not in MLflow, by the studies' names: those that lack any."""
    counts: dict[str, int] = {}
    for study_id in study_ids:
        with suppress(NotFound):  # deleted meanwhile
            count = lag(ledger, place, study_id)
            if count:
                counts[ledger.study(study_id).name] = count
    return counts


def left_over(missing: Mapping[str, int], alone: str | None = None) -> str:
    """The sentence on what a process that ends now leaves unwritten. `alone`: the one study that it runs."""
    if alone is not None and missing.keys() <= {alone}:
        count = missing.get(alone, 0)
        what = reports(count) + (" is" if count == 1 else " are") if count else "The last states are"
        return f"{what} not in MLflow yet. Go on with: orch mlflow sync {alone}"
    named = [f"{reports(count)} of {name}" for name, count in missing.items()]
    if len(named) > MOST_NAMED:
        named[MOST_NAMED:] = [f"those of {len(named) - MOST_NAMED:,} more studies"]
    which = f" Missing: {', '.join(named)}." if named else ""
    return (
        f"Not all of the studies is in MLflow yet.{which} The next start goes on with it; by hand: "
        f"orch mlflow sync"
    )


def reports(count: int) -> str:
    return f"{count:,}{' or more' if count >= MOST_COUNTED else ''} report{'' if count == 1 else 's'}"


def sync(
    ledger: Store,
    place: Destination,
    studies: Sequence[StudyRow],
    *,
    told: Callable[[StudyRow, int, int], None],
) -> None:
    """Write all that is missing of these studies, also what a person deleted in MLflow.

    `told` hears again and again how many reports were written, and of how many. Stopped by MirrorLost, or
    by anything else: what was written stays, and the next one goes on from there.
    """
    with _alone(place) as sink:
        for study in studies:
            mirrored = StudyMirror(ledger, sink, place, study.study_id, restore=True)
            lacked, written = lag(ledger, place, study.study_id), 0

            def going_on(passed: int, study: StudyRow = study, lacked: int = lacked) -> bool:
                nonlocal written
                written += passed
                told(study, written, lacked)
                return True

            mirrored.advance(going_on)
            if mirrored.settled:
                ledger.move_cursor(place.owed(study.study_id), 0)


def attach(ledger: Store, place: Destination, study: StudyRow, paths: Sequence[Path]) -> None:
    """Put files, or all of a folder, at a study's run."""
    with _alone(place) as sink:
        mirrored = StudyMirror(ledger, sink, place, study.study_id)
        for path in paths:
            mirrored.attach(path)


@contextmanager
def _alone(place: Destination) -> Iterator[MlflowStore]:
    with writing(place) as alone:
        if not alone:
            raise MoveRefused(
                "Another process writes to MLflow for this ORCH_HOME now. See how far it is with: "
                "orch mlflow status"
            )
        yield MlflowStore(place)
