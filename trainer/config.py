"""What is a training run, as frozen values that can be checked, hashed and changed by path?

`TrainConfig.from_dict` takes nothing on trust: an unknown key, a wrong type, a number outside its bounds
or two settings that disagree raise ConfigError, with one sentence for each. Standard library only, so
that a host can ask `check` without loading an accelerator stack.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, get_type_hints

MOST_HINTS = 20  # finding the nearest of some names takes 0.1 ms, and a config may hold 60,000 keys
OPTIMIZERS = ("lamb",)
SCHEDULES = ("inverse-sqrt",)
SOURCES = ("cldr", "wmt19")
PAIRS = ("de-en", "en-de", "fi-en", "en-fi", "lt-en", "en-lt")
LEVELS = ("phrases", "sentences")
POSITIONS = ("sinusoidal", "relative")
NORMS = ("layer", "rms")
ACTIVATIONS = ("relu", "gated-gelu")
DTYPES = ("float32", "bfloat16")
AS_SIZE = "of-size"  # the size decides, as 0 does among the numbers
ESTIMATORS = ("off", "held-out")
LEARNABLE = ("alpha", "beta1")


@dataclass(frozen=True)
class Dimensions:
    """How large a Transformer is, and in which style. `d_attention` is all heads together."""

    d_model: int
    d_attention: int
    d_ff: int
    heads: int
    layers: int  # of the encoder, and of the decoder
    positions: str = "sinusoidal"
    norm: str = "layer"
    activation: str = "relu"


# `base` is the one of "Attention Is All You Need". `paper-nmt` is the shape that has the paper's 121M
# parameters at 32,000 tokens (C.1.1), `t5-small` the one that has its 60M at 32,128 (C.3.1).
MODELS: Mapping[str, Dimensions] = {
    "tiny": Dimensions(64, 64, 256, 4, 2),
    "small": Dimensions(256, 256, 1024, 4, 3),
    "base": Dimensions(512, 512, 2048, 8, 6),
    "paper-nmt": Dimensions(1024, 512, 2048, 8, 6),
    "t5-small": Dimensions(512, 384, 1024, 6, 8, "relative", "rms", "gated-gelu"),
}


class ConfigError(ValueError):
    """A config that cannot be run; `problems` holds one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def _number(
    default: float,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> Any:
    """A field with bounds. `above` and `below` are open, since nothing may start on its bound."""
    return field(default=default, metadata={"above": above, "at_least": at_least, "below": below})


def _flag(default: bool) -> Any:
    return field(default=default)


def _choice(default: Any, among: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"among": among})


@dataclass(frozen=True)
class DataConfig:
    source: str = _choice("cldr", SOURCES)
    pair: str = _choice("de-en", PAIRS)
    level: str = _choice("phrases", LEVELS)  # of `cldr`: its two levels of difficulty


@dataclass(frozen=True)
class ModelConfig:
    """A size by name, and what is to differ from it. The dropouts are the paper's (C.2)."""

    size: str = _choice("tiny", tuple(MODELS))
    d_model: int = _number(0, at_least=0, below=10**6)
    d_attention: int = _number(0, at_least=0, below=10**6)
    d_ff: int = _number(0, at_least=0, below=10**6)
    heads: int = _number(0, at_least=0, below=10**4)
    layers: int = _number(0, at_least=0, below=10**4)
    positions: str = _choice(AS_SIZE, (AS_SIZE, *POSITIONS))
    norm: str = _choice(AS_SIZE, (AS_SIZE, *NORMS))
    activation: str = _choice(AS_SIZE, (AS_SIZE, *ACTIVATIONS))
    dropout: float = _number(0.1, at_least=0, below=1)
    attention_dropout: float = _number(0.1, at_least=0, below=1)
    dtype: str = _choice("float32", DTYPES)  # of the computation; parameters and logits are float32
    remat: bool = _flag(False)  # compute a layer's activations again instead of keeping them
    scan_layers: bool = _flag(False)  # compile one layer, whatever their number

    def dimensions(self) -> Dimensions:
        """The size's, with what this config replaces."""
        mine = {f.name: getattr(self, f.name) for f in fields(Dimensions)}
        return replace(MODELS[self.size], **{k: v for k, v in mine.items() if v not in (0, AS_SIZE)})


@dataclass(frozen=True)
class OptimizerConfig:
    """The defaults are the paper's, C.1.1 and C.2; `alpha` multiplies the schedule (C.5)."""

    name: str = _choice("lamb", OPTIMIZERS)
    learning_rate: float = _number(0.4, above=0)
    alpha: float = _number(1.0, above=0)
    beta1: float = _number(0.9, above=0, below=1)
    beta2: float = _number(0.999, above=0, below=1)
    eps: float = _number(1e-6, above=0)


