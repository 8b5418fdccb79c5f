"""Which evaluation's parameters does a run end with, where it is the best one's and not the last one's?

They are held on the host: one more copy of the parameters, and as much in every checkpoint. Each process of a
gang holds what it holds of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from trainer.training import shards
from trainer.training.checkpoint import placed


@dataclass(frozen=True)
class Chosen:
    """The evaluation after `step` steps, and what it was chosen by."""

    step: int
    by: float  # more is better
    values: Mapping[str, float]  # all that was found then
    arrays: Mapping[str, np.ndarray | shards.Held]  # the parameters, by name

    def told(self) -> dict[str, Any]:
        """What of it is no array."""
        return {"step": self.step, "by": self.by, "values": dict(self.values)}

    def params(self, like: Any) -> Any:
        """The parameters in the structure of `like`, on the devices where its are."""
        leaves = jax.tree_util.tree_leaves_with_path(like)
        found = [_as(self.arrays[_name(path)], leaf) for path, leaf in leaves]
        return jax.tree.unflatten(jax.tree.structure(like), found)


def better(best: Chosen | None, step: int, by: float, values: Mapping[str, float], params: Any) -> Chosen:
    """The best evaluation so far and this one: which is it? Of equal ones the earlier. All processes of a
    gang ask it together, and hear the same."""
    if best is not None and by <= best.by:
        return best
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return Chosen(step, by, dict(values), {_name(path): shards.held(leaf) for path, leaf in leaves})


def _as(array: np.ndarray | shards.Held, leaf: Any) -> Any:
    if isinstance(array, shards.Held):
        return jax.device_put(array.placed(), leaf.sharding)
    return placed(array, leaf) if isinstance(leaf, jax.Array) else array


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
