"""The only way in: how is a training run checked, told from others by its shape, and run?

A host calls `check`, `shape_key` and `run` (trainer/protocol.py). Until `run` is called nothing but the
standard library is loaded.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config import ConfigError, TrainConfig, named_files
from trainer.config import check as wrong_in
from trainer.config import init as inits
from trainer.config.choices import FEW_TASKS, SCHEDULES, room_for, task_of
from trainer.config.conflicts import indivisible, learned_and_replayed
from trainer.config.paths import value_at
from trainer.config.t5_folder import FolderError
from trainer.config.text_conflicts import unread
from trainer.data import files
from trainer.data.contract import DataError
from trainer.protocol import NotHere, Outcome, Place, Reporter

# All that shapes a program; other numbers are traced. The text decides the vocabulary and the lengths.
_SHAPES = (
    "init",
    "data",
    "model",
    "batch",
    "mesh",
    "optimizer.name",
    "guidance.estimator",
    "guidance.learn",
    "guidance.batch_fraction",
    "guidance.groups",
)
DEVICES_FLAG = "xla_force_host_platform_device_count"


class Missing(ConfigError, NotHere):
    """Files that the config names are not on this machine, or not as they must be."""


def check(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config, a sentence each; empty when it can be run here."""
    return wrong_in(config) or _missing(TrainConfig.from_dict(config))


def fits(config: Mapping[str, Any], resources: Mapping[str, Any]) -> list[str]:
    """Whether a trial has the devices that its mesh takes: all of them on several hosts, since each process
    must take part; at most so many on one."""
    mesh, hosts = TrainConfig.from_dict(config).mesh, int(resources["hosts"])
    size = mesh.data * mesh.fsdp * mesh.tensor
    devices, chips = resources.get("devices"), int(resources["tpu_chips"])
    told_there = DEVICES_FLAG in os.environ.get("XLA_FLAGS", "")  # how many devices a CPU stands for
    if devices is not None:
        allowed = [int(devices)]
    elif chips:  # of no stated type: a v3's is two devices
        allowed = [hosts * chips, 2 * hosts * chips]
    elif told_there:
        allowed = [size] if size % hosts == 0 else [hosts]
    else:
        allowed = [hosts]
    if size in allowed or (hosts == 1 and size < max(allowed)):
        return []
    numbers = " or ".join(map(str, allowed))
    if hosts > 1:
        holds = f"{hosts} hosts, whose devices must all take part. Allowed is {numbers}"
    else:
        holds = f"{numbers} device{'s' * (numbers != '1')}. Allowed are at most so many"
    other = "other resources" if devices is not None or chips else "resources.hosts"
    size_is = f"mesh.data · mesh.fsdp · mesh.tensor is {size}"
    return [f"{size_is}, and a trial holds {holds}: set mesh.data, or {other}."]


def _missing(config: TrainConfig) -> list[str]:
    """Files that the config names and that are not there, or not as they must be."""
    named = named_files(config.to_dict())
    problems = [*_init(config, named), *_vocabulary(named), *_sets(config)]
    path = Path(named.get("data.path", "")).expanduser()
    if (
        "data.path" in named
        and not path.exists()
        and not any(path.parent.glob(f"{glob.escape(path.name)}.*"))
    ):
        problems.append(
            f"data.path is {config.data.path!r}, and there is no such file or folder, nor files whose names "
            f"begin so. Name one that is there."
        )
    elif not path.is_absolute() and "data.path" in named:
        problems.append(_relative("data.path", path))
    elif config.data.source == "files" or config.data.task == "files":
        try:
            files.found(path, pair=files.TASK if config.data.task else config.data.pair)
        except DataError as why:
            problems.append(f"data.path: {why}")
    elif config.data.source == "text":
        try:
            files.of_documents(path)
        except DataError as why:
            problems.append(f"data.path: {why}")
    if "data.task" in named:
        problems += _unusable_task(Path(named["data.task"]))
    schedule = named.get("schedule.name")
    if schedule is not None:
        if not Path(schedule).expanduser().is_file():
            problems.append(
                f"schedule.name is {schedule!r}, and there is no such file. Allowed are "
                f"{', '.join(SCHEDULES)}, or the path of a schedule that was exported."
            )
        elif not Path(schedule).expanduser().is_absolute():
            problems.append(_relative("schedule.name", Path(schedule)))
        elif config.guidance.learn:
            problems += learned_and_replayed(config, _replayed(Path(schedule).expanduser()))
    return problems


