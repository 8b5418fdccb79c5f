"""What did the paper have, and where does this study differ from it?

"Simple and Effective Gradient-Based Tuning of Sequence-to-Sequence Models" (Lichtarge, Alberti, Kumar):
Table 2 (de-en, BO against guidance) and Table 1 (six pairs at one η̂), its setup from Appendices C and D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboards.evidence.frames import Frame
from orchestrator.study.roles import RowRole
from orchestrator.study.spec import Arm, StudySpec
from trainer.config.paths import value_at

PAIRS = ("de-en", "en-de", "fi-en", "en-fi", "lt-en", "en-lt")


@dataclass(frozen=True)
class PaperRow:
    """One row as printed. BLEU, by column."""

    values: Mapping[str, float]
    hours: float | None = None  # summed over the runs
    runs: int | None = None
    best: Mapping[str, float] = field(default_factory=dict)  # of its runs, where `values` are their mean


@dataclass(frozen=True)
class PaperTable:
    name: str
    rows: Mapping[RowRole, PaperRow]
    best_name: str | None = None  # where the best of its runs stand


def _columns(alpha: float, beta1: float, both: float) -> dict[str, float]:
    return {"alpha": alpha, "beta1": beta1, "alpha+beta1": both}


def _pairs(*values: float) -> dict[str, float]:
    return dict(zip(PAIRS, values, strict=True))


def tables() -> tuple[PaperTable, PaperTable]:
    table_2: dict[RowRole, PaperRow] = {
        "base": PaperRow(_columns(38.6, 38.6, 38.6), 7.1, 1),
        "bo": PaperRow(_columns(39.4, 39.4, 39.5), 708.0, 100),
        "guided": PaperRow(_columns(39.6, 39.8, 39.9), 43.2, 4),
        "guided-bo": PaperRow(_columns(39.7, 39.8, 39.9), 1_100.0, 100),
    }
    table_1: dict[RowRole, PaperRow] = {
        "base": PaperRow(_pairs(38.6, 37.4, 27.2, 18.4, 27.3, 11.3)),
        "alpha": PaperRow(_pairs(39.6, 39.4, 27.6, 19.7, 27.7, 11.7)),
        "beta1": PaperRow(_pairs(39.8, 39.4, 28.4, 19.4, 28.0, 12.1)),
        "alpha+beta1": PaperRow(_pairs(39.9, 38.8, 27.5, 19.6, 27.8, 12.2)),
    }
    return PaperTable("Table 2 (BLEU, de-en)", table_2), PaperTable("Table 1 (BLEU)", table_1)


def beside(frame: Frame, metric: str) -> PaperTable | None:
    """The paper's table of the same metric and shape, if it has one: all of the study's columns, and a row in
    common."""
    if "bleu" not in metric.lower():
        return None
    columns, roles = set(frame.columns()), {_role(frame.spec, arm) for arm in frame.spec.arms}
    for table in tables():
        theirs = next(iter(table.rows.values())).values.keys()
        if columns <= theirs and roles & table.rows.keys() - {"base"}:
            return table
    return None


def _role(spec: StudySpec, arm: Arm) -> RowRole:
    """A confirmation's is what is stated of the arm that it confirms."""
    confirmed = spec.arm(arm.after.arm) if arm.after is not None and spec.confirms(arm) else arm
    return confirmed.role or arm.known_role


@dataclass(frozen=True)
class Deviation:
    what: str
    ours: str
    papers: str


@dataclass(frozen=True)
class Setup:
    """One of the paper's experiments, as a study of it may differ."""

    settings: tuple[tuple[str, str, object], ...]  # what it is called, where a config states it, the paper's
    in_words: Mapping[str, str]  # of values
    task: str
    metric: tuple[str, str]  # what a metric's name has, and the paper's in words
    bo_trials: int | None  # None: it ran none
    seeds: str
    hardware: tuple[str, str] = ("TPUv3, 8 chips", "TPUv3, 16 cores (8 chips)")  # as ours is told, and theirs


TRANSLATION = Setup(
    settings=(
        ("data", "data.source", "wmt19"),
        ("text level", "data.level", "sentences"),
        ("language pair", "data.pair", "de-en"),
        ("model", "model.size", "paper-nmt"),
        ("training steps", "steps", 160_000),
        ("batch size", "batch.sentences", 2_300),
        ("optimizer", "optimizer.name", "lamb"),
        ("learning rate", "optimizer.learning_rate", 0.4),
        ("schedule", "schedule.name", "inverse-sqrt"),
        ("warm-up steps", "schedule.warmup_steps", 4_000),
        ("dropout", "model.dropout", 0.1),
    ),
    in_words={
        "wmt19": "WMT19, 32M pairs",
        "paper-nmt": "121M parameters, 6 + 6 layers",
        "cldr": "generated phrases (CLDR)",
    },
    task="a Transformer for translation",
    metric=("bleu", "BLEU, beam 4"),
    bo_trials=100,
    seeds="the best run, seeds not stated",
)


def deviations(frame: Frame, *, metric: str, seeds: int, setup: Setup = TRANSLATION) -> list[Deviation]:
    """Where numbers beside the paper's are not comparable with them. `seeds`: fresh ones behind a cell."""
    spec = frame.spec
    found = []
    if spec.entrypoint != "trainer.run":
        what = (
            "a rehearsal workload, no model"
            if spec.entrypoint == "orchestrator.rehearsal"
            else spec.entrypoint
        )
        found.append(Deviation("task", what, setup.task))
    for what, path, papers in setup.settings:
        value = value_at(spec.base, path)
        if value is not None and value != papers:
            found.append(Deviation(what, _said(value, setup.in_words), _said(papers, setup.in_words)))
    has, theirs = setup.metric
    if has not in metric.lower():
        found.append(Deviation("metric", metric, theirs))
    searching = sorted({arm.trials for arm in spec.arms if arm.phase == "search" and arm.bayesian})
    if searching and searching != [setup.bo_trials]:
        often = " to ".join(f"{n}" for n in _ends(searching))
        found.append(Deviation("BO trials", often, f"{setup.bo_trials or 'none'}"))
    ours = (
        f"the choice run again on {seeds} fresh seed{'s' * (seeds != 1)}" if seeds else "the best search run"
    )
    found.append(Deviation("seeds", ours, setup.seeds))
    hardware = _hardware(frame)
    same, papers = setup.hardware
    if hardware != same:
        found.append(Deviation("hardware", hardware, papers))
    return found


def _ends(numbers: list[int]) -> list[int]:
    return numbers if len(numbers) == 1 else [numbers[0], numbers[-1]]


def _said(value: object, in_words: Mapping[str, str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return in_words.get(value, value) if isinstance(value, str) else f"{value}"


def _hardware(frame: Frame) -> str:
    resources = frame.spec.resources
    if resources.tpu_chips:
        kind = f"TPU{resources.tpu_type.split('-')[0]}" if resources.tpu_type else "TPU"
        return f"{kind}, {resources.chips:g} chips"
    if resources.gpus:
        return f"{resources.hosts * resources.gpus:g} GPUs"
    return f"{resources.cpus:g} CPU core{'s' * (resources.cpus != 1)}"
