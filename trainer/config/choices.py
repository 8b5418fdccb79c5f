"""Which names may stand in a config, and what do they stand for? Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Each optimizer of ours with its hyperparameters, alpha apart; tests compare with trainer.optim.optimizers.
OPTIMIZERS: Mapping[str, tuple[str, ...]] = {
    "lamb": ("beta1", "beta2", "eps", "weight_decay"),
    "adafactor": ("beta1", "decay_rate", "eps", "weight_decay"),
    "adamw": ("beta1", "beta2", "eps", "weight_decay"),
    "sgd": ("beta1", "weight_decay"),
}
OPTAX = r"optax(\.\w+)+"  # any other, by its dotted name
SCHEDULES = ("inverse-sqrt", "constant-rsqrt", "linear", "cosine", "constant")
LEARNED_SCHEDULE = r".+\.(npz|json)"  # a file of a guided run: its schedule is replayed
SOURCES = ("cldr", "files", "wmt19")
PREPARED = r"tfds:[\w/.-]+"  # any other translation set of TensorFlow Datasets, prepared
PAIR = r"[a-z]{2,3}-[a-z]{2,3}"
LEVELS = ("phrases", "sentences")
POSITIONS = ("sinusoidal", "relative")
NORMS = ("layer", "rms")
ACTIVATIONS = ("relu", "gated-gelu")
DTYPES = ("float32", "bfloat16")
AS_SIZE = "of-size"  # the size decides, as 0 does among the numbers
ESTIMATORS = ("off", "held-out", "forward", "next-batch", "discounted", "lagged")


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
