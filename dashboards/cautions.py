"""Where would a reader of this study go wrong?

Each caution has a kind, the sentence to be read, and what to do. The limits are stated here, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dashboards import stats
from dashboards.attribution import attribution
from dashboards.contrasts import sample
from dashboards.frames import Curves, Frame
from orchestrator.materialize import value_at
from orchestrator.records import TrialState
from orchestrator.spec import BAYESIAN, Arm, Parameter

COLLAPSED = 0.5  # α below so much of its start at the end of a run; measured good runs ended at .6 to .7
EDGE = 0.02  # of the range, in the parameter's own scale


@dataclass(frozen=True)
class Caution:
    kind: str
    arm: str
    sentence: str
    remedy: str


def cautions(frame: Frame, heard: Mapping[str, Curves]) -> list[Caution]:
    """`heard`: the curves of the trials that are looked at more closely, by name."""
    found = [*_unfinished(frame), *_too_few_seeds(frame), *_added_later(frame), *_undone(frame)]
    for arm in frame.spec.arms:
        found += [*_on_the_edge(frame, arm), *_collapsing(frame, arm, heard), *_broken(frame, arm)]
        found += [*_search_that_found_nothing(frame, arm), *_by_timing(frame, arm)]
        found += _best_of_its_members(frame, arm)
    return found


def _unfinished(frame: Frame) -> Iterator[Caution]:
    if not frame.finished:
        ended = sum(t.ended for of in frame.trials.values() for t in of)
        asked = sum(map(frame.requested, frame.spec.arms))
        yield Caution(
            "unfinished",
            "",
            f"The study is {frame.state}: {ended} of {asked} runs have ended, and every number may change.",
            f"Go on with: orch study resume {frame.spec.name}",
        )
    elif frame.reason:
        yield Caution("cut short", "", frame.reason, "Raise the budget, and go on under another name.")


def _by_timing(frame: Frame, arm: Arm) -> Iterator[Caution]:
    """Rungs judge a run against those that came there before it."""
    stopped = sum(t.state is TrialState.STOPPED for t in frame.of(arm))
    if arm.rungs is not None and stopped:
        yield Caution(
            "by timing",
            arm.name,
            f"{stopped} of {frame.requested(arm)} runs of {arm.name} were stopped at a rung, each by who had "
            f"reached it before: a repetition at another parallelism may stop others.",
            "Compare it with the other arms over several replicates.",
        )


def _best_of_its_members(frame: Frame, arm: Arm) -> Iterator[Caution]:
    """Another row's fresh seeds choose nothing; a population chooses a member on each of them."""
    best, metric = frame.best(arm), frame.spec.objective.metric
    fresh = [trial for trial in frame.confirming(arm) if trial.value is not None]
    if best is None or not fresh or frame.spec.confirms(arm):
        return
    members = value_at(best.config, "population.members")
    if members is None or value_at(best.config, "population.metric") != metric:
        return
    opens_test = all(value_at(trial.config, "score.test") is True for trial in fresh)
    yield Caution(
        "chosen on the split that is reported",
        arm.name,
        f"On every fresh seed the {metric} of {arm.name} is the best of its {members} members', chosen by "
        f"that {metric}: it is too good beside rows whose fresh seeds choose nothing.",
        "Compare on the test split, which chose no member."
        if opens_test
        else "Confirm with score.test, and compare on the test split, which chooses no member.",
    )


def _too_few_seeds(frame: Frame) -> Iterator[Caution]:
    """Of the claim's arms or, without a claim, of every arm that searched, where there are several rows."""
    claim = frame.spec.claim
    if claim is None and len({frame.row_of(arm) for arm in frame.spec.arms}) < 2:
        return  # nothing is compared
    names = (claim.challenger, claim.incumbent) if claim else [a.name for a in frame.spec.arms]
    counts = {
        arm.name: len(sample(frame, arm, frame.spec.objective.metric).units)
        for arm in frame.spec.arms
        if arm.name in names and arm.phase == "search"
    }
    if not counts:
        return
    fewest = min(counts, key=lambda name: counts[name])
    alone, columns = stats.fewest_pairs(), len(frame.columns())
    together = stats.fewest_pairs((1 - stats.LEVEL) / columns)
    if counts[fewest] < alone:
        over = f", and {together} with Holm's correction over {columns} columns" if columns > 1 else ""
        yield Caution(
            "too few seeds",
            fewest,
            f"{fewest} was run again on {_seeds(counts[fewest])}. A paired test needs {alone} to be able "
            f"to reach p = .05{over}.",
            "Ask for more confirmations before the study is created.",
        )


def _seeds(count: int) -> str:
    return "1 fresh seed" if count == 1 else f"{count} fresh seeds"


def _added_later(frame: Frame) -> Iterator[Caution]:
    for arm in frame.spec.arms:
        if frame.spec.confirms(arm) and frame.added.get(arm.name):
            yield Caution(
                "added later",
                arm.name,
                f"{frame.added[arm.name]} runs of {arm.name} were added after the study was created. "
                f"Its p-values hold for a number that was fixed beforehand.",
                "Confirm with a study of its own if the answer hangs on them.",
            )


