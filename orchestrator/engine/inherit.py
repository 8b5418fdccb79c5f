"""What does an arm take of the best run that it follows? The entrypoint says; its files are kept here.

A file that the entrypoint leaves with the run, as a schedule to replay, goes to the study's own folder,
`schedules/<trial>.<file>`: it is a function of the run that is followed, and is there before any trial names
it, so that whoever dies in between is followed by one who writes the same again. What is made of many runs
differs from follower to follower: there `<trial>` is the one that follows. Parameters are not copied: they
stay in the folder of the run that is followed (`Lane.useless`), which the config names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import TrialRow
from orchestrator.runs.folders import Storage, no_room
from orchestrator.study.entrypoint import inherited


def taken(
    take: str,
    source: TrialRow,
    storage: Storage,
    entrypoint: Any,
    name: str,
    *,
    pool: Sequence[TrialRow] = (),
    follower: str = "",
) -> dict[str, Any]:
    """The config that a following arm starts from. BadSpec where the run has left nothing to take. `pool`:
    where it takes of many runs, those; `follower`: the trial that it is for."""
    # of the attempts that completed
    folder, *others = (storage.folder(t.study_id, t.trial_id, t.attempts) for t in (source, *pool))
    with no_room(folder):
        found = inherited(entrypoint, name, take, storage.placed(source.config), folder, others)
    if isinstance(found, list):
        raise BadSpec(f"{source.trial_id} is followed by an arm that takes {take!r}. {' '.join(found)}")

    def kept(value: Any) -> Any:
        """A part of the config, with each file in the run's folder kept in the study's, and named as the
        ledger names files."""
        if isinstance(value, dict):
            return {key: kept(inner) for key, inner in value.items()}
        if not isinstance(value, str):
            return value
        if value.startswith(f"{folder}/") and take != "checkpoint":
            file = Path(value)
            of = follower if pool else source.trial_id
            return storage.in_config(storage.keep(source.study_id, f"{of}.{file.name}", file.read_bytes()))
        return storage.in_config(Path(value)) if value.startswith(f"{storage.root}/") else value

    return {key: kept(value) for key, value in found.items()}
