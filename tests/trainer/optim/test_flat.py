"""Does a run whose parameters are one vector compute what it computes with the tree?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trainer.mlp import OPTIMIZERS, equal_bits, mlp_batches, mlp_params, start
from trainer.guidance import Discounted, Forward, HeldOut, Hyper, Lagged, NextBatch
from trainer.guidance.contract import Estimator
from trainer.optim import flat
from trainer.training import checkpoint
from trainer.training.checkpoint import Snapshot
from trainer.training.step import compiled_scan

pytestmark = pytest.mark.usefixtures("optimized")

STEPS = 50
ALPHA, BETA1 = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)
SMOOTHING = Hyper("label_smoothing", 0.05, learn=True)
LAGGED = Lagged(lag_steps=4, recent_steps=2, anneal_steps=10, steps=STEPS)
# Those that later tests use as well come last: their programs are among the few that a process keeps.
WAYS: dict[str, tuple[Estimator | None, tuple[Hyper, ...]]] = {
    "thinned": (HeldOut(every_steps=3, batch_fraction=0.5), (ALPHA, BETA1)),
    "reverse": (HeldOut(mode="reverse"), (ALPHA, SMOOTHING)),
    "lagged beta1": (LAGGED, (BETA1,)),
    "plain": (None, ()),
    "held-out": (HeldOut(), (ALPHA, BETA1)),
    "next-batch": (NextBatch(), (ALPHA, BETA1)),
    "lagged": (LAGGED, (ALPHA, BETA1)),
    "forward": (Forward(), (ALPHA, BETA1)),
    "discounted": (Discounted(), (ALPHA, BETA1)),
}


def begun(optimizer: str, way: str, *, vector: bool, **settings: Any) -> tuple[Any, Any]:
    estimator, hypers = WAYS[way]
    params: Any = flat.flattened(mlp_params()) if vector else mlp_params()
    return start(
        optimizer, estimator, *hypers, params=params, schedule="inverse-sqrt", steps=STEPS, **settings
    )


def trained(recipe: Any, state: Any, *, first: int = 0, end: int = STEPS) -> tuple[Any, Any]:
    batches = jax.tree.map(lambda x: x[first:end], mlp_batches(STEPS))
    return compiled_scan(recipe)(state, batches, jax.random.key(0))


# SGD and AdamW compute each number by itself; LAMB, with its norms of tensors, goes every way.
ALWAYS = [
    *((optimizer, way) for optimizer in ("sgd", "adamw") for way in ("plain", "held-out")),
    *(("lamb", way) for way in WAYS),
]
MORE = [(optimizer, way) for optimizer in ("sgd", "adamw") for way in WAYS if (optimizer, way) not in ALWAYS]


@pytest.mark.parametrize(
    ("optimizer", "way"), [*(pytest.param(*each, marks=pytest.mark.slow) for each in MORE), *ALWAYS]
)
def test_every_loss_and_hyperparameter_is_that_of_the_tree(optimizer: str, way: str) -> None:
    ends = [trained(*begun(optimizer, way, vector=vector, eta=0.02, skip=0)) for vector in (False, True)]
    (_, tree), (_, vector) = ends
    np.testing.assert_allclose(vector["loss"], tree["loss"], atol=1e-5)
    for name, curve in tree["hyper"].items():
        np.testing.assert_allclose(vector["hyper"][name], curve, atol=1e-4, rtol=1e-4)
    learned = WAYS[way][1]
    assert all(np.ptp(tree["hyper"][h.name]) > 1e-4 for h in learned), "nothing was learned"


@pytest.mark.parametrize("way", ["held-out", "next-batch", "lagged", "forward", "discounted"])
def test_a_meta_learning_rate_of_zero_is_the_unguided_run_bit_for_bit(way: str) -> None:
    still, _ = trained(*begun("lamb", way, vector=True, eta=0.0))
    plain, _ = trained(*begun("lamb", "plain", vector=True))
    assert equal_bits(still.params, plain.params)


@pytest.mark.parametrize("way", ["plain", "held-out", "lagged"])
def test_the_length_of_a_chunk_changes_no_bit(way: str) -> None:
    recipe, state = begun("lamb", way, vector=True, eta=0.02, skip=0)
    whole, _ = trained(recipe, state)
    state = begun("lamb", way, vector=True, eta=0.02, skip=0)[1]
    for first in range(0, STEPS, 10):
        state, _ = trained(recipe, state, first=first, end=first + 10)
    assert equal_bits(state, whole)


def test_a_trust_ratio_is_that_of_each_tensor_also_where_one_is_zero() -> None:
    params = {**mlp_params(), "bias": jnp.zeros(6)}
    lamb = OPTIMIZERS["lamb"]
    hyper = {name: jnp.asarray(value) for name, value in lamb.defaults}
    hyper |= {"alpha": jnp.asarray(1.0), "learning_rate": jnp.asarray(0.1)}
    gradient = jax.tree.map(lambda p: jnp.cos(7 * p), params)
    updates, _ = lamb.update(gradient, lamb.init(params, hyper), params, hyper)
    vector, along = flat.flattened(params), flat.flattened(gradient)
    moved, state = lamb.update(along, lamb.init(vector, hyper), vector, hyper)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), flat.as_trees(moved), updates)
    assert isinstance(state["mu"], flat.Vector)


def test_the_tree_comes_out_as_it_went_in_and_so_does_its_gradient() -> None:
    params = mlp_params()
    vector = flat.flattened(params)
    assert vector.numbers.shape == (72 + 36 + 36 + 6,)
    assert equal_bits(jax.jit(flat.as_trees)(vector), params)
    assert equal_bits(flat.as_trees({"a": vector, "b": 1.0}), {"a": params, "b": 1.0})

    def squares(tree: Any) -> jax.Array:
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(flat.as_trees(tree)))

    assert equal_bits(flat.as_trees(jax.grad(squares)(jax.device_put(vector))), jax.grad(squares)(params))


@pytest.mark.parametrize(
    "way", ["plain", *(pytest.param(way, marks=pytest.mark.slow) for way in ("lagged", "discounted"))]
)
def test_a_checkpoint_holds_the_tree_and_either_way_goes_on_from_it(way: str, tmp_path: Any) -> None:
    """So does one that a version without vectors wrote."""
    begin = {vector: begun("lamb", way, vector=vector, eta=0.02, skip=0) for vector in (False, True)}
    ends = {}
    for vector, (recipe, state) in begin.items():
        half, _ = trained(recipe, state, end=20)
        snapshot = Snapshot(step=20, state=half.kept(), seed=0, fingerprint="f")
        path = checkpoint.save(tmp_path / str(vector), snapshot)
        ends[vector] = (half, path, trained(recipe, half, first=20)[1]["loss"])
    names = [list(np.load(path / "arrays.npz")) for _, path, _ in ends.values()]
    assert names[0] == names[1]
    for wrote, goes_on in ((False, True), (True, False), (True, True)):
        recipe, _ = begin[goes_on]
        target = begun("lamb", way, vector=goes_on, eta=0.02, skip=0)[1]
        kept = checkpoint.read(ends[wrote][1], target.kept(), fingerprint="f").state
        restored = kept._replace(settings=target.settings)
        assert jax.tree.structure(restored) == jax.tree.structure(target)
        _, metrics = trained(recipe, restored, first=20)
        np.testing.assert_allclose(metrics["loss"], ends[wrote][2], atol=1e-5)
        if wrote == goes_on:
            assert equal_bits(metrics["loss"], ends[wrote][2])
