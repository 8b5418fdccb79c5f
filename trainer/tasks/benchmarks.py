"""Which tasks of benchmarks are there, and which rows of their sets choose and are reported?

    score.protocol   dev split                            test split
    ours             a tenth of train, by groups          validation
    papers           validation                           the set's, where its labels are not hidden

A group is what rows have in common that would tell one by the other: a paragraph, a passage, a premise. It is
on one side of every cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np

from trainer.config import DataConfig
from trainer.config.benchmarks import LABELLED, OURS
from trainer.config.registry import code
from trainer.data import splits, tfds
from trainer.data.contract import Pairs
from trainer.data.sources import Source, first
from trainer.tasks import glue, pronouns, reading, super_glue
from trainer.tasks.prepared import VERSION, Counted, Joined, Rows, counted, records
from trainer.tasks.task import Task

TASKS: Mapping[str, Task] = {
    task.name: task for task in chain(glue.TASKS, super_glue.TASKS, pronouns.TASKS, reading.TASKS)
}
CHOOSING_SHARE = 0.1  # of train; of a set of 250 rows 5% would choose by chance
MOST_CHOOSING = splits.MOST_HELD_OUT


def from_config(config: DataConfig, home: Path, *, protocol: str = OURS) -> Source:
    """The task's rows; DataError where a set is not there."""
    task, folder = TASKS[config.task], config.path
    learned = [TASKS[name] for name in task.trained_on] or [task]
    validation = _validation(task, folder=folder, home=home)
    given: dict[str, Pairs] = {}
    if protocol == OURS:
        given = _cut(learned, folder=folder, home=home) | {"test": validation}
    else:
        given = {"train": Joined([_training(each, folder=folder, home=home) for each in learned])}
        given["select"] = validation
        if task.known.test == LABELLED:
            given["test"] = _judged(task, "test", folder=folder, home=home)
    sets = {each.set for each in (task, *learned)}
    told = f"{task.name} {VERSION} {protocol}"
    return Source(
        name=f"task {task.name}",
        given=given | {"train": first(given["train"], config.pairs)},
        versions={
            "tensorflow-datasets": version("tensorflow-datasets"),
            **{name: tfds.set_version(name, data_dir=folder) for name in sorted(sets)},
        },
        filters=(),  # published sets are taken as they are
        separate=False,
        identity=" ".join([told, *(tfds.identity(each.set, "train", data_dir=folder) for each in learned)]),
        code=told,
        measure=code(task.measure),
        beams=task.beams,
        grouped=True,
        no_test=f"{task.name} has no test split with labels. Its validation is the dev split."
        if "test" not in given
        else "",
    )


def _cut(learned: list[Task], *, folder: str, home: Path) -> dict[str, Pairs]:
    """Train, and the part of it that chooses, as it is judged: it has what nobody trains on too."""
    train, select = [], []
    for task in learned:
        known = counted(task, "train", data_dir=folder, home=home)
        every = np.arange(len(known.group))
        size = min(MOST_CHOOSING, max(1, int(CHOOSING_SHARE * len(every))))
        held, rest = splits.hold_out(every, known.group, size=size, whole=True)
        train.append(_rows(task, "train", folder=folder, numbers=rest, known=known, training=True))
        select.append(_rows(task, "train", folder=folder, numbers=held, known=known))
    return {"train": Joined(train), "select": Joined(select)}


def _validation(task: Task, *, folder: str, home: Path) -> Joined:
    return Joined([_judged(task, split, folder=folder, home=home) for split in task.validation])


def _training(task: Task, *, folder: str, home: Path) -> Rows:
    known = counted(task, "train", data_dir=folder, home=home) if task.several else None
    return _rows(task, "train", folder=folder, known=known, training=True)


def _judged(task: Task, split: str, *, folder: str, home: Path) -> Rows:
    known = counted(task, split, data_dir=folder, home=home) if task.several else None
    return _rows(task, split, folder=folder, known=known)


def _rows(
    task: Task,
    split: str,
    *,
    folder: str,
    known: Counted | None,
    numbers: np.ndarray | None = None,
    training: bool = False,
) -> Rows:
    found = records(task, split, data_dir=folder)
    return Rows(
        task,
        found,
        np.arange(len(found)) if numbers is None else numbers,
        training=training,
        counts=None if known is None else known.training if training else known.judged,
        split=split if len(task.validation) > 1 and split in task.validation else "",
    )
