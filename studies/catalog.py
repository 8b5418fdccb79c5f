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

_STUDIES = {
    "bo-vs-guided": bo_vs_guided.study,
    "eta-sweep": eta_sweep.study,
    "beta1-inits": beta1_inits.study,
    "language-pairs": language_pairs.study,
    "bo-beta1": bo_beta1.study,
    "default-rate": default_rate.study,
    "attribution": attribution.study,
    "hypergradient-audit": hypergradient_audit.study,
    "estimators": estimators.study,
    "rivals": rivals.study,
    "equal-time": equal_time.study,
}


def names() -> list[str]:
    return list(_STUDIES)


def sizes() -> list[str]:
    return list(parts.sizes())


def get(name: str, size: str = "quick") -> StudySpec:
    """The spec of a study; NotFound names the nearest name or size."""
    for what, given, allowed in (("study", name, names()), ("size", size, sizes())):
        if given not in allowed:
            near = difflib.get_close_matches(given, allowed, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise NotFound(f"There is no {what} {given[:60]!r}.{hint} Allowed: {', '.join(allowed)}.")
    return _STUDIES[name](parts.sizes()[size])
