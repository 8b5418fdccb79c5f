"""Can this study run at all? Asked before anything is written, in the entrypoint's own words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from orchestrator.ground import extras
from orchestrator.ground.errors import BadSpec, MissingPackage
from orchestrator.search import arm_lacks, check_arm
from orchestrator.study.configs import default_point, expected_configs, training_seed, trial_config
from orchestrator.study.entrypoint import (
    find_entrypoint,
    find_shape_key,
    inherit_of,
    inherited,
    learned,
    misfits,
    objections,
)
from orchestrator.study.space import Value, corners
from orchestrator.study.spec import Arm, StudySpec
from trainer.config.choices import source_of, task_of
from trainer.config.paths import value_at, with_values

Expected = Mapping[str, Mapping[str, Any]]  # what an arm's runs start from, by the arm's name
MOST_VARIED = 200  # points of an arm that are asked about
ENOUGH = 100  # problems: nobody reads more at once
MOST_CHARACTERS = 20_000_000  # of all arms' configs, as JSON: seconds of an entrypoint's checks


def require_runnable(spec: StudySpec) -> None:
    """Raise BadSpec with the sentences that the search and the entrypoint have against this study."""
    expected = expected_starts(spec)
    entrypoint = find_entrypoint(spec.entrypoint)
    held = spec.resources.model_dump(include={"hosts", "cpus", "gpus", "tpu_chips", "tpu_type"})
    held["devices"] = spec.resources.devices
    problems: dict[str, str] = {}  # once each: most faults show at every point that is probed
    for sentence in (*_own_seeds(spec), *_no_direction(spec)):
        problems.setdefault(sentence, sentence)
    for arm in spec.arms:
        for sentence in check_arm(arm, default_point(spec, arm)):
            problems.setdefault(sentence.split(": ", 1)[-1], sentence)
        untakable = _nothing_to_take(spec, arm, entrypoint, expected)
        for sentence in (*untakable, *_rungs_out_of_reach(arm, expected)):
            problems.setdefault(sentence, sentence)
        for config in _probes(spec, arm, expected):
            if len(problems) >= ENOUGH:
                break
            said = objections(entrypoint, spec.entrypoint, config)
            for sentence in said or misfits(entrypoint, spec.entrypoint, config, held):
                problems.setdefault(sentence, f"arm {arm.name}: {sentence}")
        if len(problems) >= ENOUGH:
            break
    if problems:
        raise BadSpec(list(problems.values()))


def require_installed(spec: StudySpec) -> None:
    """Raise MissingPackage for packages that its searches and its text need here. Asked apart from the above,
    since a study may be planned on one machine and run on another."""
    found: dict[str, str] = {}
    for arm in spec.arms:
        found.setdefault(arm.method, arm_lacks(arm))
    if spec.entrypoint.startswith("trainer."):
        for config in expected_starts(spec).values():
            source, task = str(value_at(config, "data.source")), str(value_at(config, "data.task") or "")
            of_task = task_of(task).benchmark if task else None
            reads = filter(None, [of_task.package if of_task else source_of(source).package])
            what = f"data.task {task!r:.80}" if of_task else f"data.source {source!r:.80}"
            found.setdefault(what, extras.lacking(what, reads))
    if sentences := [sentence for sentence in found.values() if sentence]:
        raise MissingPackage("\n".join(sentences))


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
    expected = expected_starts(spec)
    entrypoint = find_entrypoint(spec.entrypoint)
    keys: set[str] = set()
    for arm in spec.arms:
        own = dict.fromkeys(
            find_shape_key(
                entrypoint,
                spec.entrypoint,
                trial_config(spec, arm, replicate=0, index=0, point=point, found=expected[arm.name]),
            )
            for point in _whole_points(arm)
        )
        keys.update(islice(own, arm.trials * spec.replicates_of(arm)))
    return len(keys)


def _whole_points(arm: Arm) -> Iterator[dict[str, Value]]:
    """The arm as it stands, and what whole numbers and choices, which may change a program, make of it."""
    varied = [p for p in arm.space if p.kind != "float"]
    yield {}
    if varied:
        for values in islice(product(*(p.listed[:MOST_VARIED] for p in varied)), MOST_VARIED):
            yield {p.path: value for p, value in zip(varied, values, strict=True)}


def learned_by_arms(spec: StudySpec) -> dict[str, list[str]]:
    """The hyperparameters that each arm's runs learn, as its entrypoint says."""
    entrypoint = find_entrypoint(spec.entrypoint)
    return {
        arm: learned(entrypoint, spec.entrypoint, config) for arm, config in expected_starts(spec).items()
    }


