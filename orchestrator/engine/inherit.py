"""What does an arm take of the best run that it follows? The entrypoint says; its files are kept here.

A file that the entrypoint leaves with the run, as a schedule to replay, goes to the study's own folder,
`schedules/<trial>.<file>`: it is a function of the run that is followed, and is there before any trial names
it, so that whoever dies in between is followed by one who writes the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    return {key: _kept(value, folder, partial(_keep, storage, source)) for key, value in found.items()}


def _keep(storage: Storage, source: TrialRow, file: Path) -> str:
    return str(storage.keep(source.study_id, f"{source.trial_id}.{file.name}", file.read_bytes()))


def _kept(value: Any, folder: Path, keep: Callable[[Path], str]) -> Any:
    """A part of a config, with each file in the run's folder kept in the study's."""
    if isinstance(value, dict):
        return {key: _kept(inner, folder, keep) for key, inner in value.items()}
    if isinstance(value, str) and value.startswith(f"{folder}/"):
        return keep(Path(value))
    return value
