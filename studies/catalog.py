"""Which studies are there, and what is the spec of one at a given size?"""

from __future__ import annotations

import difflib

from orchestrator.ground.errors import BadSpec, NotFound
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
    finetuning,
    hypergradient_audit,
    language_pairs,
    parts,
    rivals,
    t5,
    t5_architectures,
    t5_objectives,
    t5_parts,
    t5_pretraining,
    t5_repeats,
)
from studies.t5_parts import Begun

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
_TEXTS = {
    "t5-pretraining": t5_pretraining.study,
    "t5-repeats": t5_repeats.study,
    "t5-objectives": t5_objectives.study,
    "t5-architectures": t5_architectures.study,
    "t5": t5.study,
}
_BEGUN = {"finetuning": finetuning.study}  # that take weights and rows of a caller's


def names() -> list[str]:
    return [*_STUDIES, *_BEGUN, *_TEXTS]


def sizes(name: str = "") -> list[str]:
    """Those of a study; of all studies, where none is named."""
    return list(t5_parts.sizes() if name in _BEGUN else parts.sizes())


def get(name: str, size: str = "quick", begun: Begun | None = None) -> StudySpec:
    """The spec of a study; NotFound names the nearest name or size, BadSpec what it does not take."""
    for what, given, allowed in (("study", name, names()), ("size", size, sizes())):
        if given not in allowed:
            near = difflib.get_close_matches(given, allowed, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise NotFound(f"There is no {what} {given[:60]!r}.{hint} Allowed: {', '.join(allowed)}.")
    if size not in sizes(name):
        raise NotFound(f"{name} has no size {size!r}. Allowed: {', '.join(sizes(name))}.")
    if name in _BEGUN:
        return _BEGUN[name](size, begun or Begun())
    if begun is not None and begun.given:
        raise BadSpec(
            f"{name} takes no {' and no '.join(begun.given)}. Allowed is the study {', '.join(_BEGUN)}. "
            f"Leave it out, or set it in the base of {name} (docs/config.md)."
        )
    if name in _TEXTS:
        return _TEXTS[name](t5_parts.text_sizes()[size])
    return _STUDIES[name](parts.sizes()[size])
