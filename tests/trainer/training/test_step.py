"""Is a step one pure function, compiled once whatever its numbers, whose bits do not depend on chunks?"""

from __future__ import annotations

import dataclasses
import functools
import gc
import weakref
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trainer.mlp import equal_bits, loss_fn, mlp_batches, mlp_params, start
from trainer.guidance import HeldOut, Hyper, Lagged, NextBatch
from trainer.guidance.contract import Estimator
from trainer.optim import schedules
from trainer.training.state import begin, key_for
from trainer.training.step import PROGRAMS_KEPT, Piece, compiled_scan, compiled_step

pytestmark = pytest.mark.usefixtures("optimized")

STEPS = 12
ALPHA, BETA1 = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)


def in_chunks(recipe: Any, state: Any, lengths: list[int], *, seed: int = 0) -> tuple[Any, Any]:
    """The same steps in chunks of these lengths; 1 is a plain step."""
    batches, pieces, at = mlp_batches(sum(lengths)), [], 0
    for length in lengths:
        chunk = jax.tree.map(lambda x, a=at, n=length: x[a : a + n], batches)
        if length == 1:
            batch = jax.tree.map(lambda x: x[0], chunk)
            state, metrics = compiled_step(recipe)(state, batch, jax.random.key(seed))
            metrics = jax.tree.map(lambda x: x[None], metrics)
        else:
            run = compiled_scan(recipe)
            state, metrics = run(state, chunk, jax.random.key(seed))
        pieces.append(metrics)
        at += length
    return state, jax.tree.map(lambda *xs: np.concatenate(xs), *pieces)


def test_a_process_holds_on_to_its_latest_programs_only() -> None:
    recipe, _ = start("sgd", None, Hyper("alpha", 1.0))
    recipes = [dataclasses.replace(recipe, loss_fn=functools.partial(loss_fn)) for _ in range(PROGRAMS_KEPT)]
    oldest = weakref.ref(compiled_scan(recipe))
    for other in recipes[1:]:
        compiled_scan(other)
    assert oldest() is compiled_scan(recipe)
    for other in recipes:
        compiled_scan(other)
    gc.collect()
    assert oldest() is None


def test_twenty_trials_trace_the_step_once() -> None:
    traces = []

    def counted(params: Any, batch: Any, key: Any, train: bool) -> jax.Array:
        traces.append(train)
        return loss_fn(params, batch, key, train)

    ends = set()
    for trial in range(20):
        hypers = [
            Hyper("alpha", 1.0 + 0.1 * trial, learn=True, above=0.5 + trial),
            Hyper("beta1", 0.5 + 0.02 * trial, learn=True),
            Hyper("eps", 10.0 ** -(3 + trial % 5)),
        ]
        recipe, state = start(
            "lamb",
            NextBatch(),
            *hypers,
            numbers=schedules.curves_of("linear", warmup_steps=trial, steps=STEPS + trial),
            learning_rate=0.01 * (1 + trial),
            eta=0.001 * trial,
            skip=trial,
            meta_values={"beta2": 0.9 + 0.004 * trial},
            loss=counted,
        )
        run = compiled_scan(recipe)
        state, metrics = run(state, mlp_batches(STEPS), jax.random.key(trial))
        ends.add(float(metrics["loss"][-1]))
        if trial == 0:
            once = len(traces)
    assert len(traces) == once
    assert len(ends) == 20, "the numbers did not reach the step"


@pytest.mark.parametrize(
    "estimator",
    [
        None,
        HeldOut(every_steps=2),
        Lagged(lag_steps=2, recent_steps=1, anneal_steps=1, steps=8),
        Lagged(lag_steps=2, recent_steps=1, anneal_steps=1, steps=8, every_steps=1),
    ],
    ids=["plain", "thinned", "lagged", "lagged, every step"],
)
def test_the_length_of_a_chunk_changes_no_bit(estimator: Estimator | None) -> None:
    hypers = [ALPHA, BETA1] if estimator else []
    ends = []
    for each in ([9], [3, 3, 3], [3, *[1] * 6]):
        recipe, state = start("lamb", estimator, *hypers, eta=0.05, skip=0)
        ends.append(in_chunks(recipe, state, each))
    for end in ends[1:]:
        assert equal_bits(end, ends[0])


@pytest.mark.parametrize("estimator", [None, NextBatch()], ids=["plain", "next-batch"])
def test_a_piece_that_is_filled_up_is_its_own_steps_in_one_program_for_all_lengths(
    estimator: Estimator | None,
) -> None:
    traces = []

    def counted(params: Any, batch: Any, key: Any, train: bool) -> jax.Array:
        traces.append(train)
        return loss_fn(params, batch, key, train)

    hypers = [ALPHA, BETA1] if estimator else []
    recipe, state = start("lamb", estimator, *hypers, eta=0.05, skip=0, loss=counted)
    whole, expected = in_chunks(recipe, start("lamb", estimator, *hypers, eta=0.05, skip=0)[1], [STEPS])
    batches, told, seen = mlp_batches(STEPS), [], set()
    for first, end in ((0, 5), (5, 6), (6, STEPS)):
        piece = Piece.of(jax.tree.map(lambda x, a=first, b=end: np.asarray(x[a:b]), batches), room=8)
        state, metrics = compiled_scan(recipe)(state, piece, jax.random.key(0))
        told.append(jax.tree.map(lambda x, n=end - first: np.asarray(x)[:n], metrics))
        seen.add(len(traces))
    assert len(seen) == 1, "another length was traced anew"
    assert equal_bits(state, whole)
    assert equal_bits(jax.tree.map(lambda *xs: np.concatenate(xs), *told), expected)


