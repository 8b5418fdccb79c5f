"""What does an arm take of the best run that it follows? Its configuration, or what it learned, unguided.

Controls ask what a gain of guidance is due to. The learned values replayed at a plain run's cost; their mean;
and the straight decay between the same ends. A curve becomes a schedule file in the study's folder,
`schedules/<trial>.<take>.npz`: it is a function of the run that is followed, and is there before any trial
names it, so that whoever dies in between is followed by one who writes the same again.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.ledger.records import TrialRow
from orchestrator.runs import schedules
from orchestrator.runs.folders import Storage
from orchestrator.study.configs import learned_by, path_of, unguided, untakable, with_values
from orchestrator.study.spec import Take
from trainer.config.scales import Scale, to_working
from trainer.protocol import SCHEDULE

Curves = dict[str, np.ndarray]
MULTIPLIER = "multiplier"
_SCALES: dict[str, Scale] = {"beta1": "logit", "beta2": "logit", "label_smoothing": "logit"}  # others: log


def taken(take: Take, source: TrialRow, storage: Storage) -> dict[str, Any]:
    """The config that a following arm starts from. BadSpec where the run has left nothing to take."""
    if take == "config":
        return dict(source.config)
    why_not = untakable(take, source.config)
    if why_not is not None:
        raise BadSpec(f"{source.trial_id} is followed by an arm that takes {take!r}. {why_not}")
    curves = _learned(source, storage)
    config = unguided(source.config)
    if take == "schedule-mean":
        return with_values(config, means(curves, learned_by(source.config)))
    if take == "matched-decay":
        curves = matched_decay(curves, learned_by(source.config))
    file = storage.keep(source.study_id, f"{source.trial_id}.{take}.npz", _packed(curves))
    config = with_values(config, {"schedule.name": str(file)})
    config["schedule"].pop("course", None)  # the file holds its values too
    return config


def means(curves: Curves, learned: tuple[str, ...]) -> dict[str, float]:
    """The mean over all steps of each value that was learned, by its path in a config."""
    return {path_of(name): float(f"{curves[name].mean(dtype=np.float64):.8g}") for name in learned}


def matched_decay(curves: Curves, learned: tuple[str, ...]) -> Curves:
    """What was learned, without its shape: from its start to its end in a straight line of the raw value, α's
    logarithm and β1's logit. So α falls by one factor a step, as looking one step ahead makes it fall by
    itself; where the learned one rose, this rises. All that was not learned stays as it was."""
    made = dict(curves)
    for name in learned:
        curve = curves[name].astype(np.float64)
        made[name] = _straight(_SCALES.get(name, "log"), curve[0], curve[-1], len(curve))
    return made


def _straight(scale: Scale, start: float, end: float, steps: int) -> np.ndarray:
    raw = np.linspace(to_working(scale, start), to_working(scale, end), steps)
    return np.exp(raw) if scale == "log" else 1 / (1 + np.exp(-raw))


def _learned(source: TrialRow, storage: Storage) -> Curves:
    """What the run's last attempt, the one that completed, says of every step."""
    folder = storage.folder(source.study_id, source.trial_id, source.attempts)
    try:
        curves = schedules.arrays(folder)
    except NotFound as missing:
        raise BadSpec(
            f"{missing} An arm that follows {source.arm} replays it: put it back, or cancel the study."
        ) from missing
    lacking = [name for name in (MULTIPLIER, *learned_by(source.config)) if name not in curves]
    grouped = [name for name, curve in curves.items() if curve.ndim != 1]
    if lacking or grouped:
        raise BadSpec(
            f"{folder / SCHEDULE} "
            + (f"has no {', '.join(lacking)}" if lacking else f"has {', '.join(grouped)} by parameter group")
            + ". An arm can follow a run that leaves one number a step of all that it learns."
        )
    return curves


def _packed(curves: Curves) -> bytes:
    """As the trainer writes them, in float32: equal curves give equal bytes."""
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(curve, np.float32) for name, curve in curves.items()})  # type: ignore[arg-type]
    return file.getvalue()
