"""In which direction would the last step have moved the parameters, had a hyperparameter been another?

Only its gradient and its hyperparameters are kept, and only where the next step reads them: what the step
started from follows from where it led (`Optimizer.before`), so that its tangent is made when it is read. For
an optimizer whose state does not say, the tangent is made with the step and kept, one a hyperparameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trainer.guidance.contract import Scene, Tree, changed, tangents_apart, zeros
from trainer.guidance.next_batch import updates_only
from trainer.optim.hyperparameters import Layout
from trainer.optim.optimizers import Optimizer

Carry = dict[str, Any]


def init(names: Sequence[str], layout: Layout, params: Tree, *, optimizer: Optimizer) -> Carry:
    if optimizer.before is None:
        return {"tangents": {name: zeros(params) for name in names}}
    as_float = jnp.result_type(float)
    groups = len(layout.group_names)
    values = {
        s.name: jnp.zeros((groups,) if s.per_group else (), as_float) for s in layout.shapes if not s.in_loss
    }
    values["learning_rate"] = jnp.zeros((), as_float)
    return {"last": {"grads": zeros(params), "values": values}}


def kept(due: Any, carry: Carry, scene: Scene) -> Carry:
    """What the next step needs to know of this one, where it is due to read it."""
    if "tangents" in carry:
        return {**carry, "tangents": tangents_apart(due, scene, carry["tangents"], updates_only)}
    values = scene.values(scene.raw)

    def this(last: Carry) -> Carry:
        return {"grads": scene.grads, "values": {name: values[name] for name in last["values"]}}

    return {**carry, "last": changed(due, this, carry["last"])}


def tangents(carry: Carry, scene: Scene) -> dict[str, Tree]:
    """Of the last step's updates, by name, up to a positive factor: they are by value, not by raw value."""
    if "tangents" in carry:
        return dict(carry["tangents"])
    optimizer, layout = scene.optimizer, scene.layout
    grads, values = carry["last"]["grads"], carry["last"]["values"]

    def spread(name: str, value: jax.Array) -> dict[str, Any]:
        moved = {**values, name: value}
        return {**layout.spread(moved, scene.params), "learning_rate": moved["learning_rate"]}

    assert optimizer.before is not None
    now = spread("learning_rate", values["learning_rate"])
    state, params = optimizer.before(grads, scene.opt_state, scene.params, now)

    def by(name: str) -> Tree:
        def updates(value: jax.Array) -> Tree:
            return optimizer.update(grads, state, params, spread(name, value))[0]

        return jax.jvp(updates, (values[name],), (jnp.ones_like(values[name]),))[1]

    return {name: by(name) for name in layout.learned if name != "alpha"}
