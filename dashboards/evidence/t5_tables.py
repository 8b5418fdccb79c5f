"""What does T5's paper print of architectures and objectives, and which of its rows is a row of a study?

"Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (Raffel and others):
Tables 2 (architectures) and 4 to 7 (objectives), averages of GLUE and SuperGLUE, ROUGE-2 of CNN/Daily Mail,
exact match of SQuAD and BLEU of WMT, each of one run at the size of T5-base. A row is known by what the runs
that it begins with state: stacks, layers, objective, rate and span.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dashboards.evidence import paper
from dashboards.evidence.average import SCORE
from orchestrator.study.configs import stated
from orchestrator.study.spec import Arm, StudySpec
from trainer.config.choices import MODELS

HEADS = ("GLUE", "SGLUE", "SQuAD", "CNNDM", "EnDe", "EnFr", "EnRo")
BY = HEADS[0]
BASELINE_SPREAD = 0.235  # of ten runs of the baseline on GLUE, in standard deviations (Table 1)
ENCODER_DECODER = "encoder-decoder"


@dataclass(frozen=True)
class Kind:
    """One way to pretrain. The rate where tokens are corrupted, the span where its mean is set."""

    stacks: str
    half: bool  # of the baseline's layers
    objective: str
    rate: float | None = None
    span: float | None = None


@dataclass(frozen=True)
class Printed:
    tables: str
    scores: Mapping[str, float]


def _printed(tables: str, glue: float, cnndm: float, squad: float, sglue: float, *wmt: float) -> Printed:
    """In the order of the paper's columns."""
    return Printed(tables, dict(zip(HEADS, (glue, sglue, squad, cnndm, *wmt), strict=True)))


def _of_architecture(stacks: str, objective: str, *, half: bool = False) -> Kind:
    return Kind(stacks, half, objective, 0.15 if objective == "iid-spans" else None)


def _of_objective(name: str, rate: float | None = 0.15, span: float | None = None) -> Kind:
    return Kind(ENCODER_DECODER, False, name, rate, span)


SHARED, LANGUAGE_MODEL, PREFIX_LM = "shared", "language-model", "prefix-lm"
TABLE_2: Mapping[Kind, Printed] = {
    _of_architecture(stacks, objective, half=half): _printed("2", *scores)
    for stacks, half, objective, scores in (
        (ENCODER_DECODER, False, "iid-spans", (83.28, 19.24, 80.88, 71.36, 26.98, 39.82, 27.65)),
        (SHARED, False, "iid-spans", (82.81, 18.78, 80.63, 70.73, 26.72, 39.03, 27.46)),
        (ENCODER_DECODER, True, "iid-spans", (80.88, 18.97, 77.59, 68.42, 26.38, 38.40, 26.95)),
        (LANGUAGE_MODEL, False, "iid-spans", (74.70, 17.93, 61.14, 55.02, 25.09, 35.28, 25.86)),
        (PREFIX_LM, False, "iid-spans", (81.82, 18.61, 78.94, 68.11, 26.43, 37.98, 27.39)),
        (ENCODER_DECODER, False, "prefix-lm", (79.56, 18.59, 76.02, 64.29, 26.27, 39.17, 26.86)),
        (SHARED, False, "prefix-lm", (79.60, 18.13, 76.35, 63.50, 26.62, 39.17, 27.05)),
        (ENCODER_DECODER, True, "prefix-lm", (78.67, 18.26, 75.32, 64.06, 26.13, 38.42, 26.89)),
        (LANGUAGE_MODEL, False, "lm", (73.78, 17.54, 53.81, 56.51, 25.23, 34.31, 25.38)),
        (PREFIX_LM, False, "prefix-lm", (79.68, 17.84, 76.87, 64.86, 26.28, 37.51, 26.76)),
    )
}
TABLES_4_TO_7: Mapping[Kind, Printed] = {
    _of_objective("prefix-lm", None): _printed("4", 80.69, 18.94, 77.99, 65.27, 26.86, 39.73, 27.49),
    _of_objective("bert"): _printed("4, 5", 82.96, 19.17, 80.65, 69.85, 26.78, 40.03, 27.41),
    _of_objective("deshuffling", None): _printed("4", 73.17, 18.59, 67.61, 58.47, 26.11, 39.30, 25.62),
    _of_objective("mass"): _printed("5", 82.32, 19.16, 80.10, 69.28, 26.79, 39.89, 27.55),
    _of_objective("iid-spans"): _printed("5, 6, 7", 83.28, 19.24, 80.88, 71.36, 26.98, 39.82, 27.65),
    _of_objective("iid-drop"): _printed("5", 84.44, 19.31, 80.52, 68.67, 27.07, 39.76, 27.82),
    _of_objective("iid-spans", 0.1): _printed("6", 82.82, 19.00, 80.38, 69.55, 26.87, 39.28, 27.44),
    _of_objective("iid-spans", 0.25): _printed("6", 83.00, 19.54, 80.96, 70.48, 27.04, 39.83, 27.47),
    _of_objective("iid-spans", 0.5): _printed("6", 81.27, 19.32, 79.80, 70.33, 27.01, 39.90, 27.49),
    _of_objective("random-spans", 0.15, 2.0): _printed("7", 83.54, 19.39, 82.09, 72.20, 26.76, 39.99, 27.63),
    _of_objective("random-spans", 0.15, 3.0): _printed("7", 83.49, 19.62, 81.84, 72.53, 26.86, 39.65, 27.62),
    _of_objective("random-spans", 0.15, 5.0): _printed("7", 83.40, 19.24, 82.05, 72.23, 26.88, 39.40, 27.53),
    _of_objective("random-spans", 0.15, 10.0): _printed("7", 82.85, 19.33, 81.84, 70.44, 26.79, 39.49, 27.69),
}
TWICE = Kind(ENCODER_DECODER, False, "prefix-lm")
OF_TWICE = (
    "T5's paper prints an encoder-decoder that is pretrained as a prefix LM twice: in Table 2 with a GLUE of "
    "79.56 and a SuperGLUE of 64.29, in Table 4 with 80.69 and 65.27. It does not say in what they differ."
)

