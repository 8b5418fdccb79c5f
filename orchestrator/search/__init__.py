"""Which point next? `searcher` gives a method's searcher; `check_arm` says beforehand what is wrong with an
arm, and `arm_lacks` what is not installed for it."""

from __future__ import annotations

import math

from orchestrator.ground.errors import BadSpec, nearest
from orchestrator.search.base import Observation, Point, Request, Searcher, derive_seed, lacking
from orchestrator.study.methods import METHODS
from orchestrator.study.spec import Arm
from trainer.config.registry import code
from trainer.config.scales import to_working

__all__ = ["Observation", "Point", "Request", "Searcher", "arm_lacks", "check_arm", "derive_seed", "searcher"]


def searcher(method: str) -> Searcher:
    """The searcher of a method; BadSpec for one that is unknown or cannot be loaded."""
    if method not in METHODS:
        hint = nearest(method, METHODS)
        raise BadSpec(f"There is no method {method!r}.{hint} Methods are: {', '.join(METHODS)}.")
    try:
        described = METHODS[method]
    except ValueError as why:
        raise BadSpec(str(why)) from why
    try:
        made: Searcher = code(described.make)()
    except Exception as failed:  # a stranger's module may raise anything
        cause = failed.__cause__ or failed
        raise BadSpec(
            f"The searcher of method {method!r} ({described.make}) cannot be made "
            f"({type(cause).__name__}: {cause}). Repair or remove its package."
        ) from cause
    return made


def arm_lacks(arm: Arm) -> str:
    """The sentence that packages of its searcher are not installed; "" where they are."""
    sentence = lacking(arm.method, getattr(searcher(arm.method), "packages", ()))
    return sentence and f"arm {arm.name}: {sentence[0].lower()}{sentence[1:]}"


def check_arm(arm: Arm, default: Point) -> list[str]:
    """Sentences on what would go wrong with this arm later; `default` is its base at each path."""
    chosen = searcher(arm.method)
    try:
        problems = list(chosen.check(arm))
    except Exception as why:
        return [
            f"arm {arm.name}: the searcher of method {arm.method!r} failed to check it "
            f"({type(why).__name__}: {why}). Repair or remove its package."
        ]
    if not arm.bayesian:
        return problems  # they never propose the default
    for p in arm.space:
        low, high = p.bounds
        value = default.get(p.path)
        if value is None:
            problems.append(
                f"arm {arm.name}: the default configuration has no number at {p.path}, and it is trial 0 of "
                f"every {arm.method} arm. Give {p.path} a value in the base."
            )
        elif not math.isfinite(to_working(p.scale, value)):
            problems.append(
                f"arm {arm.name}: the default configuration has {p.path} = {value:g}, which lies at infinity "
                f"on a {p.scale} scale. Choose a value from {low:g} to {high:g}, or use scale 'linear'."
            )
        elif not low <= value <= high:
            problems.append(
                f"arm {arm.name}: the default configuration has {p.path} = {value:g}, outside the range "
                f"{low:g} to {high:g}, and it is trial 0 of every {arm.method} arm. "
                f"Widen the range, or change the base."
            )
    return problems