def expected_starts(spec: StudySpec) -> Expected:
    """Of each arm. BadSpec for a megabyte of base in a thousand arms, before any of it is copied."""
    expected: dict[str, dict[str, Any]] = {}
    characters = 0
    for arm, config in expected_configs(spec, inherit_of(spec.entrypoint)):
        expected[arm.name] = config
        characters += len(json.dumps(config, default=str))
        if characters > MOST_CHARACTERS:
            raise BadSpec(
                f"The configurations of the study's {len(spec.arms):,} arms, written out one by one, have "
                f"more than {MOST_CHARACTERS:,} characters. Allowed are so many. Make the base smaller "
                f"({len(json.dumps(spec.base, default=str)):,}), or the arms fewer."
            )
    return expected


def _nothing_to_take(spec: StudySpec, arm: Arm, entrypoint: Any, expected: Expected) -> Iterator[str]:
    if arm.after is None:
        return
    take, name = arm.after.take, spec.entrypoint
    wanted: set[str] = set()
    for source in map(spec.arm, arm.after.arms):
        of = f"arm {arm.name}: it takes {take!r} of {source.name}."
        for point in corners(source.space) or [{}]:
            config = with_values(expected[source.name], point)
            taken = inherited(entrypoint, name, take, config)
            if not isinstance(taken, dict):
                yield f"{of} {' '.join(taken)}"
                return
            if take == "checkpoint" and "init" in taken and _states_init(arm):
                yield f"{of} It states an init of its own, which would be in its place. Leave init out."
                return
            if arm.after.pools:
                found = set(learned(entrypoint, name, config))
                wanted = wanted or found
                if wanted - found:
                    lacking = ", ".join(sorted(wanted - found))
                    first = arm.after.arm
                    yield f"{of} Its runs do not learn {lacking}, as those of {first} do. Leave it out."
                    break
    yield from _own_seed_alone(spec, arm)


def _states_init(arm: Arm) -> bool:
    return bool(arm.config.get("init")) or any(parameter.path == "init" for parameter in arm.space)


def _own_seed_alone(spec: StudySpec, arm: Arm) -> Iterator[str]:
    """A blind course is of runs on other training seeds than the follower's own."""
    if arm.after is None or not arm.after.pools:
        return
    pool = set().union(*(_seeds(spec, spec.arm(name)) for name in arm.after.arms))
    if len(pool) == 1 and pool <= _seeds(spec, arm):
        yield (
            f"arm {arm.name}: it takes {arm.after.take!r}, the mean of runs on other training seeds than its "
            f"own, and {', '.join(arm.after.arms)} will train on its own alone ({min(pool)}). Follow arms "
            f"with more trials on fresh seeds."
        )


def _seeds(spec: StudySpec, arm: Arm) -> set[int]:
    indices = range(arm.trials if arm.fresh_seeds else 1)  # else all of a replicate train on one
    return {training_seed(spec, arm, r, i) for r in range(spec.replicates_of(arm)) for i in indices}


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


def _probes(spec: StudySpec, arm: Arm, expected: Expected) -> Iterator[dict[str, Any]]:
    """The arm's config as it stands, at both ends of its space and at every choice, complete with a seed."""
    found = expected[arm.name]
    for point in ({}, *corners(arm.space)):
        yield trial_config(spec, arm, replicate=0, index=0, point=point, found=found)
