"""How does the loss after K steps respond to a hyperparameter that is held elsewhere from now on?

A run is forked: from one state, with the same batches and the same random keys, K plain steps are made with
the raw value held `size` above and K with it held `size` below. The difference of the two losses over 2·size
is the true derivative over K steps, up to O(size²); at K = 1 it is what the greedy hypergradient computes.
Forks reuse the one compiled plain step: all that differs between them is traced.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from trainer.data.batches import Batch
from trainer.optim import flat
from trainer.optim.hyperparameters import Raw
from trainer.training.clocks import Clocks
from trainer.training.state import Recipe, TrainState
from trainer.training.step import compiled_step

Losses = Mapping[str, float]  # by the name of what they were taken on


@dataclass(frozen=True)
class Response:
    """`slope` is that of the loss after `span` steps by the raw value, `loss` its mean over both signs."""

    hyper: str
    span: int
    slope: Losses
    loss: Losses


@dataclass(frozen=True)
class Forking:
    """How a state is forked. `blank` is a state of the plain `recipe`; its parameters are not looked at."""

    recipe: Recipe
    blank: TrainState
    key: jax.Array  # the run's
    losses: Callable[[Any], Losses]  # of the parameters to evaluate
    size: float
    put: Callable[[Batch], Any] = jax.device_put  # one step's batch onto the devices
    clocks: Clocks = field(default_factory=Clocks)

    def responses(
        self, state: TrainState, ahead: Sequence[Batch], *, hypers: Iterable[str], spans: Sequence[int]
    ) -> list[Response]:
        """Of each of these, after each of these spans; `ahead` holds the batches of the longest one."""
        return [each for hyper in hypers for each in self._of(state, ahead, hyper, sorted(spans))]

    def _of(
        self, state: TrainState, ahead: Sequence[Batch], hyper: str, spans: Sequence[int]
    ) -> Iterator[Response]:
        above, below = (self._losses(state, ahead, self._held(state, hyper, sign), spans) for sign in (1, -1))
        for span, high, low in zip(spans, above, below, strict=True):
            slope = {name: (high[name] - low[name]) / (2 * self.size) for name in high}
            yield Response(hyper, span, slope, {name: (high[name] + low[name]) / 2 for name in high})

    def _held(self, state: TrainState, hyper: str, sign: int) -> Raw:
        return {**state.raw, hyper: state.raw[hyper] + sign * self.size}

    def _losses(
        self, state: TrainState, ahead: Sequence[Batch], raw: Raw, spans: Sequence[int]
    ) -> list[Losses]:
        """The losses after each of the spans, of one rollout."""
        found, step = [], compiled_step(self.recipe)
        with self.clocks.on("train_s"):
            # Copied whole: the step uses its state up, and both signs and the run itself need theirs.
            now = _copied(
                self.blank._replace(params=state.params, opt_state=state.opt_state, raw=raw, step=state.step)
            )
            for done, batch in enumerate(_rows(ahead, spans[-1]), start=1):
                now, _ = step(now, self.put(batch), self.key)
                if done in spans:
                    jax.block_until_ready(now.params)
                    with self.clocks.on("eval_s"):
                        params = self.recipe.optimizer.eval_params(now.opt_state, now.params)
                        found.append(self.losses(flat.as_trees(params)))
        return found


@jax.jit  # one program for all leaves, where each shape would be one of its own
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _rows(pieces: Sequence[Batch], steps: int) -> Iterator[Batch]:
    """The batches of so many steps, one by one."""
    every = (jax.tree.map(lambda x, i=i: x[i], p) for p in pieces for i in range(len(jax.tree.leaves(p)[0])))
    return itertools.islice(every, steps)
