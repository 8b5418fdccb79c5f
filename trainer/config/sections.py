"""What stands in a training run's config: its sections, with the bounds and the default of every value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from trainer.config.benchmarks import PROTOCOLS, protocol_of
from trainer.config.choices import (
    ACTIVATIONS,
    AS_SIZE,
    DTYPES,
    ENDS,
    ESTIMATORS,
    FEW_TASKS,
    LAST,
    LEARNED_SCHEDULE,
    LEVELS,
    METRICS,
    MODELS,
    NORMS,
    OBJECTIVES,
    OFF,
    OPTAX,
    OPTIMIZERS,
    OUTPUTS,
    OWN_TASK,
    PAIR,
    POSITIONS,
    PREPARED,
    RANDOM_SPANS,
    SCHEDULES,
    SENTINELS,
    SOURCES,
    STACKS,
    TASKS,
    Dimensions,
    source_of,
)
from trainer.config.learnable import IN_LOSS, LEARNABLE
from trainer.config.reading import choice, number, table, text


@dataclass(frozen=True)
class DataConfig:
    """Which text. What is 0 or empty is the source's own: see docs/data.md."""

    source: str = text("cldr", among=SOURCES, like=PREPARED, words="tfds:NAME")
    path: str = text("", like=".*", words="a path")  # of `files`: the text; else a folder of prepared sets
    pair: str = text("de-en", like=PAIR, words="two languages, such as de-en: from German to English")
    vocabulary_path: str = text("", like=".*", words="a path")  # a spiece.model, taken as it is
    level: str = choice("phrases", LEVELS)  # of `cldr`: its two levels of difficulty
    pairs: int = number(0, at_least=0, below=10**9)  # to generate, or to use at most
    guide_share: float = number(0.01, above=0, at_most=0.5)  # of train, held out for guidance
    identify_languages: bool = True  # drop pairs in other languages; `cldr` needs none of it
    vocabulary: int = number(0, at_least=0, below=10**6)  # pieces
    longest_tokens: int = number(0, at_least=0, below=10**5)  # of a sentence; a longer one is left out
    task: str = text(  # "": none
        "",
        among=TASKS,
        shown=FEW_TASKS,
        like=f"|{OWN_TASK}",
        words="a benchmark's such as glue/cola, the path of a Python file",
    )
    prefix: str = text("", like="[^\\t\\r\\n]*", words="a text of one line")  # before each input of a task
    source_tokens: int = number(0, at_least=0, below=10**5)  # of a task's input, which is cut; 0: 128
    target_tokens: int = number(0, at_least=0, below=10**5)  # of a task's target, likewise; 0: 32
    tokens: int = number(0, at_least=0, below=10**13)  # of unlabelled text: the first so many; 0: all
    sentinels: int = number(SENTINELS, at_least=1, below=10**4)  # ids above the pieces
    key: str = text("text", like=".+", words="a key of JSON lines")  # under which unlabelled text stands
    records_share: float = number(0.5, at_least=0, at_most=1)  # of `prose`: English sides of `cldr`


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is to be written for a piece of unlabelled text, and how much of it is corrupted (T5 3.3)."""

    name: str = choice("", ("", *OBJECTIVES))  # "": random-spans, where the source is unlabelled text
    rate: float = number(0.15, above=0, below=1)  # of the tokens, corrupted
    span: float = number(3.0, at_least=1, below=10**4)  # of random-spans: the mean length


@dataclass(frozen=True)
class ModelConfig:
    """A size by name, and what is to differ from it. The dropouts are the paper's (C.2)."""

    size: str = choice("tiny", tuple(MODELS))
    d_model: int = number(0, at_least=0, below=10**6)
    d_attention: int = number(0, at_least=0, below=10**6)
    d_ff: int = number(0, at_least=0, below=10**6)
    heads: int = number(0, at_least=0, below=10**4)
    layers: int = number(0, at_least=0, below=10**4)
    decoder_layers: int = number(0, at_least=0, below=10**4)
    positions: str = choice(AS_SIZE, (AS_SIZE, *POSITIONS))
    norm: str = choice(AS_SIZE, (AS_SIZE, *NORMS))
    activation: str = choice(AS_SIZE, (AS_SIZE, *ACTIVATIONS))
    output: str = choice(AS_SIZE, (AS_SIZE, *OUTPUTS))
    stacks: str = choice("encoder-decoder", STACKS)
    dropout: float = number(0.1, at_least=0, below=1)
    attention_dropout: float = number(0.1, at_least=0, below=1)
    dtype: str = choice("float32", DTYPES)  # of the computation; parameters and logits are float32
    remat: bool = False  # compute a layer's activations again instead of keeping them
    scan_layers: bool = False  # compile one layer, whatever their number

    def dimensions(self) -> Dimensions:
        """The size's, with what this config replaces."""
        mine = {f.name: getattr(self, f.name) for f in fields(Dimensions)}
        size = replace(MODELS[self.size], **{k: v for k, v in mine.items() if v not in (0, AS_SIZE)})
        return replace(size, decoder_layers=0) if size.of_decoder == size.layers else size


