"""What exactly will a trial run? Base config + arm + what an earlier arm found + point + seed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.spec import FRESH_PER_REPLICATE, Arm, StudySpec, Take

_MARK = "\0"  # no value of a spec: no text in one holds a null


def laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`, section by section; neither is changed."""
    merged: dict[str, Any] = _copied(_joined(base, top))
    return merged


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


def _copied(value: Any) -> Any:
    """Of what a config can hold. Unlike `copy.deepcopy` it makes two of what stands at two places, so that
    a change at one is none at the other."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value))
    return value


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the value of each dotted path replaced; missing sections are made."""
    changed: dict[str, Any] = _copied(dict(config))
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
    config = _joined(spec.base, arm.config)
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
    changed: dict[str, Any] = _copied({**config, "guidance": UNGUIDED})
    return changed


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
    return None


def expected_config(spec: StudySpec, arm: Arm) -> dict[str, Any]:
    """What an arm's runs will start from, as far as can be told before the arms that it follows have run."""
    arms = {each.name: each for each in spec.arms}
    chain = [arm]
    while (after := chain[-1].after) is not None:
        chain.append(arms[after.arm])
    config: Mapping[str, Any] = spec.base
    for each in reversed(chain):
        config = _followed(config, each)
    whole: dict[str, Any] = _copied(config)
    return whole


def expected_configs(spec: StudySpec) -> Iterator[tuple[Arm, dict[str, Any]]]:
    """`expected_config` of every arm, each made of an earlier one's. They share what is alike, and are only
    to be read."""
    made: dict[str, dict[str, Any]] = {}
    for arm in spec.arms:  # an arm follows only earlier ones
        config = _followed(spec.base if arm.after is None else made[arm.after.arm], arm)
        made[arm.name] = config
        yield arm, config


def _followed(config: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """What an arm starts from, given the base, or what the arm that it follows starts from."""
    if arm.after is not None and arm.after.take != "config":
        config = {**config, "guidance": UNGUIDED}
    return _joined(config, arm.config)


# -- how far a value in the base goes ---------------------------------------------------------------------
@dataclass(frozen=True)
class Reach:
    """What becomes of a value in the base config: arms by name, in the study's order."""

    reached: tuple[str, ...]
    kept: tuple[str, ...]  # state it themselves, search it, or take it of an arm that does
    begun: tuple[str, ...]  # of those kept: a Bayesian search of it, which begins at the base's value


def reach(spec: StudySpec, paths: Collection[str]) -> dict[str, Reach]:
    """How far the base's value at each dotted path goes; none of the paths leads into another."""
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
            if arm.after.take != "config":  # which runs it with guidance off, whatever the base says
                kept[arm.name] |= {path for path in paths if path.split(".")[0] == "guidance"}
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
    point: Mapping[str, float],
    found: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The full config of one trial. `found` is the config that the arm it follows has chosen."""
    config = with_values(_joined(spec.base if found is None else found, arm.config), point)
    config["seed"] = training_seed(spec, arm, replicate, index)
    return config
