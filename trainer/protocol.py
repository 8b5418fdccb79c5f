"""Which words do a training program and its host speak?

A training program ("entrypoint") is a module that offers

    check(config) -> list[str]        sentences that say what is wrong; empty when all is well
    shape_key(config) -> str          equal keys compile to the same program
    run(config, reporter, workdir, place) -> Outcome

and, where not every run can use what a trial holds (`resources`: hosts; cpus, gpus and
tpu_chips of each; tpu_type; devices), where runs learn hyperparameters or leave something for others to
begin with,

    fits(config, resources) -> list[str]               why a run cannot use these; empty when it can
    learns(config) -> list[str]                        names of the hyperparameters that a run learns
    inherit(take, config, folder) -> config | list[str]

`inherit` is asked for what a run starts from that takes `take` (schedule, schedule-mean, matched-decay,
blind-course or checkpoint, see docs/specs.md) of a finished run with that config: a config, or sentences
that say why there is none. `folder` is the finished run's, and a file that the new config names may be left
there: the host keeps it. With checkpoint the config names the folder, or what lies there, and that stays.
Folder None asks beforehand whether it can be taken. For a blind-course of finished runs there is a fourth
argument: the folders of those runs, on other training seeds, whose mean is taken.

Where `place` is one of several, `run` is called in each process of a gang, and raises PeerLost where it
cannot go on because another one is gone: an exception of any other kind is its own.

All but `run` use the standard library and numpy only, so that a host can ask them without loading an
accelerator stack. A config is a dict of JSON values; its top-level `seed` is set by the host.
"""

from __future__ import annotations

import enum
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["completed", "diverged", "stopped", "preempted"]

# Clocks are totals of this attempt. Seconds by what they were spent on, then what was done in them.
SECONDS = ("train_s", "eval_s", "compile_s", "other_s")
COUNTS = ("steps", "tokens", "flops")

FALLBACK = "fallback"  # the kind of a report

# The files in a run's folder that both sides know by name.
RESUME = "resume.json"  # what to go on from, written by the host before the run: see `resume_note`
SCHEDULE = "schedule.npz"  # the schedule that a guided run has learned
PARAMS = "params.npz"  # the parameters of a finished run
TRANSLATIONS = {"dev": "translations-dev.jsonl", "test": "translations-test.jsonl"}
ANSWERS = {"dev": "answers-dev.jsonl", "test": "answers-test.jsonl"}  # of a task, in their place


class NotHere(Exception):
    """Raised by `run` where this machine lacks what the config names, a file or a folder. The host tries
    another machine, where there is one."""


class PeerLost(Exception):
    """Raised by `run` in a gang where another process does not answer, or the gang cannot meet: the trouble
    is elsewhere. The host looks for its cause in the other processes before it tries again."""


class Reply(enum.Enum):
    """What the host answers to a report."""

    GO = "go"
    STOP = "stop"
    SAVE_AND_STOP = "save_and_stop"


Verdict = Reply  # its former name, which stands in people's entrypoints


@dataclass(frozen=True)
class Place:
    """Where this process stands in its gang, and when the machine will be taken away (unix seconds)."""

    process_index: int = 0
    process_count: int = 1
    coordinator: str | None = None
    preempt_at: float | None = None


ALONE = Place()


@dataclass(frozen=True)
class Report:
    """One thing that a run has to say: `kind` is train, eval, checkpoint, final or fallback.

    fallback: the checkpoint that the run was to go on from is damaged, and `path` is the one it goes on from
    instead (None: it begins anew). A run that cannot fall back never says it.
    """

    step: int
    kind: str
    values: Mapping[str, float] = field(default_factory=dict)
    hyper: Mapping[str, float] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)
    path: str | None = None  # of a checkpoint, once it is finalised
    damaged: tuple[str, ...] = ()  # of a fallback: the checkpoints that were passed over, the newest first


@dataclass(frozen=True)
class Outcome:
    """How a run ended. Values are the last finite ones, also when it diverged."""

    status: Status
    values: Mapping[str, float] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    files: tuple[str, ...] = ()  # paths in `workdir` that are to be shown and kept as the trial's artifacts
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        return cls(**{**data, "files": tuple(data.get("files", ()))})


class Reporter(Protocol):
    """The callable that a run reports through. It never raises."""

    def __call__(self, report: Report) -> Reply: ...


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file that is there whole or not at all: what is written to the path that is given takes its place.
    No two writers are given the same one, on whichever machines they are."""
    unfinished = path.with_name(f"unfinished-{secrets.token_hex(8)}-{path.name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_resume_note(workdir: Path, checkpoint: str, **more: Any) -> None:
    """Tell a run in this folder to go on from a checkpoint. `earlier`: the folders of earlier attempts, for a
    run that finds it damaged; `fork`: hyperparameters that are to have the config's values."""
    with whole(workdir / RESUME) as unfinished:  # all of a gang write it, and read it
        unfinished.write_text(json.dumps({"checkpoint": checkpoint, **more}))


def resume_note(workdir: Path) -> dict[str, Any] | None:
    """What the host has written for a run in this folder; None where it is to begin."""
    note = workdir / RESUME
    if not note.is_file():
        return None
    told: dict[str, Any] = json.loads(note.read_text())
    return told