@dataclass(frozen=True)
class OptimizerConfig:
    """LAMB with the paper's betas (C.1.1); `alpha` multiplies the schedule (C.5). Where beta2, eps or
    weight_decay is null it is the optimizer's own."""

    name: str = text("lamb", among=OPTIMIZERS, like=OPTAX, words="a dotted name such as optax.lion")
    # The paper's 0.4 peaks at 0.4/√4000 after its 4,000 steps of warm-up (C.2). This has the same peak
    # after the default warm-up of 40; `papers_rate` gives it for any other.
    learning_rate: float = number(0.04, above=0)
    alpha: float = number(1.0, above=0)
    beta1: float = number(0.9, at_least=0, below=1)
    beta2: float | None = number(None, above=0, below=1)
    eps: float | None = number(None, above=0)
    weight_decay: float | None = number(None, at_least=0)
    more: Mapping[str, Any] = table()  # its other numbers by name, such as adafactor's decay_rate


def papers_rate(warmup_steps: int) -> float:
    """The learning rate that peaks where the paper's does, under an inverse square root with this warm-up."""
    return float(f"{0.4 * math.sqrt(max(1, warmup_steps) / 4000):.3g}")


@dataclass(frozen=True)
class LossConfig:
    label_smoothing: float = number(0.0, at_least=0, below=1)


@dataclass(frozen=True)
class ScheduleConfig:
    """A multiplier of the learning rate; a file of a guided run is replayed, its hyperparameters too.
    `course`: what moves without being learned, from start to end by the share of the run to the power of
    shape, straight in log α or in the logit of β1; what is left out is the run's own start, the start, 1."""

    name: str = text("inverse-sqrt", among=SCHEDULES, like=LEARNED_SCHEDULE, words="a schedule.npz or .json")
    warmup_steps: int = number(40, at_least=0)
    course: Mapping[str, Any] = table(sections={"start": float, "end": float, "shape": float})


@dataclass(frozen=True)
class BatchConfig:
    """So many sentences, or so many tokens (padding included, both sides), a step."""

    sentences: int = number(32, at_least=1, below=10**6)
    tokens: int = number(0, at_least=0, below=10**8)  # 0: the sentences count
    buckets: int = number(1, at_least=0, below=65)  # lengths that compile apart; 0: packed rows of one length


