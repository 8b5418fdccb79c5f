"""What exactly will a trial run? Base config + arm + what an earlier arm found + point + seed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from orchestrator.spec import FRESH_PER_REPLICATE, Arm, StudySpec


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