def _init(config: TrainConfig, named: Mapping[str, str]) -> list[str]:
    """What is wrong with what the run is to begin with."""
    if "init" not in named:
        return []
    to_come = inits.is_to_come(named["init"])
    place = Path(named["init"]).expanduser()
    try:
        begun = inits.with_dimensions(config, inits.read(named["init"]))
    except FolderError as problem:
        return [f"init: {problem}"]
    except ConfigError as problem:
        return problem.problems
    if not (to_come or place.is_absolute()):
        return [_relative("init", place)]
    return [*indivisible(begun), *unread(begun)]


def _vocabulary(named: Mapping[str, str]) -> list[str]:
    path = Path(named.get("data.vocabulary_path", "")).expanduser()
    if "data.vocabulary_path" not in named:
        return []
    if not path.is_file():
        return [
            f"data.vocabulary_path is {str(path)!r}, and there is no such file. Name a spiece.model of "
            f"SentencePiece."
        ]
    return [] if path.is_absolute() else [_relative("data.vocabulary_path", path)]


def _sets(config: TrainConfig) -> list[str]:
    """Sets of a benchmark's task that are not in the folder that is named for them. Where none is named the
    run says so as it opens them: a study may be planned on one machine and run on another."""
    benchmark = task_of(config.data.task).benchmark
    folder = Path(config.data.path).expanduser()
    absent = [name for name in benchmark.sets if not (folder / name).is_dir()] if benchmark else []
    return [
        f"data.task is {config.data.task!r}, and its set {name} is not in {folder}. Where there is a "
        f"network: orch data prepare {name} --data-dir {folder}. Or name the folder where it lies prepared "
        f"(data.path)."
        for name in absent
        if config.data.path and folder.is_dir()
    ]


def _unusable_task(path: Path) -> list[str]:
    """What is wrong with a task's own file, as far as can be told without running it: whoever asks may have
    no right to."""
    if not path.expanduser().is_file():
        return [
            f"data.task is {str(path)!r}, and there is no such file. Allowed are {', '.join(FEW_TASKS)}, a "
            f"benchmark's such as glue/cola, or the path of a Python file that is there."
        ]
    return [] if path.expanduser().is_absolute() else [_relative("data.task", path)]


def _relative(what: str, path: Path) -> str:
    """Whoever trains may stand in another folder than whoever asks."""
    return (
        f"{what} is {str(path)!r}, which is another place for a worker in another folder. Write the whole "
        f"path: {str(path.absolute())!r}."
    )


def _replayed(path: Path) -> set[str]:
    """What a learned schedule holds, as far as can be told without its numbers: the run reads it whole."""
    try:
        if path.suffix == ".json":
            return set(json.loads(path.read_text(encoding="utf-8"))["curves"])
        with zipfile.ZipFile(path) as arrays:
            return {name.removesuffix(".npy") for name in arrays.namelist()}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return set()


def shape_key(config: Mapping[str, Any]) -> str:
    """Equal keys compile to the same programs."""
    whole = TrainConfig.from_dict(config)
    data = whole.to_dict()
    shaping: dict[str, Any] = {path: value_at(data, path) for path in _SHAPES}
    shaping["without momentum"] = whole.keeps_no_momentum()
    shaping["smooths"] = bool(whole.starts_in_loss())
    if whole.protocol:  # what is left of train decides how large a vocabulary is learned
        shaping["protocol"] = whole.protocol
    shaping["curves"] = room_for(whole.steps)
    shaping["per group"] = sorted(n for n, own in whole.guidance.hypers.items() if own.get("per_group"))
    if whole.reads_text():
        shaping["objective"] = data["objective"]
    text = json.dumps(shaping, sort_keys=True)
    return f"{whole.model.size}-{whole.guidance.estimator}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """Train as the config says, in this process. Goes on from `workdir/resume.json` where it is."""
    from trainer.training import assembly

    if problems := wrong_in(config):
        raise ConfigError(problems)
    if problems := _missing(TrainConfig.from_dict(config)):
        raise Missing(problems)
    checked = TrainConfig.from_dict(config)
    if inits.is_to_come(checked.init):
        raise ConfigError(["init stands for a run that is still to come. Name the folder of one that ended."])
    return assembly.run(checked, reporter=reporter, workdir=workdir, place=place)
