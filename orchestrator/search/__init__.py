"""Which point next? `searcher` gives a method's searcher; `check_arm` says beforehand what is wrong with an
arm, and `arm_lacks` what is not installed for it."""

from __future__ import annotations

import math

from orchestrator.ground.errors import BadSpec, nearest
from orchestrator.search.base import Observation, Point, Request, Searcher, derive_seed, lacking
from orchestrator.study.methods import METHODS
from orchestrator.study.space import Value, value_text
from orchestrator.study.spec import Arm, Parameter
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
        if problem := _of_default(p, default.get(p.path), arm.method):
            problems.append(f"arm {arm.name}: the default configuration has {problem}")
    return problems


def _of_default(p: Parameter, value: Value | None, method: str) -> str:
    """What is wrong with the default configuration's value, which trial 0 runs; empty if nothing is."""
    first = f"it is trial 0 of every {method} arm."
    if value is None:
        what = {"float": "number", "int": "whole number", "choice": "text, number, true or false"}[p.kind]
        return f"no {what} at {p.path}, and {first} Give {p.path} a value in the base."
    if p.choices:
        if p.takes(value):
            return ""
        shown = value_text(value)
        return (
            f"{p.path} = {shown}, which is none of its choices ({p.text}), and {first} "
            f"Add it, or change the base."
        )
    assert not isinstance(value, str)
    low, high = p.bounds
    shown = f"{value}" if isinstance(value, int) else f"{value:g}"
    if not math.isfinite(to_working(p.scale, value)):
        return (
            f"{p.path} = {shown}, which lies at infinity on a {p.scale} scale. "
            f"Choose a value from {low:g} to {high:g}, or use scale 'linear'."
        )
    if not low <= value <= high:
        return (
            f"{p.path} = {shown}, outside the range {p.text}, and {first} "
            f"Widen the range, or change the base."
        )
    if not p.takes(value):
        return f"{p.path} = {shown}, between the steps of {p.text}, and {first} Change the step, or the base."
    return ""
