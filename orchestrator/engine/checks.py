"""Can this study run at all? Asked before anything is written, in the entrypoint's own words."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.ground.errors import BadSpec
from orchestrator.search import check_arm
from orchestrator.study.configs import (
    default_point,
    expected_configs,
    trial_config,
    unguided,
    untakable,
    with_values,
)
from orchestrator.study.spec import Arm, StudySpec

Expected = Mapping[str, Mapping[str, Any]]  # what an arm's runs start from, by the arm's name
OFFERED = ("check", "shape_key", "run")
ENOUGH = 100  # problems: nobody reads more at once
MOST_CHARACTERS = 20_000_000  # of all arms' configs, as JSON: seconds of an entrypoint's checks


def find_entrypoint(name: str) -> ModuleType:
    """The module of that dotted name, from the path or the current folder. BadSpec when it is none."""
    with contextlib.suppress(FileNotFoundError):  # the current folder has been deleted
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
    try:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ImportError("it is no dotted name")
        module = importlib.import_module(name)
    except (Exception, SystemExit) as why:  # it runs the person's own code
        raise BadSpec(
            f"The entrypoint {name[:80]!r} cannot be imported ({_reason(why)}). "
            f"Name a module on the Python path that offers {', '.join(OFFERED)}, "
            f"such as 'orchestrator.rehearsal'."
        ) from why
    missing = [what for what in OFFERED if not callable(getattr(module, what, None))]
    if missing:
        raise BadSpec(
            f"The entrypoint {name[:80]!r} does not offer {', '.join(missing)}. "
            f"An entrypoint is a module with {', '.join(OFFERED)} (see trainer/protocol.py)."
        )
    return module


def find_shape_key(entrypoint: Any, name: str, config: Mapping[str, Any]) -> str:
    """What the entrypoint says of a config's program. BadSpec when it raises."""
    try:
        return str(entrypoint.shape_key(config))
    except Exception as why:
        raise BadSpec(f"{name}.shape_key failed on a trial's config ({_reason(why)}). Mend it.") from why


def require_runnable(spec: StudySpec) -> None:
    """Raise BadSpec with the sentences that the search and the entrypoint have against this study."""
    expected = _expected(spec)
    entrypoint = find_entrypoint(spec.entrypoint)
    problems: dict[str, str] = {}  # once each: most faults show at every point that is probed
    for sentence in (*_own_seeds(spec), *_no_direction(spec)):
        problems.setdefault(sentence, sentence)
    for arm in spec.arms:
        for sentence in check_arm(arm, default_point(spec, arm)):
            problems.setdefault(sentence.split(": ", 1)[-1], sentence)
        for sentence in (*_nothing_to_take(spec, arm, expected), *_rungs_out_of_reach(arm, expected)):
            problems.setdefault(sentence, sentence)
        for config in _probes(spec, arm, expected):
            if len(problems) >= ENOUGH:
                break
            for sentence in _objections(entrypoint, spec.entrypoint, config):
                problems.setdefault(sentence, f"arm {arm.name}: {sentence}")
        if len(problems) >= ENOUGH:
            break
    if problems:
        raise BadSpec(list(problems.values()))


def _own_seeds(spec: StudySpec) -> Iterator[str]:
    """Each run is given its seed, over whatever stands in its config."""
    instead = "The study gives each run its own seed: leave it out, and state seeds.search and seeds.fresh."
    if "seed" in spec.base:
        yield f"base.seed is {spec.base['seed']!r:.60}, which would change nothing. {instead}"
    for arm in spec.arms:
        if "seed" in arm.config:
            own = f"{arm.config['seed']!r:.60}"
            yield f"arm {arm.name}: config.seed is {own}, which would change nothing. {instead}"
        for parameter in arm.space:
            if parameter.path.split(".")[0] == "seed":
                yield f"arm {arm.name}: it searches {parameter.path}, which would change nothing. {instead}"


