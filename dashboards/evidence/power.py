"""What can a study show of its claim with the pairs that its spec has? Asked before it runs."""

from __future__ import annotations

import math
from dataclasses import replace

from dashboards.evidence import stats
from dashboards.evidence.cells import LOSS_PER_TIME, Margin, level_of, one_sided
from dashboards.evidence.frames import Frame, planned
from orchestrator.study.plan import ClaimPlan
from orchestrator.study.spec import Arm, Claim, StudySpec

EFFECTS = (2.0, 1.5, 1.0, 0.5)  # in paired standard deviations


def of_claim(spec: StudySpec) -> ClaimPlan | None:
    """By the power of the sign-flip test, which decides, and not of a t test."""
    claim = spec.claim
    if claim is None:
        return None
    frame, sides = planned(spec), spec.cells(spec.arm(claim.challenger), spec.arm(claim.incumbent))
    pairs = [_pairs(frame, *pair) for pair in sides.values()]
    if claim.at_least is None and not claim.average:
        pairs = pairs[:1]
    fewest_there, unit = min(pairs)
    single = one_sided(claim)
    level = level_of(spec, claim)
    found = ClaimPlan(
        kind=claim.kind,
        columns=len(pairs),
        at_least=claim.at_least,
        unit=unit,
        pairs=fewest_there,
        level=level,
        two_sided=not single,
        fewest=stats.fewest_pairs(level, one_sided=single),
        effect=stats.effect_seen(fewest_there, alpha=level, one_sided=single),
        needed={
            f"{effect:g}": stats.units_to_decide(effect, alpha=level, one_sided=single) for effect in EFFECTS
        },
        sentence="",
        average=claim.average,
    )
    return replace(found, sentence=_sentence(found, claim))


def _pairs(frame: Frame, challenger: Arm, incumbent: Arm) -> tuple[int, str]:
    """How many pairs of runs on fresh seeds the two arms will have, and of what."""
    spec, sides = frame.spec, (challenger, incumbent)
    if any(frame.selections(arm) > 1 for arm in sides):
        each = [max((spec.replicates_of(a) for a in frame.confirmations(arm)), default=0) for arm in sides]
        return min(each), "replicate"
    runs = [sum(a.trials * spec.replicates_of(a) for a in frame.confirmations(arm)) for arm in sides]
    return min(runs), "seed"


def _sentence(found: ClaimPlan, claim: Claim) -> str:
    count = f"{found.pairs} paired {found.unit}{'s' * (found.pairs != 1)}"
    if claim.at_least is not None:
        count += f" in each of {found.columns} columns; {claim.at_least} are claimed"
    if claim.average:
        count += f" of means over {found.columns} columns"
    if found.effect is None:
        sees = f"fewer than {found.fewest} can never reach p = {found.level:.3g}"
    else:
        sees = f"80% power to see {_seen(found.effect, claim)}"
    more = [f"{pairs or 'over 1,000'} for {effect}" for effect, pairs in found.needed.items()]
    return f"Claim of {found.kind}: {count}; {sees}. Pairs needed: {', '.join(more)} standard deviations."


def _seen(effect: float, claim: Claim) -> str:
    sizes = f"a difference of {effect:.2g} paired standard deviations"
    if claim.time_margin is None:
        return sizes
    allowed = Margin(claim.time_margin, LOSS_PER_TIME, 0, None).log
    return (
        f"{sizes} from the margin: of two equal arms if the paired standard deviation of "
        f"log {claim.metric} is at most {allowed / effect:.2g} (margin {math.exp(allowed):.3g} times at "
        f"κ = {LOSS_PER_TIME:g})"
    )