@dataclass(frozen=True)
class ScheduleConfig:
    name: str = _choice("inverse-sqrt", SCHEDULES)
    warmup_steps: int = _number(40, at_least=0)


@dataclass(frozen=True)
class BatchConfig:
    sentences: int = _number(32, at_least=1, below=10**6)


@dataclass(frozen=True)
class GuidanceConfig:
    """Which hyperparameters are learned, by which estimator. `eta` is the meta learning rate."""

    estimator: str = _choice("off", ESTIMATORS)
    learn: tuple[str, ...] = _choice((), LEARNABLE)
    eta: float = _number(0.01, at_least=0)


@dataclass(frozen=True)
class MeshConfig:
    """How many devices along each axis: copies, shards of the parameters, shards of every layer."""

    data: int = _number(1, at_least=1, below=10**6)
    fsdp: int = _number(1, at_least=1, below=10**6)
    tensor: int = _number(1, at_least=1, below=10**6)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The host sets `seed`."""

    seed: int = _number(0, at_least=0, below=2**32)
    steps: int = _number(400, at_least=1, below=10**9)
    eval_every_steps: int = _number(100, at_least=1)
    checkpoint_every_steps: int = _number(100, at_least=1)
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    batch: BatchConfig = BatchConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    mesh: MeshConfig = MeshConfig()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainConfig:
        """The config that `data` states, defaults filled in. ConfigError holds all that is wrong."""
        problems: list[str] = []
        config: TrainConfig = _section(cls, data, "", problems)
        if not problems:
            problems = _disagreements(config)
        if problems:
            raise ConfigError(problems)
        return config

    def to_dict(self) -> dict[str, Any]:
        """JSON values only, defaults written out; `from_dict` gives the same config back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data


