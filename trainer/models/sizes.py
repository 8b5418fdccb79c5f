"""How large is the model, in numbers that a program is compiled for?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from trainer.config import Dimensions, ModelConfig


@dataclass(frozen=True)
class Settings(Dimensions):
    """All that the compiled program depends on. Hashable, so that it can be a static argument."""

    vocabulary: int = 320
    dropout: float = 0.1
    attention_dropout: float = 0.1
    dtype: str = "float32"
    remat: bool = False
    scan_layers: bool = False

    @property
    def head_dim(self) -> int:
        return self.d_attention // self.heads

    @property
    def wide(self) -> Any:
        """The type of logits, norms and softmax: float32, or what is computed in where that is wider."""
        return jnp.promote_types(self.dtype, jnp.float32)


def model_settings(config: ModelConfig, *, vocabulary: int) -> Settings:
    """The settings of a config that `trainer.config.check` has passed."""
    others = ("dropout", "attention_dropout", "dtype", "remat", "scan_layers")
    rest = {name: getattr(config, name) for name in others}
    return Settings(**asdict(config.dimensions()), vocabulary=vocabulary, **rest)


def count_parameters(params: Mapping[str, Any]) -> int:
    """How many numbers a tree of arrays or of shapes holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
