"""What does an arm take of the best run that it follows? The entrypoint says; its files are kept here.

A file that the entrypoint leaves with the run, as a schedule to replay, goes to the study's own folder,
`schedules/<trial>.<file>`: it is a function of the run that is followed, and is there before any trial names
it, so that whoever dies in between is followed by one who writes the same again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import TrialRow
from orchestrator.runs.folders import Storage, no_room
from orchestrator.study.entrypoint import inherited


def taken(take: str, source: TrialRow, storage: Storage, entrypoint: Any, name: str) -> dict[str, Any]:
    """The config that a following arm starts from. BadSpec where the run has left nothing to take."""
    folder = storage.folder(source.study_id, source.trial_id, source.attempts)  # the one that completed
    with no_room(folder):
        found = inherited(entrypoint, name, take, source.config, folder)
    if isinstance(found, list):
        raise BadSpec(f"{source.trial_id} is followed by an arm that takes {take!r}. {' '.join(found)}")

    def kept(value: Any) -> Any:
        """A part of the config, with each file in the run's folder kept in the study's."""
        if isinstance(value, dict):
            return {key: kept(inner) for key, inner in value.items()}
        if isinstance(value, str) and value.startswith(f"{folder}/"):
            file = Path(value)
            return str(storage.keep(source.study_id, f"{source.trial_id}.{file.name}", file.read_bytes()))
        return value

    return {key: kept(value) for key, value in found.items()}