def check(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config, a sentence each; empty when it can be run."""
    try:
        TrainConfig.from_dict(data)
    except ConfigError as error:
        return error.problems
    return []


def with_values(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The config with the value at each dotted path replaced, checked anew."""
    data = config.to_dict()
    for path, value in values.items():
        *sections, key = path.split(".")
        target = data
        for section in sections:
            # A path through something that is no section becomes an unknown key, and is refused below.
            inner = target.get(section)
            target[section] = dict(inner) if isinstance(inner, dict) else {}
            target = target[section]
        target[key] = value
    return TrainConfig.from_dict(data)


def canonical(config: TrainConfig) -> str:
    """The one JSON text of a config: sorted keys, no spaces, defaults written out."""
    return json.dumps(config.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(config: TrainConfig) -> str:
    return hashlib.sha256(canonical(config).encode()).hexdigest()


# -- reading one section ---------------------------------------------------------------------------------


def _section(cls: type, data: Any, path: str, problems: list[str]) -> Any:
    """An instance of `cls` from `data`; what is wrong goes to `problems`, and the default stays."""
    if not isinstance(data, Mapping):
        what = f"{path} is" if path else "The config is"
        problems.append(f"{what} {_shown(data)}. Allowed is a section: names with their values.")
        return cls()
    allowed = {f.name: f for f in fields(cls)}
    types = _types(cls)
    values = {}
    for key, value in data.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in allowed:
            problems.append(_unknown(where, str(key), list(allowed), hint=len(problems) < MOST_HINTS))
        elif is_dataclass(types[key]):
            values[key] = _section(types[key], value, where, problems)
        else:
            before = len(problems)
            value = _READERS[types[key]](value, where, allowed[key], problems)
            if len(problems) == before:
                values[key] = value
    return cls(**values)


@functools.cache  # most of what a reading costs, and an engine reads a config for every trial
def _types(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _unknown(where: str, key: str, allowed: list[str], *, hint: bool) -> str:
    near = difflib.get_close_matches(key, allowed, n=1) if hint else []
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown key {_cut(where)!r}.{meant} Allowed: {', '.join(allowed)}."


def _integer(value: Any, where: str, what: Field[Any], problems: list[str]) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        problems.append(f"{where} is {_shown(value)}. Allowed is a whole number{_bounds(what)}.")
        return 0
    return int(_bounded(value, where, what, problems))


def _boolean(value: Any, where: str, what: Field[Any], problems: list[str]) -> bool:
    if not isinstance(value, bool):
        problems.append(f"{where} is {_shown(value)}. Allowed is true or false.")
    return bool(value)


def _float(value: Any, where: str, what: Field[Any], problems: list[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        problems.append(f"{where} is {_shown(value)}. Allowed is a number{_bounds(what)}.")
        return 0.0
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond 1.8e308
        number = math.inf
    if not math.isfinite(number):
        problems.append(f"{where} is {number}. Allowed is a finite number{_bounds(what)}.")
        return 0.0
    return float(_bounded(number, where, what, problems))


def _bounded(value: float, where: str, what: Field[Any], problems: list[str]) -> float:
    above, at_least, below = (what.metadata.get(k) for k in ("above", "at_least", "below"))
    inside = (
        (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
    )
    if not inside:
        problems.append(
            f"{where} is {_shown(value)}. Allowed is a number{_bounds(what)}. "
            f"Change it, or leave it out for {_shown(what.default)}."
        )
    return value


def _bounds(what: Field[Any]) -> str:
    words = {"above": "above", "at_least": "of at least", "below": "below"}
    said = [f"{words[k]} {v}" for k, v in what.metadata.items() if v is not None]
    return f" {' and '.join(said)}" if said else ""


def _text(value: Any, where: str, what: Field[Any], problems: list[str]) -> Any:
    among: tuple[str, ...] = what.metadata["among"]
    if value not in among:
        near = difflib.get_close_matches(value, among, n=1) if isinstance(value, str) else []
        hint = f" Did you mean {near[0]!r}?" if near else ""
        problems.append(f"{where} is {_shown(value)}.{hint} Allowed: {', '.join(among)}.")
    return value


def _names(value: Any, where: str, what: Field[Any], problems: list[str]) -> tuple[str, ...]:
    among: tuple[str, ...] = what.metadata["among"]
    if not isinstance(value, (list, tuple)):
        problems.append(f"{where} is {_shown(value)}. Allowed is a list of: {', '.join(among)}.")
        return ()
    for i, name in enumerate(value):
        _text(name, f"{where}[{i}]", what, problems)
        if name in value[:i]:
            problems.append(f"{where} names {_shown(name)} twice. Keep one.")
    return tuple(value)


_READERS: Mapping[Any, Callable[..., Any]] = {
    bool: _boolean,
    int: _integer,
    float: _float,
    str: _text,
    tuple[str, ...]: _names,
}


def _shown(value: Any) -> str:
    """A value as its sentence shows it: short, and named by its kind where the kind is what is wrong."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**18:  # Python refuses to print very long ones
        return "a number of 19 digits or more"
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


# -- settings that disagree ------------------------------------------------------------------------------


def _disagreements(config: TrainConfig) -> list[str]:
    problems = []
    steps = config.steps
    for name in ("eval_every_steps", "checkpoint_every_steps"):
        every = getattr(config, name)
        if every > steps:
            problems.append(f"{name} is {every} and steps is {steps}. Allowed is at most steps. Lower it.")
    warmup_steps = config.schedule.warmup_steps
    if warmup_steps > steps:
        problems.append(
            f"schedule.warmup_steps is {warmup_steps} and steps is {steps}. Allowed is at most steps. "
            f"Shorten the warm-up, or train longer."
        )
    problems += _indivisible(config)
    guidance = config.guidance
    if guidance.learn and guidance.estimator == "off":
        problems.append(
            f"guidance.learn is {', '.join(guidance.learn)} and guidance.estimator is 'off'. "
            f"Choose an estimator ({', '.join(e for e in ESTIMATORS if e != 'off')}), or learn nothing."
        )
    if guidance.estimator != "off" and not guidance.learn:
        problems.append(
            f"guidance.estimator is {guidance.estimator!r} and guidance.learn is empty. "
            f"Name what it learns ({', '.join(LEARNABLE)}), or set the estimator to 'off'."
        )
    return problems


def _indivisible(config: TrainConfig) -> list[str]:
    model, mesh = config.model.dimensions(), config.mesh
    problems = []
    if model.d_attention % model.heads:
        problems.append(
            f"model.heads is {model.heads} and model.d_attention is {model.d_attention}. "
            f"Allowed is a number of heads that divides d_attention."
        )
    if model.positions == "sinusoidal" and (model.d_model % 2 or model.d_model < 4):
        problems.append(
            f"model.d_model is {model.d_model}. Allowed with sinusoidal positions is an even number of at "
            f"least 4: half of it holds sines, half cosines."
        )
    if model.heads % mesh.tensor:
        problems.append(
            f"mesh.tensor is {mesh.tensor} and the model has {model.heads} heads. "
            f"Allowed is a number that divides the heads."
        )
    shards = mesh.data * mesh.fsdp
    if config.batch.sentences % shards:
        problems.append(
            f"batch.sentences is {config.batch.sentences} and mesh.data · mesh.fsdp is {shards}. "
            f"Allowed is a batch that they divide."
        )
    return problems
