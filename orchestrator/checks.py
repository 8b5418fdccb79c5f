"""Can this study run at all? Asked before anything is written, in the entrypoint's own words."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from orchestrator.errors import BadSpec
from orchestrator.materialize import default_config, default_point, trial_config
from orchestrator.search import check_arm
from orchestrator.spec import Arm, StudySpec

OFFERED = ("check", "shape_key", "run")


def find_entrypoint(name: str) -> ModuleType:
    """The module of that dotted name, from the path or the current folder. BadSpec when it is none."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(name)
    except (ImportError, ValueError) as why:
        raise BadSpec(
            f"The entrypoint {name[:80]!r} cannot be imported ({why}). "
            f"Name a module on the Python path that offers {', '.join(OFFERED)}, "
            f"such as 'orchestrator.rehearsal'."
        ) from None
    missing = [what for what in OFFERED if not callable(getattr(module, what, None))]
    if missing:
        raise BadSpec(
            f"The entrypoint {name[:80]!r} does not offer {', '.join(missing)}. "
            f"An entrypoint is a module with {', '.join(OFFERED)} (see trainer/protocol.py)."
        )
    return module


def require_runnable(spec: StudySpec) -> None:
    """Raise BadSpec with every sentence that the search and the entrypoint have against this study."""
    entrypoint = find_entrypoint(spec.entrypoint)
    problems: list[str] = []
    for arm in spec.arms:
        for sentence in check_arm(arm, default_point(spec, arm)):
            _add(problems, sentence)
        for config in _probes(spec, arm):
            for sentence in entrypoint.check(config):
                _add(problems, f"arm {arm.name}: {sentence}")
    if problems:
        raise BadSpec(problems)


def _probes(spec: StudySpec, arm: Arm) -> list[dict[str, object]]:
    """The arm's config as it stands and at both ends of its space, complete with a seed."""
    found = None
    if arm.after is not None:
        source = spec.arm(arm.after.arm)
        found = default_config(spec, source)
    points: list[dict[str, float]] = [{}]
    if arm.space:
        points += [
            {p.path: p.bounds[0] for p in arm.space},
            {p.path: p.bounds[1] for p in arm.space},
        ]
    return [trial_config(spec, arm, replicate=0, index=0, point=point, found=found) for point in points]


def _add(problems: list[str], sentence: str) -> None:
    """Once each: an arm is probed at several points and most faults show at all of them."""
    bare = sentence.split(": ", 1)[-1]
    if all(known.split(": ", 1)[-1] != bare for known in problems):
        problems.append(sentence)