def _no_direction(spec: StudySpec) -> Iterator[str]:
    """No fault of the spec itself: studies from before `claim.goal` are still read."""
    if spec.claim is not None and spec.goal_of(spec.claim.metric) is None:
        yield (
            f"claim.metric is {spec.claim.metric[:60]!r}, and whether high or low is better is not known: "
            f"it is not the study's objective ({spec.objective.metric[:60]}), and its name does not say it. "
            f"Add claim.goal. Allowed: minimize, maximize."
        )


def programs(spec: StudySpec) -> int:
    """How many programs a runnable study compiles, where none of them has been kept."""
    expected = _expected(spec)
    entrypoint = find_entrypoint(spec.entrypoint)
    as_it_stands = (next(_probes(spec, arm, expected)) for arm in spec.arms)
    return len({find_shape_key(entrypoint, spec.entrypoint, config) for config in as_it_stands})


def _expected(spec: StudySpec) -> Expected:
    """Of each arm. BadSpec for a megabyte of base in a thousand arms, before any of it is copied."""
    expected: dict[str, dict[str, Any]] = {}
    characters = 0
    for arm, config in expected_configs(spec):
        expected[arm.name] = config
        characters += len(json.dumps(config, default=str))
        if characters > MOST_CHARACTERS:
            raise BadSpec(
                f"The configurations of the study's {len(spec.arms):,} arms, written out one by one, have "
                f"more than {MOST_CHARACTERS:,} characters. Allowed are so many. Make the base smaller "
                f"({len(json.dumps(spec.base, default=str)):,}), or the arms fewer."
            )
    return expected


def _nothing_to_take(spec: StudySpec, arm: Arm, expected: Expected) -> list[str]:
    if arm.after is None or arm.after.take == "config":
        return []
    source = spec.arm(arm.after.arm)
    ends = {p.path: p.bounds[0] for p in source.space}
    why_not = untakable(arm.after.take, with_values(expected[source.name], ends))
    if why_not is None:
        return []
    return [f"arm {arm.name}: it takes {arm.after.take!r} of {source.name}. {why_not}"]


def _rungs_out_of_reach(arm: Arm, expected: Expected) -> list[str]:
    """At a run's last step there is nothing left to stop. What a config says of its steps is asked here
    because no entrypoint knows of rungs."""
    steps = expected[arm.name].get("steps")
    if arm.rungs is None or not isinstance(steps, int) or arm.rungs.steps[-1] < steps:
        return []
    return [
        f"arm {arm.name}: a rung stands at {arm.rungs.steps[-1]} steps and a run has {steps}. "
        f"Allowed are rungs below {steps}."
    ]


def _objections(entrypoint: Any, name: str, config: dict[str, Any]) -> list[str]:
    try:
        said = entrypoint.check(config)
        if isinstance(said, str) or not all(isinstance(sentence, str) for sentence in said):
            raise TypeError(f"it returned {said!r:.60}, which is no list of sentences")
    except Exception as why:
        return [f"{name}.check failed ({_reason(why)}). Mend it, or the config that it was asked about."]
    if not said:
        find_shape_key(entrypoint, name, config)
    return list(said)


def _reason(why: BaseException) -> str:
    text = " ".join(str(why).split())[:200]
    return text if isinstance(why, ImportError) else f"{type(why).__name__}: {text}"


def _probes(spec: StudySpec, arm: Arm, expected: Expected) -> Iterator[dict[str, Any]]:
    """The arm's config as it stands and at both ends of its space, complete with a seed."""
    found = None
    if arm.after is not None:
        found = expected[arm.after.arm]
        if arm.after.take != "config":  # the file of a schedule will be there by then
            found = unguided(found)
    points: list[dict[str, float]] = [{}]
    if arm.space:
        points += [
            {p.path: p.bounds[0] for p in arm.space},
            {p.path: p.bounds[1] for p in arm.space},
        ]
    for point in points:
        yield trial_config(spec, arm, replicate=0, index=0, point=point, found=found)
