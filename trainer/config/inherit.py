"""What does a run learn, and what can one that follows it take of that? For a host that plans and follows.

Controls ask what a gain of guidance is due to. The learned values replayed at a plain run's cost; their mean;
the straight decay between the same ends; and the mean of what runs on other seeds and settings learned. Of
any run its parameters can be taken, to train on from.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import init as inits
from trainer.config.learnable import LEARNABLE
from trainer.config.paths import copied, value_at, with_values
from trainer.config.reading import ConfigError
from trainer.config.scales import ENDS, Scale, from_working, to_working
from trainer.config.t5_folder import FolderError
from trainer.protocol import SCHEDULE, whole

if TYPE_CHECKING:
    import numpy as np

    Schedule = dict[str, np.ndarray]

MULTIPLIER = "multiplier"
UNGUIDED = {"estimator": "off", "learn": []}
CHECKPOINT = "checkpoint"
TAKES = ("schedule", "schedule-mean", "matched-decay", "blind-course", CHECKPOINT)
# Float32's next to 0 and to 1: a learned value that has run into an end keeps a finite coordinate.
FIRST, LAST = 1.2e-38, 1 - 2.0**-24


def learns(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The hyperparameters that a run with this config learns."""
    names = value_at(config, "guidance.learn")
    guided = value_at(config, "guidance.estimator") not in (None, "off")
    return tuple(map(str, names)) if guided and isinstance(names, list | tuple) else ()


def inherit(
    take: str, config: Mapping[str, Any], folder: Path | None, others: Sequence[Path] = ()
) -> dict[str, Any] | list[str]:
    """What a run starts from that takes the schedule of a finished one, the mean of it, a straight decay or a
    blind course, unguided; or its parameters, with all of its config; sentences where there is nothing such
    to take. `config` and `folder` are the finished run's, and a file that is made is left there; folder None:
    before it has run. `others` are the folders of the runs whose mean a blind course is."""
    if take == CHECKPOINT:
        return _begun_with(config, folder)
    refused = _untakable(take, config)
    if refused:
        return [refused]
    # What else is said of guidance goes too: it would be refused.
    unguided: dict[str, Any] = copied({**config, "guidance": UNGUIDED})
    if folder is None:
        return unguided
    learned = learns(config)
    try:
        curves, *pool = map(curves_in, (folder, *others))
    except FileNotFoundError as missing:
        return [f"{missing} What follows it replays it: put it back, or cancel the study."]
    except ValueError as torn:
        return [str(torn)]
    for of, found in zip((folder, *others), (curves, *pool), strict=True):
        unfit = _unfit(found, learned)
        if unfit:
            return [f"{of / SCHEDULE} {unfit}"]
    if take == "blind-course":
        if not pool:
            return ["There is no run on another training seed whose course could be taken."]
        curves = blind_course(curves, pool, learned)
    if take == "schedule-mean":
        return with_values(unguided, means(curves, learned))
    if take == "matched-decay":
        curves = matched_decay(curves, learned)
    unguided = with_values(unguided, {"schedule.name": str(_saved(curves, folder / "taken", take))})
    unguided["schedule"].pop("course", None)  # the file holds its values too
    return unguided


def _begun_with(config: Mapping[str, Any], folder: Path | None) -> dict[str, Any] | list[str]:
    """The config, beginning with the parameters and the vocabulary of the run; what is wrong with them."""
    try:
        if folder is not None:
            inits.read(str(folder))
        return beginning_with(config, inits.to_come(config) if folder is None else str(folder))
    except FolderError as problem:
        return [str(problem)]
    except ConfigError as problem:
        return problem.problems


def beginning_with(config: Mapping[str, Any], init: str) -> dict[str, Any]:
    """The config with this `init`, whose vocabulary is taken too."""
    brought = {"data.vocabulary": 0, "data.vocabulary_path": ""}
    return with_values(config, {"init": init, **{k: v for k, v in brought.items() if value_at(config, k)}})