@dataclass(frozen=True)
class GuidanceConfig:
    """Which hyperparameters are learned, by which estimator. The meta learning rate is `eta`, or the one
    with which a raw value can move by `reach` in a run; with neither it is the estimator's own."""

    estimator: str = choice(OFF, ESTIMATORS)
    learn: tuple[str, ...] = choice((), tuple(LEARNABLE))
    eta: float | None = number(None, at_least=0)
    reach: float | None = number(None, above=0)
    every_steps: int | None = number(None, at_least=1, below=10**9)  # of held-out and lagged; None: its own
    batch_fraction: float = number(1.0, above=0, at_most=1)  # of held-out
    discount: float = number(0.9, at_least=0, at_most=1)  # of discounted
    lag_steps: int = number(0, at_least=0, below=10**6)  # of lagged; 0: a tenth of the run, at least 20
    anneal_steps: int = number(80, at_least=0, below=10**9)  # of lagged
    hypers: Mapping[str, Any] = table(
        sections={
            "low": float,
            "high": float,
            "below": float,  # how far the raw value may move downwards, and upwards: a trust region
            "above": float,
            "activation": str,
            "per_group": bool,
            "eta": float,
        }
    )
    groups: Mapping[str, Any] = table(values=str)  # of parameters: a pattern of their names by name
    meta: Mapping[str, Any] = table(keys={"name": str, "skip": int, "beta1": float, "beta2": float})


@dataclass(frozen=True)
class ScoreConfig:
    """Dev BLEU is of greedy translations. The test split is opened by a final run alone, with a beam."""

    dev_sentences: int = number(200, at_least=0, below=10**6)  # the first of the split; see docs/config.md
    test: bool = False
    beam: int = number(4, at_least=1, below=129)
    length_penalty: float = number(0.6, at_least=0)
    metrics: tuple[str, ...] = choice((), METRICS)  # of a task
    choose: str = choice(LAST, ENDS)  # with which parameters a task's run ends
    protocol: str = text("", among=PROTOCOLS, like="|", words="empty: ours")  # of a benchmark's task


@dataclass(frozen=True)
class MeshConfig:
    """How many devices along each axis: copies, shards of the parameters, shards of every layer."""

    data: int = number(1, at_least=1, below=10**6)
    fsdp: int = number(1, at_least=1, below=10**6)
    tensor: int = number(1, at_least=1, below=10**6)


@dataclass(frozen=True)
class Sections:
    """What a training run's config holds. The host sets `seed`."""

    seed: int = number(0, at_least=0, below=2**32)
    steps: int = number(400, at_least=1, below=10**9)
    eval_every_steps: int = number(100, at_least=1)
    checkpoint_every_steps: int = number(100, at_least=1)
    init: str = text("", like=".*", words="a path")  # a folder to begin with: of a T5, or a run's
    data: DataConfig = DataConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    batch: BatchConfig = BatchConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    score: ScoreConfig = ScoreConfig()
    mesh: MeshConfig = MeshConfig()

    def start_of(self, name: str) -> float | None:
        """From which value a hyperparameter starts; None where the optimizer's own start is meant and is
        above 0."""
        if name in self.optimizer.more:
            return float(self.optimizer.more[name])
        section, *inside = LEARNABLE[name].path.split(".")
        value: float | None = getattr(getattr(self, section), inside[0], None) if len(inside) == 1 else None
        known = OPTIMIZERS.get(self.optimizer.name)
        return 0.0 if value is None and known and known.numbers.get(name) == 0.0 else value

    def reads_text(self) -> bool:
        """Is it unlabelled text, for an objective? A prepared set is where the config names one."""
        source = self.data.source
        prepared = source not in SOURCES
        return not self.data.task and (bool(self.objective.name) if prepared else source_of(source).documents)

    def objective_name(self) -> str:
        """Of unlabelled text."""
        return self.objective.name or RANDOM_SPANS

    @property
    def protocol(self) -> str:
        """Which rows choose and which are reported, where the task is a benchmark's; else empty."""
        return protocol_of(self.data.task, self.score.protocol)

    def keeps_no_momentum(self) -> bool:
        """Adafactor with a beta1 that is 0 and stays so, T5's default: another program, without the first
        moment. A schedule that is replayed may move beta1."""
        moved = (*self.guidance.learn, *self.schedule.course)
        still = "beta1" not in moved and self.schedule.name in SCHEDULES
        return self.optimizer.name == "adafactor" and self.optimizer.beta1 == 0 and still

    def starts_in_loss(self) -> dict[str, float]:
        """Of what acts in the training loss of this run."""
        starts = {name: self.start_of(name) or 0.0 for name in IN_LOSS}
        return {name: start for name, start in starts.items() if start or name in self.guidance.learn}
