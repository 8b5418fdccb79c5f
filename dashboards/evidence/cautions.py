"""Where would a reader of this study go wrong?

Each caution has a kind, the sentence to be read, and what to do. The limits are stated here, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dashboards.evidence import stats
from dashboards.evidence.attribution import attribution
from dashboards.evidence.cells import level_of, one_sided
from dashboards.evidence.contrasts import sample
from dashboards.evidence.frames import Curves, Frame, Trial
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.readings.failures import stopped_alike
from orchestrator.study.space import Value, value_text
from orchestrator.study.spec import Arm, Claim, Parameter, StudySpec
from trainer.config.paths import value_at
from trainer.config.scales import to_working

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
    if frame.finished:
        if frame.cut_short:
            yield Caution(
                "cut short", "", frame.reason, "Raise the budget in a new study under another name."
            )
        return
    ended = sum(t.ended for of in frame.trials.values() for t in of)
    asked = sum(map(frame.requested, frame.spec.arms))
    if frame.state is StudyState.CANCELLED:
        sentence = f"The study was cancelled: {ended} of {asked} runs have ended or were stopped."
        yield Caution("unfinished", "", sentence, "Run the rest in a new study; this one was cancelled.")
    else:
        sentence = (
            f"The study is {frame.status}: {ended} of {asked} runs have ended; every number may still change."
        )
        yield Caution("unfinished", "", sentence, f"Resume with: orch study resume {frame.spec.name}")


def _by_timing(frame: Frame, arm: Arm) -> Iterator[Caution]:
    """Rungs judge a run against those that came there before it."""
    stopped = sum(t.state is TrialState.STOPPED for t in frame.of(arm))
    if arm.rungs is not None and stopped:
        yield Caution(
            "by timing",
            arm.name,
            f"{stopped} of {frame.requested(arm)} runs of {arm.name} were stopped at a rung, compared with "
            f"the runs that reached it earlier: with another parallelism other runs may be stopped.",
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
        f"On every fresh seed the {metric} of {arm.name} is the best of its {members} members, selected by "
        f"that {metric}: it is biased upward compared with rows that select nothing on fresh seeds.",
        "Compare on the test split, which selected no member."
        if opens_test
        else "Confirm with score.test and compare on the test split, which selects no member.",
    )


def _too_few_seeds(frame: Frame) -> Iterator[Caution]:
    """Of the claim's arms or, without a claim, of every arm that searched, where there are several rows."""
    claim = frame.spec.claim
    if claim is None and len({frame.row_of(arm) for arm in frame.spec.arms}) < 2:
        return  # nothing is compared
    names = {a.name for a in frame.spec.arms} if claim is None else _of_claim(frame.spec, claim)
    metric = frame.spec.objective.metric
    counts = {
        arm.name: _planned(frame, arm) if frame.cut_short else len(sample(frame, arm, metric).units)
        for arm in frame.spec.arms
        if arm.name in names and arm.phase == "search"
    }
    if not counts:
        return
    fewest = min(counts, key=lambda name: counts[name])
    single = claim is not None and one_sided(claim)
    level = 1 - stats.LEVEL if claim is None else level_of(frame.spec, claim)
    alone, columns = stats.fewest_pairs(level, one_sided=single), len(frame.columns())
    together = stats.fewest_pairs((1 - stats.LEVEL) / columns)
    if counts[fewest] < alone:
        over = f", and {together} with Holm's correction over {columns} columns" if columns > 1 else ""
        if claim is not None and single:
            least = claim.at_least
            over = "" if least is None else f" for a claim about at least {least} columns"
        again = "will be run again" if frame.cut_short else "was run again"
        yield Caution(
            "too few seeds",
            fewest,
            f"{fewest} {again} on {_seeds(counts[fewest])}. A {'one-sided ' if single else ''}paired test "
            f"needs at least {alone} to reach p = .05{over}.",
            "Plan more confirmations before creating the study.",
        )


def _of_claim(spec: StudySpec, claim: Claim) -> set[str]:
    sides = spec.cells(spec.arm(claim.challenger), spec.arm(claim.incumbent))
    pairs = list(sides.values())[: None if claim.at_least or claim.average else 1]
    return {arm.name for pair in pairs for arm in pair}


def _planned(frame: Frame, arm: Arm) -> int:
    """The units that an arm's choice is to be run again on: replicates where each has its own choice."""
    confirming = frame.confirmations(arm)
    if frame.selections(arm) > 1:
        return max((frame.spec.replicates_of(each) for each in confirming), default=0)
    return sum(map(frame.requested, confirming))


def _seeds(count: int) -> str:
    return "1 fresh seed" if count == 1 else f"{count} fresh seeds"


def _added_later(frame: Frame) -> Iterator[Caution]:
    for arm in frame.spec.arms:
        if (frame.spec.confirms(arm) or arm.fresh_seeds) and frame.added.get(arm.name):
            yield Caution(
                "added later",
                arm.name,
                f"{frame.added[arm.name]} runs of {arm.name} were added after the study was created. "
                f"Its p-values assume a number that was fixed in advance.",
                "Confirm with a new study if the answer depends on them.",
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
                f"More than half of the gain of {column.gain.challenger}{where} is there without guidance, "
                f"too: {', '.join(rows)}.",
                "Compare their costs: a replay or a constant costs one plain run.",
            )