def _undone(frame: Frame) -> Iterator[Caution]:
    """A gain that a control has too is not due to guidance; one without controls may not be."""
    claim = frame.spec.claim
    if claim is None:
        return
    sides = frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent)
    for column in attribution(frame, *sides, metric=claim.metric):
        where = "" if column.column == "*" else f" in {column.column}"
        rows = [control.row for control in column.controls if control.says == "undoes"]
        if rows:
            yield Caution(
                "gain undone",
                column.gain.challenger,
                f"More than half of the gain of {column.gain.challenger}{where} is there without guidance: "
                f"{', '.join(rows)}.",
                "Look at what they cost: a replay or a constant costs a plain run.",
            )


def _on_the_edge(frame: Frame, arm: Arm) -> Iterator[Caution]:
    best = frame.best(arm)
    if best is None or frame.spec.confirms(arm):
        return
    for parameter in arm.space:
        value = best.point.get(parameter.path)
        end = None if value is None else edge(parameter, value)
        if end is None or value is None:
            continue
        low, high = parameter.bounds
        if parameter.values:
            what = f"the {end} end of its grid ({', '.join(f'{v:g}' for v in sorted(parameter.values))})"
        else:
            what = f"the {end} edge of its range ({low:g} to {high:g})"
        yield Caution(
            "end of the grid" if parameter.values else "edge of the space",
            arm.name,
            f"The best point of {arm.name} has {parameter.path} = {value:.4g}, at {what}: "
            f"the best may lie beyond.",
            f"Widen {'the grid' if parameter.values else 'the range'} and search again.",
        )


def edge(parameter: Parameter, value: float) -> str | None:
    """'lower' or 'upper' where a value lies on an end of its range; of a grid, where it is the end value."""
    low, high = parameter.bounds
    if parameter.values:
        if low == high:
            return None
        return "lower" if value <= low else "upper" if value >= high else None
    place = position(parameter, value)
    return "lower" if place <= EDGE else "upper" if place >= 1 - EDGE else None


def position(parameter: Parameter, value: float) -> float:
    """Where in its range, from 0 to 1, in the parameter's own scale; outside of it, 0 or 1."""
    low, high = parameter.bounds
    value = min(max(value, low), high)
    match parameter.scale:
        case "log":
            low, high, value = math.log(low), math.log(high), math.log(value)
        case "logit":
            low, high, value = (math.log(x) - math.log1p(-x) for x in (low, high, value))
    return (value - low) / (high - low)


def _collapsing(frame: Frame, arm: Arm, heard: Mapping[str, Curves]) -> Iterator[Caution]:
    """Only where it was learned: the best run of the arm, which is the one that is confirmed."""
    best = frame.best(arm)
    if best is None or best.name not in heard or frame.spec.confirms(arm):
        return
    if value_at(best.config, "guidance.estimator") == "lagged":
        return  # it looks far back, and lowers α at the end of a run on purpose
    learned = value_at(best.config, "guidance.learn")
    points = heard[best.name].hyper.get("alpha", ())
    start = value_at(best.config, "optimizer.alpha")
    if not points or not isinstance(learned, list | tuple) or "alpha" not in learned:
        return
    began = float(start) if isinstance(start, int | float) else points[0][1]
    ended = points[-1][1]
    if ended < COLLAPSED * began:
        yield Caution(
            "short-horizon bias",
            arm.name,
            f"α collapsed in {best.name}: it ended at {ended:.3g}, {ended / began:.2g} of its start. "
            f"Guidance that looks one step ahead drives the learning rate down; a gain may be a decay in "
            f"disguise.",
            "Look at the controls that replay, average and imitate the schedule, or choose a smaller η̂.",
        )


def _broken(frame: Frame, arm: Arm) -> Iterator[Caution]:
    trials = frame.of(arm)
    for state, word, remedy in (
        (TrialState.FAILED, "failed", "Read why with `orch trial logs`, then `orch trial retry`."),
        (
            TrialState.DIVERGED,
            "diverged",
            "It counts as the worst result; look at where in the space it lies.",
        ),
    ):
        count = sum(t.state is state for t in trials)
        if count:
            yield Caution(word, arm.name, f"{count} of {len(trials)} runs of {arm.name} {word}.", remedy)


def _search_that_found_nothing(frame: Frame, arm: Arm) -> Iterator[Caution]:
    best = frame.best(arm)
    if arm.method not in BAYESIAN:
        return
    if arm.startup_trials >= arm.trials and arm.trials > 1:
        yield Caution(
            "random search",
            arm.name,
            f"All {arm.trials} runs of {arm.name} were start-up runs, which are drawn at random: it is no "
            f"Bayesian optimization.",
            "Ask for more trials, or for fewer start-up trials.",
        )
    if best is not None and best.index == 0 and len(frame.of(arm)) > 1 and arm.after is None:
        yield Caution(
            "nothing found",
            arm.name,
            f"{arm.name} found nothing better than the default configuration, its first run.",
            "Ask for more trials, or doubt the space.",
        )
