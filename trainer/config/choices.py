"""Which names may stand in a config, and what do they stand for? Standard library only.

Estimators, sources, optimizers and schedules are in a registry each: one is added here, or by an installed
package. `make` is where its code stands, as `module:name`; it is loaded when a run uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from trainer.config.benchmarks import BENCHMARKS, Benchmark
from trainer.config.registry import Registry


@dataclass(frozen=True)
class EstimatorChoice:
    """A way to estimate hypergradients. `make(config)` returns a `trainer.guidance.contract.Estimator`."""

    make: str
    settings: tuple[str, ...] = ()  # what it reads of `guidance` that other estimators ignore
    through_gradient: bool = False  # can it learn what acts in the training loss?
    audited: bool = False  # is it compared with the true response in an audit?


OFF = "off"  # no estimator
ESTIMATORS = Registry(
    "estimator",
    EstimatorChoice,
    {
        OFF: EstimatorChoice(""),
        "held-out": EstimatorChoice(
            "trainer.guidance.held_out:from_config",
            ("every_steps", "batch_fraction"),
            through_gradient=True,
            audited=True,
        ),
        # Not audited: it gives the numbers of held-out.
        "forward": EstimatorChoice("trainer.guidance.forward:from_config", through_gradient=True),
        "next-batch": EstimatorChoice("trainer.guidance.next_batch:from_config", audited=True),
        "discounted": EstimatorChoice("trainer.guidance.discounted:from_config", ("discount",), audited=True),
        "lagged": EstimatorChoice(
            "trainer.guidance.lagged:from_config", ("every_steps", "lag_steps", "anneal_steps"), audited=True
        ),
    },
)


@dataclass(frozen=True)
class OptimizerChoice:
    """`make()` returns a `trainer.optim.optimizers.Optimizer`. `numbers`: its hyperparameters and where they
    start, without alpha."""

    make: str
    numbers: Mapping[str, float]


OPTIMIZERS = Registry(
    "optimizer",
    OptimizerChoice,
    {
        "lamb": OptimizerChoice(
            "trainer.optim.optimizers:lamb",
            {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.0},
        ),
        "adafactor": OptimizerChoice(
            "trainer.optim.optimizers:adafactor",
            {"beta1": 0.9, "decay_rate": 0.8, "eps": 1e-30, "weight_decay": 0.0},
        ),
        "adamw": OptimizerChoice(
            "trainer.optim.optimizers:adamw",
            {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-4},
        ),
        "sgd": OptimizerChoice("trainer.optim.optimizers:sgd", {"beta1": 0.9, "weight_decay": 0.0}),
    },
)
OPTAX = r"optax(\.\w+)+"  # any other, by its dotted name


@dataclass(frozen=True)
class ScheduleChoice:
    """`make(step, numbers)` is the multiplier of the learning rate after `step` finished steps; `numbers`
    holds `warmup_steps` and `steps`. All are arrays."""

    make: str


SCHEDULES = Registry(
    "schedule",
    ScheduleChoice,
    {
        "inverse-sqrt": ScheduleChoice("trainer.optim.schedules:inverse_sqrt"),
        "constant-rsqrt": ScheduleChoice("trainer.optim.schedules:constant_rsqrt"),
        "linear": ScheduleChoice("trainer.optim.schedules:linear"),
        "cosine": ScheduleChoice("trainer.optim.schedules:cosine"),
        "constant": ScheduleChoice("trainer.optim.schedules:constant"),
    },
)
LEARNED_SCHEDULE = r".+\.(npz|json)"  # a file of a guided run: its schedule is replayed
SHORTEST_CURVE = 1024  # steps: what short runs need costs nothing


def room_for(steps: int) -> int:
    """How long the curves of a run of so many steps are: up to a power of two, so that few lengths differ."""
    return max(SHORTEST_CURVE, 1 << (steps - 1).bit_length())


@dataclass(frozen=True)
class SourceChoice:
    """`make(config, home)` returns a `trainer.data.sources.Source` for a `DataConfig`."""

    make: str
    words: str = ""  # for `orch data --help`
    pairs: tuple[str, ...] = ()  # it has these, in either direction; empty: only the text can tell
    needs_path: str = ""  # what `data.path` must name; empty: it may be left out
    own_files: bool = False  # `data.path` names files that may be edited between two runs
    documents: bool = False  # unlabelled text, for an objective
    pieces: Mapping[str, int] = field(default_factory=dict)  # by `data.level`; else 32,000
    longest_tokens: Mapping[str, int] = field(default_factory=dict)  # by `data.level`; else 256
    package: str = ""  # the module of another package that reads it


SOURCES = Registry(
    "source",
    SourceChoice,
    {
        "cldr": SourceChoice(
            "trainer.data.sources:from_cldr",
            "generated: numbers, dates, amounts, units and more, for en, de, fi and lt; nothing to download",
            pairs=tuple("-".join(two) for two in combinations(("en", "de", "fi", "lt"), 2)),
            pieces={"phrases": 320, "sentences": 2_000},  # phrases are short and of few words
            longest_tokens={"phrases": 24, "sentences": 64},  # of `phrases` one in a hundred is longer
        ),
        "files": SourceChoice(
            "trainer.data.sources:from_files",
            "your own text, at --path: a TSV, JSON lines, a folder with train.*, or the common beginning of\n"
            "two aligned files (path/train for train.de and train.en); each may end in .gz, .bz2 or .xz",
            needs_path="Name a TSV, a JSON lines file, a folder, or the common beginning of two aligned "
            "files (path/train for train.de and train.en).",
            own_files=True,
        ),
        "prose": SourceChoice(
            "trainer.data.documents:from_prose",
            "unlabelled: docstrings of Python and packages, and English of cldr; nothing to download",
            documents=True,
            pieces=dict.fromkeys(("phrases", "sentences"), 2_000),
        ),
        "text": SourceChoice(
            "trainer.data.documents:from_text",
            "unlabelled: your own text, at --path: a document on each line, JSON lines with a text, or a\n"
            "folder of such files; each may end in .gz, .bz2 or .xz",
            needs_path="Name a text with a document on each line, JSON lines, or a folder of such files.",
            own_files=True,
            documents=True,
        ),
        "wmt19": SourceChoice(
            "trainer.data.sources:from_wmt19",
            "the paper's text, prepared by TensorFlow Datasets in --data-dir",
            pairs=("cs-en", "de-en", "fi-en", "fr-de", "gu-en", "kk-en", "lt-en", "ru-en", "zh-en"),
            package="tensorflow_datasets",
        ),
    },
)
PREPARED_BY = "tfds:"
PREPARED = r"tfds:[\w/.-]+"  # any other set of TensorFlow Datasets, prepared: translations, or documents


def source_of(name: str) -> SourceChoice:
    """One by name, or what is true of every prepared set."""
    return SOURCES.get(name) or SourceChoice(
        "trainer.data.sources:from_prepared",
        package="tensorflow_datasets",
    )


@dataclass(frozen=True)
class TaskChoice:
    """Rows of an input and a target in place of translations. `make(config, home)` returns a
    `trainer.data.sources.Source` for a `DataConfig`."""

    make: str
    needs_path: str = ""  # what `data.path` must name; empty: it is not read
    benchmark: Benchmark | None = None  # its sets lie in `data.path`, or where TensorFlow Datasets puts them


TASKS: Mapping[str, TaskChoice] = {
    "numbers": TaskChoice("trainer.tasks.embedded:numbers"),
    "word-order": TaskChoice("trainer.tasks.generated:word_order"),
    "figures": TaskChoice("trainer.tasks.generated:figures"),
    "facts": TaskChoice("trainer.tasks.generated:facts"),
    "files": TaskChoice(
        "trainer.tasks.files:from_config",
        needs_path="Name a TSV of inputs and targets, JSON lines with the keys input and target, or a folder "
        "with train.*.",
    ),
    **{
        name: TaskChoice("trainer.tasks.benchmarks:from_config", benchmark=each)
        for name, each in BENCHMARKS.items()
    },
}
FEW_TASKS = tuple(name for name in TASKS if name not in BENCHMARKS)  # what a sentence has room for
OWN_TASK = r".+\.py"  # a Python file that says what its rows are
SOURCE_TOKENS, TARGET_TOKENS = 128, 32  # to how many inputs and targets are cut, where a config says nothing
# How outputs are compared with targets, in percent.
METRICS = ("accuracy", "macro-f1", "matthews", "exact-match", "token-f1", "pearson", "bleu", "chrf")
LAST, BEST = ENDS = ("last", "best")  # with which evaluation's parameters a task's run ends


def task_of(name: str) -> TaskChoice:
    """One by name, or what is true of every Python file."""
    return TASKS.get(name) or TaskChoice("trainer.tasks.own:from_config")


# What is to be written for a piece of unlabelled text (T5 3.1.4 and 3.3). With the first two nothing is
# corrupted.
OBJECTIVES = (
    "prefix-lm",  # the rest of the piece, split at a random point
    "lm",  # the whole piece, and nothing is read
    "bert",  # the whole piece, where corrupted tokens are a mask or a random token
    "deshuffling",  # the whole piece, of which the tokens are read in another order
    "mass",  # as bert, with masks alone
    "iid-spans",  # what each sentinel stands for; T5's baseline
    "iid-drop",  # the tokens that were left out
    "random-spans",  # as iid-spans, where corrupted tokens stand in spans of a mean length
)
SENTINELS = 100  # T5's
RANDOM_SPANS = "random-spans"  # of text for which a config says nothing (T5 3.7)
PAIR = r"[a-z]{2,3}-[a-z]{2,3}"
LEVELS = ("phrases", "sentences")
POSITIONS = ("sinusoidal", "relative")
NORMS = ("layer", "rms")
ACTIVATIONS = ("relu", "gated-gelu")
ONE_STACK = ("language-model", "prefix-lm")  # over source and target; of the second all see the whole source
STACKS = ("encoder-decoder", "shared", *ONE_STACK)  # in a shared one the encoder has the decoder's layers
OUTPUTS = ("shared", "own")  # the matrix of the logits: the embedding, or one of its own
DTYPES = ("float32", "bfloat16")
AS_SIZE = "of-size"  # the size decides, as 0 does among the numbers


@dataclass(frozen=True)
class Dimensions:
    """How large a Transformer is, and in which style. `d_attention` is all heads together."""

    d_model: int
    d_attention: int
    d_ff: int
    heads: int
    layers: int  # of the encoder, or of the one stack
    positions: str = "sinusoidal"
    norm: str = "layer"
    activation: str = "relu"
    decoder_layers: int = 0  # 0: as many as the encoder
    output: str = "shared"
    stacks: str = "encoder-decoder"

    @property
    def one_stack(self) -> bool:
        """Is there no encoder, and one row of source and target?"""
        return self.stacks in ONE_STACK

    @property
    def of_decoder(self) -> int:
        """How many layers the decoder has."""
        return self.decoder_layers or self.layers


def _t5(d_model: int, d_attention: int, d_ff: int, heads: int, layers: int) -> Dimensions:
    """T5 1.0 (the T5 paper, 2.1)."""
    return Dimensions(d_model, d_attention, d_ff, heads, layers, "relative", "rms", "relu")


def _t5_1_1(d_model: int, d_attention: int, d_ff: int, heads: int, layers: int) -> Dimensions:
    """T5 1.1, of which Flan-T5 and mT5 are: a gated GELU, and an output matrix of its own."""
    return Dimensions(
        d_model, d_attention, d_ff, heads, layers, "relative", "rms", "gated-gelu", output="own"
    )


FORMER_T5_SMALL = "t5-small of orch 0.1"  # as ledgers of that time name it now: today's `paper-t5`

# `base` is the one of "Attention Is All You Need". `paper-nmt` is the shape that has the paper's 121M
# parameters at 32,000 tokens (C.1.1), `paper-t5` the one that has its 60M at 32,128 (C.3.1). The others of T5
# are those that were released (3.1.1 and 3.7 of its paper), and `t5-tiny` is one for a laptop.
MODELS: Mapping[str, Dimensions] = {
    "tiny": Dimensions(64, 64, 256, 4, 2),
    "small": Dimensions(256, 256, 1024, 4, 3),
    "base": Dimensions(512, 512, 2048, 8, 6),
    "paper-nmt": Dimensions(1024, 512, 2048, 8, 6),
    "paper-t5": Dimensions(512, 384, 1024, 6, 8, "relative", "rms", "gated-gelu"),
    "t5-tiny": _t5(64, 64, 256, 4, 2),
    "t5-small": _t5(512, 512, 2048, 8, 6),
    "t5-base": _t5(768, 768, 3072, 12, 12),
    "t5-large": _t5(1024, 1024, 4096, 16, 24),
    "t5-3b": _t5(1024, 4096, 16_384, 32, 24),
    "t5-11b": _t5(1024, 16_384, 65_536, 128, 24),
    "t5.1.1-small": _t5_1_1(512, 384, 1024, 6, 8),
    "t5.1.1-base": _t5_1_1(768, 768, 2048, 12, 12),
    "t5.1.1-large": _t5_1_1(1024, 1024, 2816, 16, 24),
    "t5.1.1-xl": _t5_1_1(2048, 2048, 5120, 32, 24),
    "t5.1.1-xxl": _t5_1_1(4096, 4096, 10_240, 64, 24),
}
