"""Which point comes next when history does not matter? Fixed, random, Sobol and grid, by index alone."""

from __future__ import annotations

import math

from orchestrator.ground.errors import BadSpec
from orchestrator.search.base import SEED_BITS, Request, derive_seed, require
from orchestrator.search.scales import from_unit
from orchestrator.study.space import Value
from orchestrator.study.spec import Arm

SOBOL_MAX_DIMENSIONS = 21201  # scipy.stats.qmc.Sobol.MAXDIM: the table of Joe and Kuo ends there


def random_point(request: Request) -> dict[str, Value]:
    """Uniform on each scale. A value depends on (seed, index, path) alone, not on the space's other paths."""
    return {
        p.path: from_unit(p, derive_seed(request.seed, request.index, p.path) / 2**SEED_BITS)
        for p in request.space
    }


class _Drawn:
    """What these have in common."""

    uses_history = False

    def check(self, arm: Arm) -> list[str]:
        return []


class FixedSearch(_Drawn):
    """The arm's own configuration, every time."""

    def suggest(self, request: Request) -> dict[str, Value]:
        return {}


class RandomSearch(_Drawn):
    """Independent draws."""

    def suggest(self, request: Request) -> dict[str, Value]:
        return random_point(request)


class SobolSearch(_Drawn):
    """The scrambled Sobol sequence of the arm's seed."""

    packages = ("scipy",)

    def check(self, arm: Arm) -> list[str]:
        if len(arm.space) <= SOBOL_MAX_DIMENSIONS:
            return []
        return [
            f"arm {arm.name}: its space has {len(arm.space)} dimensions and a Sobol sequence has at most "
            f"{SOBOL_MAX_DIMENSIONS}. Search fewer paths, or use method 'random'."
        ]

    def suggest(self, request: Request) -> dict[str, Value]:
        require("sobol", *self.packages)
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(request.space), scramble=True, rng=derive_seed(request.seed, "sobol"))
        if request.index:  # scipy's fast_forward(0) would step back by one
            sequence.fast_forward(request.index)
        return {
            p.path: from_unit(p, float(u)) for p, u in zip(request.space, sequence.random(1)[0], strict=True)
        }


class GridSearch(_Drawn):
    """Every combination of the listed values, choices and whole numbers, the last path moving fastest."""

    def suggest(self, request: Request) -> dict[str, Value]:
        size = math.prod(len(p.listed) for p in request.space)
        if not 0 <= request.index < size:
            raise BadSpec(
                f"The grid has {size} points, and point {request.index + 1} was asked for. "
                f"A grid cannot be extended: make a new study with more values."
            )
        point: dict[str, Value] = {}
        rest = request.index
        for p in reversed(request.space):
            rest, position = divmod(rest, len(p.listed))
            point[p.path] = p.listed[position]
        return {p.path: point[p.path] for p in request.space}
