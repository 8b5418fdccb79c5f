"""How does an optimizer learn its hyperparameters inside a training loop that is not ours?

`guided` makes an optax transformation of it: `init(params)`, `update(grads, state, params, …)`. Whatever
takes an optax optimizer takes this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from trainer.guidance.contract import Estimator, Scene, follows_state, no_number, refusals
from trainer.guidance.drive import guided_update
from trainer.guidance.meta import SKIPPED_FIRST, Meta, MetaState, meta_optimizer, numbers
from trainer.guidance.next_batch import NextBatch
from trainer.optim import hyperparameters, optimizers
from trainer.optim.hyperparameters import Groups, Hyper, Raw


class GuidedState(NamedTuple):
    """All arrays, to be saved and restored as a whole. `values` are those of the last update."""

    step: jax.Array
    optimizer: Any
    raw: Raw
    values: Raw
    hypergrads: Raw
    guidance_loss: jax.Array
    meta: MetaState
    carry: Any
    settings: dict[str, Any]


def guided(
    optimizer: optimizers.Optimizer | Callable[..., optax.GradientTransformation],
    hypers: Sequence[Hyper],
    *,
    learning_rate: float | Callable[[jax.Array], Any],
    estimator: Estimator | None = None,
    eta: float | Mapping[str, float] = 0.01,
    loss_fn: Callable[[Any, Any], jax.Array] | None = None,
    groups: Groups = (),
    skip: int = SKIPPED_FIRST,
    meta: str = "optax.adam",
    meta_values: Mapping[str, float] | None = None,
    **arguments: Any,
) -> optax.GradientTransformationExtraArgs:
    """An optax transformation whose hyperparameters learn.

    `optimizer` is one of `trainer.optim.optimizers` or a factory of optax (`optax.adamw`), whose further
    arguments are `arguments`. `alpha`, a factor on `learning_rate`, starts at 1 unless it is among `hypers`.
    The default estimator, `NextBatch`, needs nothing but the gradients that `update` gets anyway; `HeldOut`
    and `Forward` call `loss_fn(params, guidance_batch)` and want `guidance_batch=` at each update;
    `Lagged` with alpha wants the training loss as `value=`. An `eps_root` of optax stays as it is, 0, while
    only alpha, beta1, eps and weight_decay learn, and not by `Discounted`; else 0 becomes 1e-16.
    """
    chosen = (
        optimizer
        if isinstance(optimizer, optimizers.Optimizer)
        else optimizers.from_optax(optimizer, **arguments)
    )
    learned = [h.name for h in hypers if h.learn]
    if estimator is None and learned:
        estimator = NextBatch()
    every = hyperparameters.complete(
        hypers, optimizers.starts(chosen, learned, through_state=follows_state(estimator))
    )
    layout = hyperparameters.layout(every, groups=groups)
    _refuse(chosen, layout, estimator, loss_fn)
    meta_rule = meta_optimizer(meta)
    settings = {
        "raw": hyperparameters.start_raw(every, groups=groups),
        "limits": hyperparameters.raw_limits(every, groups=groups),
        "meta": numbers(meta_rule, eta, learned=layout.learned, skip=skip, **(meta_values or {})),
        "estimator": {} if estimator is None else estimator.numbers(),
    }
    wrapped = _Wrapped(chosen, layout, estimator, meta_rule, learning_rate, loss_fn, settings)
    return optax.GradientTransformationExtraArgs(wrapped.init, wrapped.update)


@dataclass(frozen=True)
class _Wrapped:
    """An optimizer together with how it is guided."""

    optimizer: optimizers.Optimizer
    layout: hyperparameters.Layout
    estimator: Estimator | None
    meta: Meta
    learning_rate: float | Callable[[jax.Array], Any]
    loss_fn: Callable[[Any, Any], jax.Array] | None
    settings: dict[str, Any]

    def init(self, params: Any) -> GuidedState:
        settings = jax.tree.map(jnp.copy, self.settings)  # its own: a donated state is used up
        raw = settings.pop("raw")
        values, learned = self.layout.values(raw), self.layout.learned
        inner = self.optimizer.init(params, self.layout.spread(values, params))
        carry = None
        if self.estimator is not None:
            carry = self.estimator.init(self.layout, params, inner, optimizer=self.optimizer)
        return GuidedState(
            step=jnp.zeros((), jnp.int32),
            optimizer=inner,
            raw=raw,
            values=values,
            hypergrads={name: jnp.full_like(raw[name], jnp.nan) for name in learned},
            guidance_loss=no_number(),
            meta=self.meta.init(self.layout, raw, settings["meta"]),
            carry=carry,
            settings=settings,
        )

    def update(
        self,
        grads: Any,
        state: GuidedState,
        params: Any = None,
        *,
        guidance_batch: Any = None,
        value: Any = None,
        **_: Any,
    ) -> tuple[Any, GuidedState]:
        """optax's update; `value` is the training loss, by optax's name for it."""
        estimator, layout = self.estimator, self.layout
        needs_batch = estimator is not None and estimator.needs_guidance_batch
        needs_loss = estimator is not None and estimator.watches_loss and "alpha" in layout.learned
        _want(params is not None, "params", "the parameters")
        _want(not needs_batch or guidance_batch is not None, "guidance_batch", "a held-out batch")
        _want(not needs_loss or value is not None, "value", "the training loss")
        as_float = jnp.result_type(float)
        given = self.learning_rate(state.step) if callable(self.learning_rate) else self.learning_rate
        rate = jnp.asarray(given, as_float)

        def move(raw: Raw, params: Any, inner: Any, grads: Any) -> tuple[Any, Any]:
            spread = layout.spread(layout.values(raw), params)
            return self.optimizer.update(grads, inner, params, {**spread, "learning_rate": rate})

        scene = Scene(
            layout=layout,
            raw=state.raw,
            params=params,
            opt_state=state.optimizer,
            grads=grads,
            loss=jnp.asarray(jnp.nan if value is None else value, as_float),
            step=state.step,
            numbers=state.settings["estimator"],
            optimizer=self.optimizer,
            move=move,
            values=lambda raw: {**layout.values(raw), "learning_rate": rate},
            guidance_loss=self.loss_fn,
            guidance_batch=guidance_batch,
        )
        after = guided_update(
            scene,
            estimator=estimator,
            meta=self.meta,
            carry=state.carry,
            state=state.meta,
            settings=state.settings,
        )
        return after.updates, state._replace(
            step=state.step + 1,
            optimizer=after.opt_state,
            raw=after.raw,
            values=layout.values(after.used),
            hypergrads=after.hypergrads,
            guidance_loss=after.guidance_loss,
            meta=after.meta,
            carry=after.carry,
        )


def _want(given: bool, name: str, what: str) -> None:
    if not given:
        raise ValueError(f"This guided update needs {what}. Pass {name}= to update.")


def _refuse(
    chosen: optimizers.Optimizer, layout: hyperparameters.Layout, estimator: Any, loss_fn: Any
) -> None:
    known = chosen.hypers
    problems = refusals(estimator, layout, per_leaf=chosen.per_leaf)
    problems += [
        f"{s.name} is no hyperparameter of this optimizer. Allowed: {', '.join(sorted(known))}."
        for s in layout.shapes
        if s.name not in known and not s.in_loss
    ]
    problems += [
        f"{name} acts in the training loss, whose gradient is given here. It can be learned only in "
        f"trainer.training.step, which takes that gradient itself."
        for name in layout.in_loss
    ]
    if estimator is not None and estimator.needs_guidance_batch and loss_fn is None:
        problems.append(f"{type(estimator).__name__} needs a loss. Pass loss_fn(params, batch).")
    if problems:
        raise ValueError("\n".join(problems))
