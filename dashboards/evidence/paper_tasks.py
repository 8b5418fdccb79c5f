"""What does the guided paper print beside a study whose columns are tasks of its own, and where does such a
study differ from it?

A column is one of the paper's by the task that its runs train on. Beside the mean over seeds stands Table 7,
the mean of five runs: the mean of what it prints for each metric of the task. Beside the best of the seeds
stands Table 3, which has the largest of five. What of these tables is wrong is in `paper_downstream`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.evidence import paper, paper_downstream
from dashboards.evidence.average import SCORE
from dashboards.evidence.frames import Frame
from dashboards.evidence.paper_downstream import Row, met
from dashboards.evidence.tasks import are_columns, at_least_by_chance, percent, task_in
from orchestrator.study.roles import RowRole
from orchestrator.study.spec import StudySpec
from trainer.config.benchmarks import BENCHMARKS
from trainer.config.choices import TASKS

Suite = str
# A task of the trainer, and where the paper has it.
THEIRS: Mapping[str, tuple[Suite, str]] = {
    "glue/cola": ("glue", "CoLA"),
    "glue/sst2": ("glue", "SST"),
    "glue/mrpc": ("glue", "MRPC"),
    "glue/stsb": ("glue", "STS"),
    "glue/qqp": ("glue", "QQP"),
    "glue/mnli": ("glue", "MNLI"),
    "glue/qnli": ("glue", "QNLI"),
    "glue/rte": ("glue", "RTE"),
    "glue/wnli": ("glue", "WNLI"),
    "glue/wnli_referent": ("glue", "WNLI"),
    "squad": ("squad", "SQuAD"),
    "super_glue/boolq": ("super_glue", "BoolQ"),
    "super_glue/cb": ("super_glue", "CB"),
    "super_glue/copa": ("super_glue", "COPA"),
    "super_glue/multirc": ("super_glue", "MultiRC"),
    "super_glue/record": ("super_glue", "ReCoRD"),
    "super_glue/rte": ("super_glue", "RTE"),
    "super_glue/wic": ("super_glue", "WiC"),
    "super_glue/wsc": ("super_glue", "WSC"),
    "super_glue/wsc_dpr": ("super_glue", "WSC"),
}
ROWS: Mapping[RowRole, Row] = {"base": "base", "guided": "alpha+beta1", "alpha+beta1": "alpha+beta1"}
ROUNDING = 1e-9  # of a difference of printed numbers
MEAN, BEST = "Table 7 (mean of 5 runs)", "Table 3 (largest of 5 runs)"

SETUP = paper.Setup(
    settings=(
        ("model", "model.size", "paper-t5"),
        ("fine-tuning steps", "steps", 250_000),
        ("batch size", "batch.sentences", 8),
    ),
    in_words={"paper-t5": "60M parameters, 8 layers, 6 heads"},
    task="fine-tuning a T5",
    metric=(SCORE, "the mean of a task's metrics"),
    bo_trials=None,
    seeds="5 runs, seeds not stated",
)


def compares(spec: StudySpec) -> bool:
    """Whether some row is one of the guided paper's."""
    return any(arm.known_role in ROWS for arm in spec.compared)


def theirs_in(spec: StudySpec, column: str) -> tuple[Suite, str] | None:
    return THEIRS.get(task_in(spec, column) or column)


def printed(
    table: Mapping[Row, paper_downstream.Printed], row: Row, at: tuple[Suite, str]
) -> Mapping[str, float]:
    """What Table 6 or 7 prints of a task, by metric."""
    suite, task = at
    of = table[row]
    return {"glue": of.glue, "super_glue": of.super_glue, "squad": {"SQuAD": of.squad}}[suite][task]


def _largest(row: Row, at: tuple[Suite, str]) -> float:
    """Of Table 3; SQuAD it has not, so that it comes from Table 6."""
    suite, task = at
    if suite == "squad":
        return met(paper_downstream.TABLE_6[row].squad)
    of = paper_downstream.TABLE_3[row]
    return {"glue": of.glue, "super_glue": of.super_glue}[suite][task]


def beside(frame: Frame, metric: str) -> paper.PaperTable | None:
    """Of a study's score, where some of its columns are tasks of the paper's."""
    spec = frame.spec
    if metric != spec.objective.metric or metric != SCORE or not (are_columns(spec) and compares(spec)):
        return None
    known = {c: at for c in frame.columns() if (at := theirs_in(frame.spec, c)) is not None}
    if not known:
        return None
    rows = {
        role: paper.PaperRow(
            {c: met(printed(paper_downstream.TABLE_7, row, at)) for c, at in known.items()},
            best={c: _largest(row, at) for c, at in known.items()},
        )
        for role, row in ROWS.items()
    }
    return paper.PaperTable(MEAN, rows, best_name=BEST)


def _counts(known: Sequence[tuple[Suite, str]]) -> str:
    """On how many of these tasks the paper's guided pretraining is better, and how often chance is so."""
    table_7 = paper_downstream.TABLE_7
    largest = [_largest("alpha+beta1", at) - _largest("base", at) for at in known]
    means = [met(printed(table_7, "alpha+beta1", at)) - met(printed(table_7, "base", at)) for at in known]
    better = [sum(gain > ROUNDING for gain in of) for of in (largest, means)]
    chance = [percent(at_least_by_chance(count, len(known))) for count in better]
    return (
        f"In the paper learning α and β1 in pretraining is better on {better[0]} of {len(known)} of these "
        f"tasks by the largest of 5 runs, on {better[1]} by their mean; of independent tasks chance gives as "
        f"many in {chance[0]} and in {chance[1]}."
    )


def remarks(frame: Frame) -> tuple[str, ...]:
    """What is wrong in the paper's tables, beside a study of its tasks; of others that they are others."""
    if frame.spec.objective.metric != SCORE or not (are_columns(frame.spec) and compares(frame.spec)):
        return ()
    known = [at for column in frame.columns() if (at := theirs_in(frame.spec, column)) is not None]
    if known:
        return (_counts(known), *paper_downstream.WRONG)
    named = [task_in(frame.spec, column) or "" for column in frame.columns()]
    generated = all(name in TASKS and name not in BENCHMARKS and not TASKS[name].needs_path for name in named)
    ours = "generated ones" if generated else "others"
    return (f"The paper's tasks are GLUE, SuperGLUE and SQuAD; these are {ours}.",)
