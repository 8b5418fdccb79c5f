"""Which studies are there, and what is the spec of one at a given size?"""

from __future__ import annotations

import difflib

from orchestrator.ground.errors import NotFound
from orchestrator.study.spec import StudySpec
from studies import (
    attribution,
    beta1_inits,
    bo_beta1,
    bo_vs_guided,
    default_rate,
    equal_time,
    estimators,
    eta_sweep,
    hypergradient_audit,
    language_pairs,
    parts,
    rivals,
)

_STUDIES = (
    ("bo-vs-guided", bo_vs_guided.study),
    ("eta-sweep", eta_sweep.study),
    ("beta1-inits", beta1_inits.study),
    ("language-pairs", language_pairs.study),
    ("bo-beta1", bo_beta1.study),
    ("default-rate", default_rate.study),
    ("attribution", attribution.study),
    ("hypergradient-audit", hypergradient_audit.study),
    ("estimators", estimators.study),
    ("rivals", rivals.study),
    ("equal-time", equal_time.study),
)


def names() -> list[str]:
    return [name for name, _ in _STUDIES]


def sizes() -> list[str]:
    return list(parts.sizes())


def get(name: str, size: str = "quick") -> StudySpec:
    """The spec of a study; NotFound names the nearest name or size."""
    studies, sized = dict(_STUDIES), parts.sizes()
    if name not in studies:
        raise NotFound(_missing("study", name, list(studies)))
    if size not in sized:
        raise NotFound(_missing("size", size, list(sized)))
    return studies[name](sized[size])


def _missing(what: str, given: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(given, allowed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no {what} {given[:60]!r}.{hint} Allowed: {', '.join(allowed)}."
