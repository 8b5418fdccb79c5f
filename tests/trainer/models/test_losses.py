"""Is the loss the plain token mean, and its smoothing that of optax?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trainer.models.losses import token_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(3, 4, 7)), jnp.float32)
TARGETS = jnp.asarray([[1, 2, 3, 0], [6, 0, 0, 0], [5, 5, 1, 2]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_optaxs_mean_over_the_tokens_that_are_not_padding(smoothing: float) -> None:
    labels = optax.smooth_labels(jax.nn.one_hot(TARGETS, 7), smoothing)
    each = np.asarray(optax.softmax_cross_entropy(LOGITS, labels))
    expected = each[np.asarray(TARGETS) != 0].mean()
    found = token_cross_entropy(LOGITS, TARGETS, label_smoothing=smoothing)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    if smoothing == 0.0:
        assert float(token_cross_entropy(LOGITS, TARGETS)) == float(found)


def test_a_mask_takes_the_place_of_the_padding_id() -> None:
    mask = jnp.zeros(TARGETS.shape, bool).at[0, 3].set(True)
    expected = -jax.nn.log_softmax(LOGITS[0, 3])[0]
    assert float(token_cross_entropy(LOGITS, TARGETS, mask=mask)) == pytest.approx(float(expected), rel=1e-6)


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits = LOGITS.astype(jnp.bfloat16)
    found = token_cross_entropy(logits, TARGETS)
    assert found.dtype == jnp.float32
    assert float(found) == float(token_cross_entropy(logits.astype(jnp.float32), TARGETS))


def test_a_batch_of_padding_alone_costs_nothing_and_has_a_finite_gradient() -> None:
    blank = jnp.zeros_like(TARGETS)
    loss, gradient = jax.value_and_grad(lambda logits: token_cross_entropy(logits, blank))(LOGITS)
    assert float(loss) == 0.0
    assert not gradient.any()


def test_smoothing_is_traced() -> None:
    traces = []

    @jax.jit
    def loss(smoothing: jax.Array) -> jax.Array:
        traces.append(smoothing)
        return token_cross_entropy(LOGITS, TARGETS, label_smoothing=smoothing)

    assert float(loss(0.1)) != float(loss(0.2))
    assert len(traces) == 1