def _untakable(take: str, config: Mapping[str, Any]) -> str | None:
    if take not in TAKES:
        return f"Allowed is one of: {', '.join(TAKES)}."
    learned = learns(config)
    if not learned:
        return "Its runs learn nothing (guidance.estimator, guidance.learn). Follow a guided arm."
    grouped = [name for name in learned if value_at(config, f"guidance.hypers.{name}.per_group")]
    if grouped:
        return (
            f"Its runs learn {', '.join(grouped)} by parameter group, and an unguided run has one number for "
            f"all. Follow an arm without per_group."
        )
    return None


def _unfit(curves: Schedule, learned: tuple[str, ...]) -> str | None:
    lacking = [name for name in (MULTIPLIER, *learned) if name not in curves]
    grouped = [name for name, curve in curves.items() if curve.ndim != 1]
    if not (lacking or grouped):
        return None
    found = f"has no {', '.join(lacking)}" if lacking else f"has {', '.join(grouped)} by parameter group"
    return f"{found}. An arm can follow a run that leaves one number a step of all that it learns."


def curves_in(folder: Path) -> Schedule:
    """Every step's multiplier and hyperparameters, as a run left them. FileNotFoundError or ValueError say
    that there are none, or that the file is torn."""
    import numpy as np

    path = folder / SCHEDULE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {SCHEDULE}. Runs of the trainer leave one at their end: name a trial that "
            f"ended."
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (EOFError, ValueError, zipfile.BadZipFile) as problem:
        raise ValueError(
            f"{path} cannot be read ({problem}): it was torn, as by a power cut. Put a whole one there, or "
            f"run the trial's configuration again in a new study."
        ) from problem


def means(curves: Schedule, learned: tuple[str, ...]) -> dict[str, float]:
    """The mean over all steps of each value that was learned, by its path in a config."""
    return {LEARNABLE[name].path: float(f"{curves[name].mean(dtype='float64'):.8g}") for name in learned}


def matched_decay(curves: Schedule, learned: tuple[str, ...]) -> Schedule:
    """What was learned, without its shape: from its start to its end in a straight line of the raw value, α's
    logarithm and β1's logit. So α falls by one factor a step, as looking one step ahead makes it fall by
    itself; where the learned one rose, this rises. All that was not learned stays as it was."""
    made = dict(curves)
    for name in learned:
        curve = curves[name].astype("float64")
        made[name] = _straight(LEARNABLE[name].scale, curve[0], curve[-1], len(curve))
    return made


def blind_course(curves: Schedule, pool: Sequence[Schedule], learned: tuple[str, ...]) -> Schedule:
    """`curves`, with the mean of what the runs of the pool learned in the place of what this one did: of the
    raw values, step t of this run's T beside step t·S/T of a run of S steps, between its steps in a straight
    line. All that was not learned stays as it was, the multiplier too."""
    import numpy as np

    made = dict(curves)
    for name in learned:
        scale, at = LEARNABLE[name].scale, _relative(curves[name])
        courses = [np.interp(at, _relative(of[name]), _raw(scale, of[name])) for of in pool]
        made[name] = _value(scale, np.mean(courses, axis=0))
    return made


def _relative(curve: np.ndarray) -> np.ndarray:
    """At which part of its run each step stands: t/T."""
    import numpy as np

    return np.arange(len(curve)) / len(curve)


def _raw(scale: Scale, curve: np.ndarray) -> np.ndarray:
    import numpy as np

    low, high = ENDS[scale]
    exact = curve.astype("float64")
    within = np.clip(exact, FIRST if low == 0 else low, LAST if high == 1 else high)
    return np.array([to_working(scale, value) for value in within.tolist()])


def _value(scale: Scale, raw: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.array([from_working(scale, value) for value in raw.tolist()])


def _straight(scale: Scale, start: float, end: float, steps: int) -> np.ndarray:
    import numpy as np

    return _value(scale, np.linspace(to_working(scale, start), to_working(scale, end), steps))


def _saved(curves: Schedule, folder: Path, take: str) -> Path:
    """In float32, as the trainer leaves its own: equal curves give equal bytes."""
    import numpy as np

    folder.mkdir(exist_ok=True)
    path = folder / f"{take}.npz"
    with whole(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **{name: np.asarray(curve, np.float32) for name, curve in curves.items()})  # type: ignore[arg-type]
    return path
