"""What exactly will a trial run? Base config + arm + what an earlier arm found + point + seed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.entrypoint import Inherit
from orchestrator.study.space import Point, Value
from orchestrator.study.spec import FRESH_PER_REPLICATE, Arm, StudySpec
from trainer.config.paths import copied, value_at, with_values

_MARK = "\0"  # no value of a spec: no text in one holds a null


def laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, section by section; neither is changed."""
    merged: dict[str, Any] = copied(_joined(base, top))
    return merged


def stated(spec: StudySpec, arm: Arm, path: str) -> Any:
    """What an arm's config says, over the study's base; None where neither does."""
    return value_at(_joined(spec.base, arm.config), path)


def _joined(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`laid_over` without the copy: it shares what it holds with both, and is only to be read."""
    joined = dict(base)
    for key, value in top.items():
        below = joined.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            joined[key] = _joined(below, value)
        else:
            joined[key] = value
    return joined


def training_seed(spec: StudySpec, arm: Arm, replicate: int, index: int) -> int:
    """The same for all trials of a replicate, across arms (common random numbers); or a fresh one."""
    if arm.fresh_seeds:
        return spec.seeds.fresh + replicate * FRESH_PER_REPLICATE + index
    return spec.seeds.search + replicate


def default_point(spec: StudySpec, arm: Arm) -> dict[str, Value]:
    """The default configuration as a point of the arm's space, where the config states a value of the
    parameter's kind."""
    config = _joined(spec.base, arm.config)
    stated = {p.path: p.own(value_at(config, p.path)) for p in arm.space}
    return {path: value for path, value in stated.items() if value is not None}


def expected_configs(spec: StudySpec, inherit: Inherit) -> Iterator[tuple[Arm, dict[str, Any]]]:
    """What each arm's runs will start from, as far as can be told before the arms that it follows have run.
    They share what is alike, and are only to be read. What cannot be taken
    is left as the followed arm has it: `engine/checks.py` refuses it."""
    made: dict[str, dict[str, Any]] = {}
    for arm in spec.arms:  # an arm follows only earlier ones
        start: Mapping[str, Any] = spec.base
        if arm.after is not None:
            start = made[arm.after.arm]
            taken = inherit(arm.after.take, start)
            start = taken if isinstance(taken, dict) else start
        made[arm.name] = _joined(start, arm.config)
        yield arm, made[arm.name]


# -- how far a value in the base goes ---------------------------------------------------------------------
@dataclass(frozen=True)
class Reach:
    """What becomes of a value in the base config: arms by name, in the study's order."""

    reached: tuple[str, ...]
    kept: tuple[str, ...]  # state it themselves, search it, or take it of an arm that does
    begun: tuple[str, ...]  # of those kept: a Bayesian search of it, which begins at the base's value


def reach(spec: StudySpec, paths: Collection[str], inherit: Inherit) -> dict[str, Reach]:
    """How far the base's value at each dotted path goes; none of the paths leads into another."""
    configs = {arm.name: config for arm, config in expected_configs(spec, inherit)}
    marked = with_values(spec.base, dict.fromkeys(paths, _MARK))
    kept: dict[str, set[str]] = {}  # the paths, by arm
    begun: dict[str, set[str]] = {}
    for arm in spec.arms:
        default = laid_over(marked, arm.config)
        searched = {p.path for p in arm.space}
        stated = {path for path in paths if value_at(default, path) != _MARK}
        kept[arm.name] = stated | (searched & set(paths))
        begun[arm.name] = (searched & set(paths)) - stated if arm.bayesian else set()
        if arm.after is not None:
            kept[arm.name] |= kept[arm.after.arm]
            source = configs[arm.after.arm]
            taken = inherit(arm.after.take, source)
            if isinstance(taken, dict):  # what this changes, it changes whatever the base says
                kept[arm.name] |= {path for path in paths if value_at(taken, path) != value_at(source, path)}
    return {
        path: Reach(
            reached=tuple(name for name in kept if path not in kept[name]),
            kept=tuple(name for name in kept if path in kept[name]),
            begun=tuple(name for name in begun if path in begun[name]),
        )
        for path in paths
    }


def trial_config(
    spec: StudySpec,
    arm: Arm,
    *,
    replicate: int,
    index: int,
    point: Point,
    found: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The full config of one trial. `found` is the config that the arm it follows has chosen."""
    config = with_values(_joined(spec.base if found is None else found, arm.config), point)
    config["seed"] = training_seed(spec, arm, replicate, index)
    return config