def test_a_replayed_schedule_gives_the_guided_runs_parameters_bit_for_bit(tmp_path: Path) -> None:
    groups = (("table", "embedding"),)
    each = [Hyper("alpha", 1.0, learn=True, per_group=True), BETA1]
    recipe, state = start("lamb", HeldOut(), *each, schedule="inverse-sqrt", groups=groups, eta=0.05, skip=0)
    then, metrics = in_chunks(recipe, state, [STEPS])
    path = tmp_path / "schedule.npz"
    schedules.save(path, multiplier=metrics["multiplier"], values=metrics["hyper"])
    assert float(np.ptp(metrics["hyper"]["alpha"])) > 0.05
    again, begun = start(
        "lamb",
        None,
        Hyper("alpha", 1.0, per_group=True),
        numbers=schedules.load(path),
        groups=groups,
    )
    replayed, seen = in_chunks(again, begun, [STEPS])
    assert equal_bits(replayed.params, then.params)
    assert equal_bits(seen["hyper"], metrics["hyper"])


def test_a_key_depends_on_seed_purpose_and_step_alone() -> None:
    seed = jax.random.key(7)
    keys = [
        key_for(seed, "dropout", 3),
        key_for(seed, "dropout", 4),
        key_for(seed, "guidance", 3),
        key_for(jax.random.key(8), "dropout", 3),
    ]
    drawn = [float(jax.random.uniform(key)) for key in keys]
    assert len(set(drawn)) == 4
    assert float(jax.random.uniform(key_for(seed, "dropout", jnp.asarray(3)))) == drawn[0]


def test_each_step_draws_anew_and_guidance_draws_nothing_from_training() -> None:
    def noisy(params: Any, batch: Any, key: jax.Array, train: bool) -> jax.Array:
        noise = jax.random.normal(key) if train else 0.0
        return loss_fn(params, batch, key, train) + noise

    plain, state = start("sgd", None, loss=noisy, learning_rate=0.0)
    same = jax.tree.map(lambda x: jnp.repeat(x[:1], 3, axis=0), mlp_batches(1))
    _, metrics = compiled_scan(plain)(state, same, jax.random.key(3))
    assert len(set(np.asarray(metrics["loss"]).tolist())) == 3
    guided_recipe, state = start("sgd", HeldOut(), ALPHA, loss=noisy, learning_rate=0.0)
    _, guided_metrics = compiled_scan(guided_recipe)(state, same, jax.random.key(3))
    assert equal_bits(guided_metrics["loss"], metrics["loss"])
    assert len(set(np.asarray(guided_metrics["guidance_loss"]).tolist())) == 1


def test_the_given_state_is_used_up_and_what_it_was_made_from_is_not() -> None:
    recipe, _ = start("sgd", None)
    params = mlp_params()
    settings = start("sgd", None)[1].settings
    state = begin(recipe, params, [Hyper("alpha", 1.0), *map_of_defaults(recipe)], settings=settings)
    compiled_scan(recipe)(state, mlp_batches(3), jax.random.key(0))
    assert state.params["hidden"].is_deleted()
    assert not params["hidden"].is_deleted()
    assert not settings["learning_rate"].is_deleted()


def map_of_defaults(recipe: Any) -> list[Hyper]:
    return [Hyper(name, value) for name, value in recipe.optimizer.defaults]


def test_a_recipe_that_does_not_fit_together_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError) as refused:
        start("lamb", None, schedule="inverse-root")
    assert str(refused.value).startswith("The schedule is 'inverse-root'. Allowed: inverse-sqrt,")
    with pytest.raises(ValueError) as refused:
        start("lamb", None, Hyper("momentum", 0.9))
    assert str(refused.value).startswith("The hyperparameters of the optimizer are alpha, beta1, beta2, eps,")
    with pytest.raises(ValueError) as refused:
        start("lamb", None, ALPHA)
    assert str(refused.value) == "alpha learns and there is no estimator. Choose one."
    recipe, state = start("lamb", HeldOut(), ALPHA)
    with pytest.raises(ValueError) as refused:
        begin(recipe, mlp_params(), [ALPHA], settings=state.settings)
    assert str(refused.value) == "HeldOut needs a guidance batch. Give one."
    curve = {"multiplier": jnp.ones(3), "values": {"decay_rate": jnp.ones(3)}}
    with pytest.raises(ValueError) as refused:
        start("lamb", None, numbers=curve)
    assert str(refused.value).startswith("The schedule replays decay_rate, and this run has alpha, beta1,")
