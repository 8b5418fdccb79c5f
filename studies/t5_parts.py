"""With which weights, on which rows or text and how large are the studies of T5?

Defaults of fine-tuning are those with which T5 was fine-tuned (3.1.2 of its paper): Adafactor without
momentum, at a constant learning rate of 0.001. Whoever names no weights and no rows gets `t5-tiny` with
random ones and the embedded task `numbers`, at the best learning rate of a grid: on two seeds that no study
trains on, of 1, 2, 4, 8 and 16 times T5's rate, in runs of 240 steps. Without momentum the scores were 66,
70, 77, 79 and 80, with a β1 of .9 they were 64, 70, 76, 80 and 80; the dev loss is lowest at 8 times in both.

Pretraining in short runs has four times the paper's .01, the best of .02, .04 and .08 without momentum: on
two seeds that no study trains on, in 480 steps of 8 rows, the dev losses were 3.868, 3.720 and 4.014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from orchestrator.study.resources import Resources
from studies.parts import LENGTHS, OVER_PLAIN, REACH, REACHES, Size, cadence

METRIC = "score"  # the mean of the task's metrics, in percent
RATE = 1e-3  # T5's, for its weights
RANDOM_RATE = 8e-3
TEXT_RATE, TEXT_WARMUP = 0.04, 10  # of pretraining in short runs: constant for a tenth of the steps
TASK = "numbers"
BETA1 = 0.9  # where searches and guidance begin: of 0 no β1 can be learned
WITHOUT_MOMENTUM = {"optimizer": {"beta1": 0.0}}  # T5's own Adafactor
TINY = {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1}


@dataclass(frozen=True)
class Begun:
    """What a caller says of the weights to begin with and of the rows; what is empty is the study's own."""

    init: str = ""
    task: str = ""
    path: str = ""
    prefix: str = ""
    metrics: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(self) if getattr(self, f.name))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the plan of such a study does not know."""
        others = " and ".join(
            words for words, known in (("weights", self.init), ("rows", self.task or self.path)) if known
        )
        return (f"The hours are those of t5-tiny on the embedded task; other {others} change them.",) * bool(
            others
        )


def sized(size: str, begun: Begun) -> Size:
    """A size, with these weights and rows."""
    found = sizes()[size]
    base = dict(found.base)
    if begun.init:
        del base["model"]  # as it is in the folder
        base |= {"init": begun.init, "optimizer": {**base["optimizer"], "learning_rate": RATE}}
    if begun.task or begun.path:
        base["data"] = {"task": begun.task or base["data"]["task"]}
    said = {"path": begun.path, "prefix": begun.prefix}
    base["data"] = {**base["data"], **{name: value for name, value in said.items() if value}}
    if begun.metrics:
        base["score"] = {**base["score"], "metrics": list(begun.metrics)}
    return replace(found, base=base, targets=() if begun.given else found.targets)


def _small(
    name: str, *, steps: int, step_s: float, model: Mapping[str, Any], data: Mapping[str, Any], **counts: Any
) -> Size:
    """A size for two cores of a laptop. A run also loads, evaluates and answers: `fixed_s`."""
    fixed_s = 1.2
    base = {
        **cadence(steps),
        "data": {"task": TASK, "source_tokens": 32, "target_tokens": 4, **data},
        "model": {"size": "t5-tiny", **model},
        "optimizer": {"name": "adafactor", "learning_rate": RANDOM_RATE, "alpha": 1.0, "beta1": BETA1},
        "schedule": {"name": "constant", "warmup_steps": 0},
        "batch": {"sentences": 32, "buckets": 0},
        "guidance": {"estimator": "off", "learn": [], "eta": float(f"{REACH / steps:.6g}")},
        "score": {"dev_sentences": 500},
    }
    return Size(
        name=name,
        base=base,
        estimators=("lagged",),
        hours={way: (steps * step_s * over + fixed_s) / 3600 for way, over in OVER_PLAIN.items()},
        resources=Resources(cpus=1),
        hang_after_s=1800,  # other weights take longer
        lengths=(),  # a speed-up is read from losses
        random_columns=(),
        cost_ratio=1.0,
        **counts,
    )


def sizes() -> dict[str, Size]:
    """All sizes by name, made anew. T5 itself was tuned for 2^18 steps: for that set steps."""
    smoke = _small(
        "smoke",
        steps=40,
        step_s=0.004,
        model=TINY,  # too small to learn anything: it tries the machinery
        data={"pairs": 2000},
        bo_trials=4,
        startup_trials=2,
        reaches=REACHES[1:3],
        eta_trials=0,
        confirmations=1,
        claimed=1,
        targets=(),
    )
    quick = _small(
        "quick",
        steps=240,
        step_s=0.0095,
        model={},
        data={},
        bo_trials=10,
        startup_trials=3,
        reaches=REACHES,
        eta_trials=0,
        confirmations=6,
        claimed=6,
        targets=(70.0, 80.0, 85.0),
    )
    laptop = _small(
        "laptop",
        steps=400,
        step_s=0.0095,
        model={},
        data={},
        bo_trials=50,
        startup_trials=5,
        reaches=REACHES,
        eta_trials=0,
        confirmations=6,
        claimed=10,
        targets=(80.0, 85.0, 90.0),
    )
    return {size.name: size for size in (smoke, quick, laptop)}


# -- pretraining -----------------------------------------------------------------------------------------
EVALUATIONS = 16  # of a run: after how many steps does it have base's last loss?
TEXT_REACHES = (1.0, 3.2, 10.0, 32.0)  # the paper's 1e-6 and 1e-5 over a million steps are 1 and 10
INPUTS, RAW = 64, 70  # tokens of an input, and of the text that it is made of
PAPERS_INPUTS, PAPERS_RAW = 512, 568


def text_tokens(base: Mapping[str, Any]) -> int:
    """How many tokens of text a run of this config reads."""
    raw = {INPUTS: RAW, PAPERS_INPUTS: PAPERS_RAW}[base["data"]["source_tokens"]]
    return int(base["steps"] * base["batch"]["sentences"] * raw)


def _base_of_text(steps: int, *, rate: float, warmup_steps: int, rows: int, **more: Any) -> dict[str, Any]:
    """Adafactor at a constant rate, then one that falls as 1/√t, and no dropout (C.3)."""
    return {
        **cadence(steps),
        "eval_every_steps": steps // EVALUATIONS,
        "optimizer": {"name": "adafactor", "learning_rate": rate, "alpha": 1.0, "beta1": BETA1},
        "schedule": {"name": "constant-rsqrt", "warmup_steps": warmup_steps},
        "batch": {"sentences": rows},
        "guidance": {"estimator": "off", "learn": [], "eta": float(f"{REACH / steps:.6g}")},
        **more,
    }


def _small_text(name: str, *, steps: int, step_s: float, model: Mapping[str, Any], **counts: Any) -> Size:
    """A size for two cores of a laptop. A run also loads and evaluates: `fixed_s`."""
    fixed_s = 2.5
    base = _base_of_text(
        steps,
        rate=TEXT_RATE,
        warmup_steps=max(1, steps // TEXT_WARMUP),
        rows=8,
        data={"source": "prose", "source_tokens": INPUTS},
        objective={"name": "random-spans"},
        score={"dev_sentences": 256},
        model={"size": "t5-tiny", "dropout": 0.0, "attention_dropout": 0.0, **model},
    )
    return Size(
        name=name,
        base=base,
        estimators=("lagged", "next-batch"),
        hours={way: (steps * step_s * over + fixed_s) / 3600 for way, over in OVER_PLAIN.items()},
        resources=Resources(cpus=1),
        hang_after_s=600,
        lengths=LENGTHS[1:2] if name == "smoke" else LENGTHS,
        random_columns=(),
        reaches=TEXT_REACHES[1:3] if name == "smoke" else TEXT_REACHES,
        eta_trials=0,
        cost_ratio=1.0,
        targets=(),
        **counts,
    )


def _paper_text() -> Size:
    """Appendix C.3 and D: 48 hours a run on 8 chips, half as much again when guided."""
    steps = 1_000_000
    base = _base_of_text(
        steps,
        rate=0.01,
        warmup_steps=10_000,
        rows=256,
        checkpoint_every_steps=10_000,
        data={"source": "tfds:c4/en", "source_tokens": PAPERS_INPUTS},
        objective={"name": "random-spans"},
        model={"size": "paper-t5", "dtype": "bfloat16", "dropout": 0.0, "attention_dropout": 0.0},
        mesh={"data": 16},  # each chip of a v3 is two devices of JAX
    )
    plain, guided = 48.0, 72.0
    hours = {"off": plain, "held-out": guided}
    hours |= {way: plain * OVER_PLAIN[way] for way in ("next-batch", "lagged")}
    return Size(
        name="paper",
        base=base,
        bo_trials=100,
        startup_trials=5,
        reaches=TEXT_REACHES,
        eta_trials=0,
        confirmations=2,
        claimed=6,
        random_columns=(),
        estimators=("lagged", "next-batch"),
        hours=hours,
        resources=Resources(cpus=8, tpu_type="v3-16", tpu_chips=4, hosts=2),
        lengths=LENGTHS,
        hang_after_s=12 * 3600,  # an evaluation is due every 3 hours, every 4.5 when guided
        cost_ratio=1.0,
        targets=(),
    )


def text_sizes() -> dict[str, Size]:
    """The sizes of pretraining by name, made anew."""
    smoke = _small_text(
        "smoke",
        steps=48,
        step_s=0.004,
        model=TINY,
        bo_trials=4,
        startup_trials=2,
        confirmations=1,
        claimed=1,
    )
    quick = _small_text(
        "quick",
        steps=400,
        step_s=0.0115,
        model={},
        bo_trials=10,
        startup_trials=3,
        confirmations=2,
        claimed=6,
    )
    laptop = _small_text(
        "laptop",
        steps=1600,
        step_s=0.0115,
        model={},
        bo_trials=50,
        startup_trials=5,
        confirmations=2,
        claimed=6,
    )
    return {size.name: size for size in (smoke, quick, laptop, _paper_text())}


# -- tasks after it ------------------------------------------------------------------------------------
OTHERS = 3  # seeds of what a claim does not compare
GENERATED = ("word-order", "figures", "facts")
PUBLISHED = (
    *(f"glue/{name}" for name in ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")),
    *(f"super_glue/{name}" for name in ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")),
    "squad",
)


@dataclass(frozen=True)
class Tasks:
    """Which tasks, for how long, and in what batches."""

    names: tuple[str, ...]
    steps: int
    sentences: int
    rate: float
    tokens: tuple[int, int]  # of an input and a target; 0: the task's own
    hours: float  # of a run
    tensor: int = 1  # devices that share each row's layers: eight rows are not split over sixteen


TASKS: Mapping[str, Tasks] = {
    "smoke": Tasks(GENERATED[1:], 40, 32, RANDOM_RATE, (80, 16), 2 / 3600),
    "quick": Tasks(GENERATED, 200, 32, RANDOM_RATE, (80, 16), 8 / 3600),
    "laptop": Tasks(GENERATED, 800, 32, RANDOM_RATE, (80, 16), 28 / 3600),
    "paper": Tasks(PUBLISHED, 250_000, 8, RATE, (0, 0), 6.0, tensor=2),
}
# Those of T5's own tables: GLUE without WNLI, WSC together with DPR, summaries and translations too. Each is
# learned alone, at half of the pretraining's steps (3.1.2), in at most half of its hours.
TABLED = (
    *(name for name in PUBLISHED if name not in ("glue/wnli", "super_glue/wsc")),
    *("super_glue/wsc_dpr", "cnn_dailymail", "wmt/de", "wmt/fr", "wmt/ro"),
)
OF_TABLES: Mapping[str, Tasks] = {
    **TASKS,
    "quick": replace(TASKS["quick"], names=GENERATED[1:]),
    "paper": Tasks(TABLED, 2**18, 128, RATE, (0, 0), 24.0),
}


def learning(task: str, tasks: Tasks) -> dict[str, Any]:
    """Learning a task as T5 did: what is stated here is laid over the config of the pretraining."""
    source_tokens, target_tokens = tasks.tokens
    return {
        **cadence(tasks.steps),
        "data": {
            "source": "cldr",  # none of its text is read: the task has rows
            "task": task,
            "source_tokens": source_tokens,
            "target_tokens": target_tokens,
        },
        "objective": {"name": ""},
        "model": {"dropout": 0.1, "attention_dropout": 0.1},
        "optimizer": {"learning_rate": tasks.rate, "beta1": 0.0},
        "schedule": {"name": "constant", "warmup_steps": 0},
        "batch": {"sentences": tasks.sentences, "buckets": 0},
        **({"mesh": {"data": 16 // tasks.tensor, "tensor": tasks.tensor}} if tasks.tensor > 1 else {}),
        "guidance": {"estimator": "off", "learn": []},
        "score": {"dev_sentences": 256},
    }


# -- the settings of T5's own tables ---------------------------------------------------------------------
SENTINELS = 200  # i.i.d. spans at a rate of .50 need 129 in pieces of 511 tokens
NO_NOISE: Mapping[str, Mapping[str, Any]] = {  # the defaults, which a task leaves as they are
    "data": {"sentinels": 100},
    "objective": {"rate": 0.15, "span": 3.0},
}


def of_tables(size: Size) -> Size:
    """A size with T5's baseline as its base: i.i.d. spans (3.1.4), no momentum. At `paper` all of 3.1:
    T5-base, 2^19 steps of 128 rows, dropout. By the trainer's formula that has 1.12 times the operations of
    the guided paper's pretraining, whose hours are taken."""
    base = {
        **size.base,
        "data": {**size.base["data"], "sentinels": SENTINELS},
        "objective": {"name": "iid-spans"},
        "optimizer": {**size.base["optimizer"], **WITHOUT_MOMENTUM["optimizer"]},
    }
    if size.name != "paper":
        return replace(size, base={**base, **cadence(size.steps)})  # no curve is compared
    base |= {
        "steps": 2**19,
        "eval_every_steps": 2**15,
        "batch": {"sentences": 128},
        "model": {**size.base["model"], "size": "t5-base", "dropout": 0.1, "attention_dropout": 0.1},
    }
    return replace(size, base=base)
