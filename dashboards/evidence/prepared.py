"""What do runs show that others begin with? Their loss over training, where it is of the same targets, and
what they learned.

Objectives that corrupt text in other ways, and stacks of other shapes, have the model predict other targets:
their losses cannot be compared, so they are in no figure together, and rows are ranked by what is made of
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from dashboards.evidence import tables
from dashboards.evidence.frames import Curve, Curves, Frame, Trial
from dashboards.evidence.over_training import Column, mean_lines
from dashboards.evidence.series import Line, from_the_start
from dashboards.evidence.sooner import FEWEST
from orchestrator.ledger.records import TrialState
from orchestrator.study.configs import stated
from orchestrator.study.spec import Arm, StudySpec

LOSS = "dev_loss"
# What makes other targets: where it is stated, what it is otherwise, and what it is called.
TARGETS: tuple[tuple[str, object, str], ...] = (
    ("objective.name", "random-spans", "objectives"),
    ("objective.rate", 0.15, "objectives"),
    ("objective.span", 3.0, "objectives"),
    ("model.stacks", "encoder-decoder", "stacks"),
)
TITLE = "pretraining"


def arms(spec: StudySpec) -> list[Arm]:
    return [arm for arm in spec.arms if arm.phase == "prepare"]


def differ_in(spec: StudySpec) -> tuple[str, ...]:
    """In what the arms that prepare have different targets: their objectives, their stacks."""
    return tuple(
        dict.fromkeys(
            said
            for path, otherwise, said in TARGETS
            if len({_one_of(stated(spec, arm, path) or otherwise) for arm in arms(spec)}) > 1
        )
    )


def _one_of(value: object) -> float | str:
    return float(value) if isinstance(value, int | float) else str(value)


def remarks(frame: Frame) -> tuple[str, ...]:
    """That their losses cannot be compared, where that is so, and how rows are ranked instead."""
    differ = differ_in(frame.spec)
    if not differ:
        return ()
    claim = frame.spec.claim
    metric = claim.metric if claim is not None and claim.average else frame.spec.objective.metric
    by = tables.metric_name(metric)
    said = (
        f"Rows are ranked by {by}: they pretrain with different {' and '.join(differ)}, and losses of "
        f"different targets cannot be compared."
    )
    made = tables.table(frame, metric=metric, speedups=())
    best = {row.name: row.cells[-1] for row in made.rows if row.cells[-1].source == "confirmed"}
    if len(best) < 2 or not (made.averaged or len(made.columns) == 1):
        return (said,)
    sign = 1 if made.lower_is_better else -1
    ranked = sorted(best.items(), key=lambda item: sign * (item[1].value or 0.0))
    words = "; ".join(f"{name} {tables.number_text(c.value or 0.0, made.decimals)}" for name, c in ranked)
    what = f"{made.columns[-1]} {by}" if made.averaged else by
    return said, f"By {what}: {words}."


def trials(frame: Frame) -> list[Trial]:
    """Those whose curves are drawn."""
    if differ_in(frame.spec):
        return []
    return [t for arm in arms(frame.spec) for t in frame.of(arm) if t.state is TrialState.COMPLETED]


def over_training(frame: Frame, heard: Mapping[str, Curves]) -> Column:
    """The dev loss of each arm in the mean over the seeds that all of them have; of arms whose runs were
    evaluated six times or more."""
    curves: dict[str, dict[tuple[int, int], dict[int, float]]] = {}
    shown = {trial.name for trial in trials(frame)}
    for arm in arms(frame.spec):
        of = {
            (t.replicate, t.seed): dict(points)
            for t in frame.of(arm)
            if t.name in shown and len(points := _points(heard, t)) >= FEWEST
        }
        if of:
            curves[frame.row_of(arm)] = of
    lines = mean_lines(curves)
    if not lines:
        return Column(())
    first = lines[0]  # the spec's first arm that prepares: what others are compared with
    return Column(tuple(lines), first.name, first.y[-1])


def hypers(frame: Frame) -> tuple[str, ...]:
    """What is learned in one of them."""
    return tuple(dict.fromkeys(name for arm in arms(frame.spec) for name in frame.learns[arm.name]))


def learned(frame: Frame, heard: Mapping[str, Curves], hyper: str) -> list[Line]:
    """A hyperparameter of each arm that learns it, in the mean over the seeds that all of them have."""
    curves: dict[str, dict[tuple[int, int], dict[int, float]]] = {}
    for trial in trials(frame):
        points = heard[trial.name].hyper.get(hyper, ()) if trial.name in heard else ()
        if points and hyper in frame.learns[trial.arm]:
            of = curves.setdefault(frame.row_of(frame.spec.arm(trial.arm)), {})
            of[trial.replicate, trial.seed] = dict(from_the_start(hyper, points, trial.config))
    return mean_lines(curves)


def _points(heard: Mapping[str, Curves], trial: Trial) -> Curve:
    return heard[trial.name].values.get(LOSS, ()) if trial.name in heard else ()