SETUP = paper.Setup(
    settings=(
        ("data", "data.source", "tfds:c4/en"),
        ("model", "model.size", "t5-base"),
        ("pretraining steps", "steps", 2**19),
        ("batch size", "batch.sentences", 128),
        ("tokens of an input", "data.source_tokens", 512),
        ("learning rate", "optimizer.learning_rate", 0.01),
        ("dropout", "model.dropout", 0.1),
    ),
    in_words={"tfds:c4/en": "C4", "t5-base": "220M parameters", "prose": "docstrings of Python packages"},
    task="pretraining and fine-tuning a T5",
    metric=(SCORE, "averages of GLUE and SuperGLUE, scores of SQuAD, CNN/Daily Mail and WMT"),
    bo_trials=None,
    seeds="one run of a row; of the baseline ten",
    hardware=("", "slices of Cloud TPU pods"),
)


def kind_of(spec: StudySpec, arm: Arm, baseline: Arm) -> Kind:
    """Of an arm that prepares. `baseline`: the one whose layers are all."""

    def said(path: str) -> object:
        return stated(spec, arm, path)

    objective = str(said("objective.name") or "random-spans")
    corrupts = objective not in ("prefix-lm", "lm", "deshuffling")
    rate, span = said("objective.rate"), said("objective.span")
    return Kind(
        stacks=str(said("model.stacks") or ENCODER_DECODER),
        half=0 < 2 * _layers(spec, arm) == _layers(spec, baseline),
        objective=objective,
        rate=_number(rate, 0.15) if corrupts else None,
        span=_number(span, 3.0) if objective == "random-spans" else None,
    )


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _layers(spec: StudySpec, arm: Arm) -> int:
    """0 where neither the layers nor a size is stated."""
    layers, size = (stated(spec, arm, f"model.{key}") for key in ("layers", "size"))
    return int(layers) if layers else MODELS[size].layers if size in MODELS else 0


def rows_of(spec: StudySpec, prepared: list[Arm]) -> dict[str, tuple[Kind, Printed]]:
    """By arm, of those that the paper has: in Table 2 where stacks or layers differ, in 4 to 7 where not."""
    kinds = {arm.name: kind_of(spec, arm, prepared[0]) for arm in prepared}
    architectures = len({(kind.stacks, kind.half) for kind in kinds.values()}) > 1
    table = TABLE_2 if architectures else TABLES_4_TO_7
    return {name: (kind, table[kind]) for name, kind in kinds.items() if kind in table}