def _on_the_edge(frame: Frame, arm: Arm) -> Iterator[Caution]:
    """Of what was chosen, replicate by replicate: the luckiest draw over several seeds is no choice."""
    if frame.spec.confirms(arm):
        return
    choices = frame.choices(arm)
    for parameter in arm.space:
        ends: dict[str, list[Value]] = {}
        for value in (choice.point.get(parameter.path) for choice in choices):
            end = None if value is None else edge(parameter, value)
            if end is not None and value is not None:
                ends.setdefault(end, []).append(value)
        for end, values in ends.items():
            what = f"{end} end of its grid" if arm.is_grid else f"{end} edge of its range"
            found = ", ".join(map(value_text, values))
            begins = "The" if len(choices) == 1 else f"In {len(values)} of {len(choices)} replicates the"
            yield Caution(
                "end of the grid" if arm.is_grid else "edge of the space",
                arm.name,
                f"{begins} best point of {arm.name} has {parameter.path} = {found}, at the {what} "
                f"({parameter.text}): a better value may be outside.",
                f"Widen {'the grid' if arm.is_grid else 'the range'} and search again.",
            )


def edge(parameter: Parameter, value: Value) -> str | None:
    """'lower' or 'upper' where a value lies on an end of its range; of a grid, where it is the end value.
    Choices have no ends."""
    if parameter.choices or isinstance(value, str):
        return None
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
    low, high, value = (to_working(parameter.scale, x) for x in (low, high, value))
    return (value - low) / (high - low)


def _collapsing(frame: Frame, arm: Arm, heard: Mapping[str, Curves]) -> Iterator[Caution]:
    """Only where it was learned: the run that was chosen in each replicate, which is what is confirmed."""
    if frame.spec.confirms(arm):
        return
    chosen = [run for choice in frame.choices(arm) for run in choice.runs if run.name in heard]
    ends = {run.name: _alpha(run, heard[run.name]) for run in chosen}
    fallen = {name: (began, end) for name, (began, end) in ends.items() if end < COLLAPSED * began}
    if fallen:
        first, (began, end) = next(iter(fallen.items()))
        others = f" (as did α in {', '.join(list(fallen)[1:])})" if len(fallen) > 1 else ""
        yield Caution(
            "short-horizon bias",
            arm.name,
            f"α collapsed in {first}: it ended at {end:.3g}, {end / began:.2g} of its start{others}. "
            f"Guidance that looks one step ahead lowers the learning rate too early; a gain may only be a "
            f"learning-rate decay.",
            "Check the controls replay, constant = mean and matched decay, or use a smaller η̂.",
        )


def _alpha(run: Trial, said: Curves) -> tuple[float, float]:
    """Where a learned α began and ended; the same where it was not learned. `lagged` looks far back, and
    lowers α at the end of a run on purpose."""
    learned, points = value_at(run.config, "guidance.learn"), said.hyper.get("alpha", ())
    lagged = value_at(run.config, "guidance.estimator") == "lagged"
    if lagged or not points or not isinstance(learned, list | tuple) or "alpha" not in learned:
        return 1.0, 1.0
    start = value_at(run.config, "optimizer.alpha")
    return float(start) if isinstance(start, int | float) else points[0][1], points[-1][1]


def _broken(frame: Frame, arm: Arm) -> Iterator[Caution]:
    trials = frame.of(arm)
    stopped = stopped_alike(t.reason for t in trials if t.state is TrialState.STOPPED)
    if stopped:
        count = sum(t.reason == stopped for t in trials)
        yield Caution(
            "arm stopped",
            arm.name,
            f"{count} of {len(trials)} runs of {arm.name} were not started. {stopped}",
            "Fix the cause and retry a failed trial with `orch trial retry`: the arm then continues.",
        )
    failed = [t for t in trials if t.state is TrialState.FAILED]
    for word, count, said, remedy in (
        (
            "failed",
            sum(t.failures > 0 for t in failed),
            "failed in the training code",
            "See `orch trial logs` for the reason, then `orch trial retry`.",
        ),
        (
            "lost",
            sum(t.failures == 0 for t in failed),
            "failed because their workers were lost, not because of the training code",
            "Fix the machines, then `orch trial retry`.",
        ),
        (
            "diverged",
            sum(t.state is TrialState.DIVERGED for t in trials),
            "diverged",
            "Diverged runs count as the worst result; check which part of the space they are in.",
        ),
    ):
        if count:
            yield Caution(word, arm.name, f"{count} of {len(trials)} runs of {arm.name} {said}.", remedy)


def _search_that_found_nothing(frame: Frame, arm: Arm) -> Iterator[Caution]:
    if not arm.bayesian:
        return
    if arm.startup_trials >= arm.trials and arm.trials > 1:
        yield Caution(
            "random search",
            arm.name,
            f"All {arm.trials} runs of {arm.name} were start-up runs, drawn at random: this was random "
            f"search, not Bayesian optimization.",
            "Use more trials, or fewer start-up trials.",
        )
    choices = frame.choices(arm)
    nothing = sum(run.index == 0 for choice in choices for run in choice.runs)
    if nothing and arm.trials > 1 and arm.after is None:
        where = f" in {nothing} of {len(choices)} replicates" if len(choices) > 1 else ""
        yield Caution(
            "nothing found",
            arm.name,
            f"{arm.name} found nothing better than the default configuration, its first run{where}.",
            "Use more trials, or check the space.",
        )
