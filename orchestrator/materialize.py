"""What exactly will a trial run? Base config + arm + what an earlier arm found + point + seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from orchestrator.spec import FRESH_PER_REPLICATE, Arm, StudySpec, Take


def laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, section by section; neither is changed."""
    merged = copy.deepcopy(dict(base))
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = laid_over(below, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the value of each dotted path replaced; missing sections are made."""
    changed = copy.deepcopy(dict(config))
    for path, value in values.items():
        *sections, key = path.split(".")
        place = changed
        for section in sections:
            inner = place.get(section)
            place[section] = inner = inner if isinstance(inner, dict) else {}
            place = inner
        place[key] = value
    return changed


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    place: Any = config
    for key in path.split("."):
        if not isinstance(place, Mapping) or key not in place:
            return None
        place = place[key]
    return place


def training_seed(spec: StudySpec, arm: Arm, replicate: int, index: int) -> int:
    """The same for all trials of a replicate, across arms (common random numbers); or a fresh one."""
    if arm.fresh_seeds:
        return spec.seeds.fresh + replicate * FRESH_PER_REPLICATE + index
    return spec.seeds.search + replicate


def default_config(spec: StudySpec, arm: Arm) -> dict[str, Any]:
    """The arm's config before any point: the study's base with the arm's own laid over it."""
    return laid_over(spec.base, arm.config)


def default_point(spec: StudySpec, arm: Arm) -> dict[str, float]:
    """The default configuration as a point of the arm's space, where the config states it."""
    config = default_config(spec, arm)
    stated = {p.path: value_at(config, p.path) for p in arm.space}
    return {
        path: float(value)
        for path, value in stated.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


# -- what an arm takes of the one that it follows ---------------------------------------------------------
UNGUIDED = {"estimator": "off", "learn": []}
_ELSEWHERE = {"label_smoothing": "loss.label_smoothing", "decay_rate": "optimizer.more.decay_rate"}


def path_of(name: str) -> str:
    """Where a config states the constant value of a hyperparameter that can be learned."""
    return _ELSEWHERE.get(name, f"optimizer.{name}")


def learned_by(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The hyperparameters that a run with this config learns."""
    names = value_at(config, "guidance.learn")
    guided = value_at(config, "guidance.estimator") not in (None, "off")
    return tuple(map(str, names)) if guided and isinstance(names, list | tuple) else ()


def unguided(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same run with nothing learned; what is said of guidance besides goes too, and would be refused."""
    return {**copy.deepcopy(dict(config)), "guidance": copy.deepcopy(UNGUIDED)}


def decay_per_step(config: Mapping[str, Any]) -> float | None:
    """By how much log α can fall a step, as the config states it: η̂ by the steps from one meta-step to the
    next, or the reach by all steps. None where it leaves η̂ to the estimator."""
    for path in ("guidance.hypers.alpha.eta", "guidance.eta"):
        eta = value_at(config, path)
        if eta is not None:
            return float(eta) / float(value_at(config, "guidance.every_steps") or 1)
    reach, steps = (value_at(config, path) for path in ("guidance.reach", "steps"))
    return float(reach) / float(steps) if reach and steps else None


def untakable(take: Take, config: Mapping[str, Any]) -> str | None:
    """Why what such a run learned cannot be taken, in a sentence; None where it can."""
    if take == "config":
        return None
    learned = learned_by(config)
    if not learned:
        return "Its runs learn nothing (guidance.estimator, guidance.learn). Follow a guided arm."
    grouped = [name for name in learned if value_at(config, f"guidance.hypers.{name}.per_group")]
    if grouped:
        return (
            f"Its runs learn {', '.join(grouped)} by parameter group, and an unguided run has one number for "
            f"all. Follow an arm without per_group."
        )
    if take == "matched-decay" and "alpha" in learned and decay_per_step(config) is None:
        return "Its runs leave η̂ to the estimator. State guidance.eta, or guidance.reach."
    return None


def expected_config(spec: StudySpec, arm: Arm) -> dict[str, Any]:
    """What an arm's runs will start from, as far as can be told before the arms that it follows have run."""
    if arm.after is None:
        return default_config(spec, arm)
    found = expected_config(spec, spec.arm(arm.after.arm))
    return laid_over(found if arm.after.take == "config" else unguided(found), arm.config)


def trial_config(
    spec: StudySpec,
    arm: Arm,
    *,
    replicate: int,
    index: int,
    point: Mapping[str, float],
    found: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The full config of one trial. `found` is the config that the arm it follows has chosen."""
    config = default_config(spec, arm) if found is None else laid_over(found, arm.config)
    config = with_values(config, point)
    config["seed"] = training_seed(spec, arm, replicate, index)
    return config
