"""What do the flags of a command change in a spec, which arms do they reach, and what stays behind?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.ground.errors import BadSpec, nearest
from orchestrator.study.configs import Reach, reach
from orchestrator.study.entrypoint import inherit_of
from orchestrator.study.methods import OUR_BAYESIAN, replacing
from orchestrator.study.plan import COST_THE_SAME
from orchestrator.study.resources import Resources
from orchestrator.study.spec import PATH, StudySpec
from orchestrator.study.spec_files import spec_from_dict
from trainer.config.paths import value_at, with_values

SHORT_RESOURCES = {"cpu": "cpus", "gpu": "gpus", "tpu": "tpu_chips"}


@dataclass(frozen=True)
class Overridden:
    """A spec with flags laid over it, and what is to be said of what they do not change."""

    spec: StudySpec
    notes: tuple[str, ...] = ()


def override(
    spec: StudySpec,
    *,
    name: str | None = None,
    trials: int | None = None,
    replicates: int | None = None,
    search: str | None = None,
    sets: Sequence[str] = (),
    resources: Sequence[str] = (),
) -> Overridden:
    """The spec with the flags of a command laid over it, checked anew.

    `trials` goes to every arm that searches without a grid, `search` to every Bayesian arm, and
    each of `sets` ("path=value", the value as JSON or else as a string) into the base config, over which an
    arm's own config is laid. One that changes no arm is refused. Each of `resources` ("key=value") is what
    every trial holds, whatever the spec says of it.
    """
    useless = list(_without_arms(spec, trials, replicates, search))
    data = spec.model_dump(mode="json")
    if name is not None:
        data["name"] = name
    if replicates is not None:
        data["replicates"] = replicates
    for arm, before in zip(data["arms"], spec.arms, strict=True):
        if trials is not None and before.space and not before.is_grid:
            arm["trials"] = trials
        if search is not None and before.bayesian:
            arm["method"] = search
    data["resources"].update(_resource(text) for text in resources)
    settings = dict(_setting(text) for text in sets)
    data["base"] = with_values(data["base"], settings)
    changed = spec_from_dict(data)
    leaves = list(_leaves(changed.base))
    paths = dict.fromkeys(leaf for path in settings for leaf in leaves if f"{leaf}.".startswith(f"{path}."))
    reached = reach(changed, paths, inherit_of(spec.entrypoint)) if paths else {}
    for path, r in reached.items():
        if path.split(".")[0] == "seed" or not (r.reached or r.begun):
            useless.append(_useless(changed, path))
    if useless:
        raise BadSpec(useless)
    stretch = _stretch(spec, changed)
    if stretch != 1:
        for arm in data["arms"]:
            if arm["name"] in reached["steps"].reached and arm["run_hours"] is not None:
                arm["run_hours"] *= stretch
        changed = spec_from_dict(data)
    return Overridden(changed, (*_not_everywhere(changed, reached), *_doubts(spec, changed, settings)))


def _setting(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals or not PATH.fullmatch(path):
        raise BadSpec(f"--set {text[:60]} is not understood. Write it like --set optimizer.beta1=0.8.")
    try:
        return path, json.loads(value)
    except (ValueError, RecursionError):  # RecursionError: thousands of brackets
        return path, value


def _resource(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key = SHORT_RESOURCES.get(key, key)
    if not equals or key not in Resources.model_fields:
        raise BadSpec(
            f"--resources {text[:60]} is not understood.{nearest(key, Resources.model_fields)} Write it like "
            f"--resources cpus=2. Allowed: {', '.join(Resources.model_fields)}."
        )
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def _leaves(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The paths of all values in a config."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def _assigned(spec: StudySpec, path: str) -> str:
    value = value_at(spec.base, path)
    return f"{path}={value if isinstance(value, str) else json.dumps(value)}"[:80]


def _without_arms(
    spec: StudySpec, trials: int | None, replicates: int | None, search: str | None
) -> Iterator[str]:
    """A sentence for each flag that is about arms of which the study has none."""
    if trials is not None and all(arm.is_grid or not arm.space for arm in spec.arms):
        yield (
            f"trials {trials} would change nothing: no arm of {spec.name} searches without a grid "
            f"({', '.join(replacing())}). Leave it out, or write a spec file (docs/specs.md)."
        )
    if replicates is not None and all(arm.replicates is not None for arm in spec.arms):
        yield (
            f"replicates {replicates} would change nothing: every arm of {spec.name} states its own. "
            f"Leave it out, or change the spec file."
        )
    if search is not None and not any(arm.bayesian for arm in spec.arms):
        yield (
            f"search {search} would change nothing: no arm of {spec.name} is of method "
            f"{' or '.join(OUR_BAYESIAN)}. Leave it out, or write a spec file (docs/specs.md)."
        )


def _useless(spec: StudySpec, path: str) -> str:
    if path.split(".")[0] == "seed":
        return (
            f"{_assigned(spec, path)} would change nothing: the study gives each run its own seed. Write the "
            f"spec to a file with orch study spec, and change seeds.search and seeds.fresh there."
        )
    return (
        f"{_assigned(spec, path)} would change nothing: every arm of {spec.name} states or searches {path} "
        f"itself. Choose a study or a size that leaves it open, or write a spec file (docs/specs.md)."
    )


def _not_everywhere(spec: StudySpec, reached: Mapping[str, Reach]) -> Iterator[str]:
    """A sentence for each setting that some arms do not take."""
    for path, r in reached.items():
        if r.kept:
            more = f" and {len(r.kept) - 3} more" if len(r.kept) > 3 else ""
            begun = " A Bayesian search of it begins there." if r.begun else ""
            yield (
                f"{_assigned(spec, path)} reaches {len(r.reached)} of {len(spec.arms)} arms. The others "
                f"state or search it themselves: {', '.join(r.kept[:3])}{more}.{begun}"
            )


def _stretch(before: StudySpec, after: StudySpec) -> float:
    """By how much a run that takes its steps from the base has become longer."""
    old, new = (spec.base.get("steps") for spec in (before, after))
    if not (isinstance(old, int) and isinstance(new, int)):
        return 1.0
    return new / old if 0 < old < 10**18 and 0 < new < 10**18 else 1.0


def _doubts(before: StudySpec, after: StudySpec, paths: Iterable[str]) -> Iterator[str]:
    """What does not follow these settings: the planned hours, and what hangs on the steps."""
    same = COST_THE_SAME
    costed = any(arm.run_hours is not None for arm in after.arms)
    if _stretch(before, after) != 1:
        same |= {"steps"}
        yield (
            f"steps goes from {before.base['steps']} to {after.base['steps']}"
            f"{', and the planned hours with it' if costed else ''}. What else hangs on it stays as it was, "
            f"unless set too: warm-up, evaluations, checkpoints, rungs, η̂ and its grids, targets."
        )
    other = [
        path
        for path in paths
        if path not in same and value_at(before.base, path) != value_at(after.base, path)
    ]
    if other and costed:
        yield f"The hours are those of the study as it stands; setting {', '.join(other)} may change them."
