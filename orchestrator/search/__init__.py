"""Which point next? `searcher` gives a method's searcher, `check_arm` says beforehand what it would lack."""

from __future__ import annotations

import difflib
import math

from orchestrator.ground.errors import BadSpec
from orchestrator.search.base import Observation, Point, Request, Searcher
from orchestrator.search.bayes import BayesianSearch
from orchestrator.search.drawn import FixedSearch, GridSearch, RandomSearch, SobolSearch
from orchestrator.search.seeds import derive_seed
from orchestrator.study.spec import BAYESIAN, Arm
from trainer.config.scales import to_working

__all__ = ["Observation", "Point", "Request", "Searcher", "check_arm", "derive_seed", "searcher"]


def searcher(method: str) -> Searcher:
    """The searcher of a method; BadSpec for an unknown one."""
    match method:
        case "fixed":
            return FixedSearch()
        case "random":
            return RandomSearch()
        case "sobol":
            return SobolSearch()
        case "grid":
            return GridSearch()
        case "gp" | "tpe":
            return BayesianSearch(method)
    methods = ("fixed", "random", "sobol", "grid", "gp", "tpe")
    nearest = difflib.get_close_matches(method, methods, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise BadSpec(f"There is no method {method!r}.{hint} Methods are: {', '.join(methods)}.")


def check_arm(arm: Arm, default: Point) -> list[str]:
    """Sentences on what would go wrong with this arm later; `default` is its base at each path."""
    problems = searcher(arm.method).check(arm)
    if arm.method not in BAYESIAN:
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
