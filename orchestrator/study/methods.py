"""Which ways of choosing configurations are there? Ours, and those of installed packages (`orch.searchers`).

What is described here is known without loading a searcher: the spec, the plan, the command line, the API and
the reports read it. The searcher itself is loaded by `orchestrator.search` when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.study.space import KINDS, Kind
from trainer.config.registry import Registry


@dataclass(frozen=True)
class Method:
    """How an arm's `method` is made and what it asks of the arm."""

    make: str  # "module:name" of what gives the searcher when it is called without arguments
    words: str  # one line of docs/specs.md
    # what each path of the arm's space has: a range, or a list of values whose combinations are all run
    space: Literal["none", "range", "values"] = "range"
    # what it can search; a package's method that does not say so knows ranges of floats alone
    kinds: tuple[Kind, ...] = ("float",)
    bayesian: bool = False  # learns from results: trial 0 is the default configuration, and it has a window


METHODS = Registry(
    "searcher",
    Method,
    {
        "fixed": Method(
            "orchestrator.search.drawn:FixedSearch", "the arm's own configuration, every time", space="none"
        ),
        "random": Method(
            "orchestrator.search.drawn:RandomSearch", "independent uniform draws on each scale", kinds=KINDS
        ),
        "sobol": Method("orchestrator.search.drawn:SobolSearch", "a scrambled Sobol sequence", kinds=KINDS),
        "grid": Method(
            "orchestrator.search.drawn:GridSearch",
            "every combination of the listed values",
            space="values",
            kinds=KINDS,
        ),
        "gp": Method(
            "orchestrator.search.bayes:gp",
            "Bayesian optimization by a Gaussian process and log expected improvement",
            kinds=KINDS,
            bayesian=True,
        ),
        "tpe": Method(
            "orchestrator.search.bayes:tpe",
            "Bayesian optimization by tree-structured Parzen estimators",
            kinds=KINDS,
            bayesian=True,
        ),
    },
)
OUR_BAYESIAN = tuple(name for name, method in METHODS.ours.items() if method.bayesian)


def replacing() -> list[str]:
    """What `--search` takes: our methods over ranges, Bayesian ones first, and all of other packages.
    Those are not loaded for it; one that goes with another kind of space is refused by the spec."""
    ours = [n for n, m in METHODS.ours.items() if m.space == "range" and n not in METHODS.theirs]
    return [*sorted(ours, key=lambda name: name not in OUR_BAYESIAN), *METHODS.theirs]
