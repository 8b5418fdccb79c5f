"""What of a study is in MLflow, where is it shown, and how is what is missing written by hand?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from orchestrator.ground.errors import MoveRefused, NotFound
from orchestrator.ledger import Store, paging
from orchestrator.ledger.records import StudyRow, TrialRow
from orchestrator.tracking import mapping, pages
from orchestrator.tracking.destination import Destination, writing
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror

MOST_COUNTED = 100_000  # a second of reading or two
MOST_NAMED = 3  # studies in a sentence


def lag(ledger: Store, place: Destination, study_id: str, *, most: int = MOST_COUNTED) -> int:
    """How many of a study's reports are not in MLflow; counted up to about `most`."""
    after, count = 0 if place.is_emptied else ledger.cursor(place.cursor(study_id)), 0
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
    with writing(place) as alone:
        if not alone:
            raise MoveRefused(
                "Another process writes to MLflow for this ORCH_HOME now. See how far it is with: "
                "orch mlflow status"
            )
        sink = MlflowStore(place)
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


def study_page(place: Destination, study: StudyRow) -> str:
    """The address of the charts of a study's trials in MLflow's own pages. NotFound: there are none, or no
    server shows them. MirrorLost."""
    if place.pages is None:
        raise NotFound(f"No server shows {place.shown}. Open MLflow's pages on it with: orch ui {study.name}")
    found = None if place.is_emptied else MlflowStore(place).experiment_of(mapping.experiment(study))
    if found is None:
        raise NotFound(
            f"MLflow at {place.shown} has no experiment of {study.name}: it is not written yet, or was "
            f"deleted there. Write what is missing with: orch mlflow sync {study.name}"
        )
    return pages.charts(place.pages, *found)


def run_page(place: Destination, study: StudyRow, trial: TrialRow) -> str:
    """The address of a trial's run in MLflow's own pages. NotFound: there is none, or no server shows it.
    MirrorLost."""
    if place.pages is None:
        raise NotFound(f"No server shows {place.shown}. Open MLflow's pages on it with: orch ui")
    run = None if place.is_emptied else MlflowStore(place).run_of(mapping.experiment(study), trial.trial_id)
    if run is None:
        raise NotFound(
            f"MLflow at {place.shown} has no run of {mapping.trial_name(trial)} of {study.name}: it is not "
            f"written yet, or was deleted there. Write what is missing with: orch mlflow sync {study.name}"
        )
    return f"{place.pages}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
