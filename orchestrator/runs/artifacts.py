"""Which files did an outcome name, and which of them may be shown? Those in the attempt's folder.

What the training code named is looked at anew each time: a file may have been deleted since, or be a link by
now. `Outcome.files` of the newest attempt that left any are the trial's artifacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.runs.folders import SAFE, Storage, read_end

MOST_FILES = 100  # of one outcome
MOST_BYTES = 1_000_000_000  # of one file
MOST_NAME = 200  # characters
PARTS = "Allowed are parts of letters, digits, '_', '.', '+' and '-', not beginning with '.', joined by '/'."


@dataclass(frozen=True)
class Artifact:
    """A file that an outcome named, by its path in the attempt's folder."""

    name: str
    bytes: int
    path: Path


def checked(folder: Path, named: Sequence[str]) -> tuple[list[Artifact], list[str]]:
    """Those of the named files that are artifacts, and a sentence for each of the others."""
    found: dict[str, Artifact] = {}
    refused: list[str] = []
    for given in dict.fromkeys(named[:MOST_FILES]):
        try:
            artifact = _artifact(folder, given)
        except BadSpec as problem:
            refused.append(str(problem))
        else:
            found[artifact.name] = artifact
    if len(named) > MOST_FILES:
        refused.append(f"The outcome names {len(named)} files. The first {MOST_FILES} are its artifacts.")
    return list(found.values()), refused


def of_trial(storage: Storage, study_id: str, trial_id: str, attempts: int) -> list[Artifact]:
    """The artifacts of a trial that has had so many attempts; none while it runs."""
    for number in range(attempts, 0, -1):
        folder = storage.folder(study_id, trial_id, number)
        ended = read_end(folder)
        if ended is not None and ended.outcome is not None:
            found, _ = checked(folder, ended.outcome.files)
            if found:
                return found
    return []


def named(artifacts: Sequence[Artifact], name: str) -> Artifact:
    """The one of that name. NotFound says which there are."""
    for artifact in artifacts:
        if artifact.name == name:
            return artifact
    there = ", ".join(each.name for each in artifacts) or "none"
    raise NotFound(f"The trial has no artifact {name[:80]!r}. There are: {there}.")


def _artifact(folder: Path, given: str) -> Artifact:
    """BadSpec for what is none."""
    shown = f"The outcome names the file {given[:80]!r}"
    path = Path(given)
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    if path.is_absolute() or ".." in path.parts:
        raise BadSpec(f"{shown}, which is not in the attempt's folder. Write it below `workdir`.")
    name = path.as_posix()
    if len(name) > MOST_NAME or not all(SAFE.fullmatch(part) for part in name.split("/")):
        raise BadSpec(f"{shown}. {PARTS} At most {MOST_NAME} characters.")
    try:
        resolved = (folder / path).resolve(strict=True)
        size = resolved.stat().st_size
    except (OSError, RuntimeError, ValueError) as problem:  # RuntimeError: links in a circle
        why = "is not there" if isinstance(problem, FileNotFoundError) else f"cannot be read ({problem})"
        raise BadSpec(f"{shown}, which {why}.") from None
    if not resolved.is_relative_to(folder.resolve()):
        raise BadSpec(f"{shown}, a link that leads out of the attempt's folder. Copy the file there.")
    if not resolved.is_file():
        raise BadSpec(f"{shown}, which is not a file. Name the files in it one by one.")
    if size > MOST_BYTES:
        raise BadSpec(f"{shown}, which has {size:,} bytes. Allowed are {MOST_BYTES:,}.")
    return Artifact(name, size, resolved)
