"""What do a config's optimizer, schedule and guidance come to? The recipe of a run, and its numbers.

Whatever an optimizer of optax refuses is refused here, before anything compiles.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from trainer.config import TrainConfig
from trainer.config.choices import LEARNED_SCHEDULE
from trainer.config.conflicts import learned_and_replayed
from trainer.config.reading import ConfigError
from trainer.guidance import Discounted, Forward, HeldOut, Hyper, Lagged, NextBatch, eta_for_reach
from trainer.guidance import lagged as lags
from trainer.guidance.contract import Estimator
from trainer.guidance.meta import SKIPPED_FIRST, meta_optimizer
from trainer.models import Settings, forward
from trainer.models.losses import token_cross_entropy
from trainer.optim import hyperparameters, optimizers, schedules
from trainer.optim.optimizers import Optimizer
from trainer.training.state import Recipe, declared, settings_of

REPLAYED = "replayed"
ETA = 0.01  # what served the one-step estimators at 400 steps; a long run wants a reach instead


@functools.cache  # equal settings share one function, and so one program
def loss_of(settings: Settings) -> Callable[..., jax.Array]:
    """The training loss of a Transformer; without dropout and smoothing that of guidance."""

    def loss_fn(params: Any, batch: Any, key: jax.Array, train: bool, label_smoothing: Any = None) -> Any:
        logits = forward(settings, params, batch, key=key if train else None)
        return token_cross_entropy(logits, batch["target_out"], label_smoothing=label_smoothing)

    return loss_fn


def recipe_of(
    config: TrainConfig, loss_fn: Callable[..., jax.Array]
) -> tuple[Recipe, tuple[Hyper, ...], dict[str, Any]]:
    """The recipe, its hyperparameters and all its numbers. ConfigError says what cannot be."""
    try:
        return _recipe_of(config, loss_fn)
    except ConfigError:
        raise
    except (ValueError, re.error) as problem:
        raise ConfigError(str(problem).splitlines()) from problem


def _recipe_of(
    config: TrainConfig, loss_fn: Callable[..., jax.Array]
) -> tuple[Recipe, tuple[Hyper, ...], dict[str, Any]]:
    optimizer, guidance = optimizer_of(config), config.guidance
    groups = tuple((name, str(pattern)) for name, pattern in guidance.groups.items())
    estimator = _estimator(config)
    hypers = declared(optimizer, _hypers(config, optimizer), estimator)
    if isinstance(estimator, Lagged):
        hypers = lags.trusted(hypers)
    meta = dict(guidance.meta)
    name, skip = str(meta.pop("name", "optax.adam")), int(meta.pop("skip", SKIPPED_FIRST))
    replays = re.fullmatch(LEARNED_SCHEDULE, config.schedule.name) is not None
    recipe = Recipe(
        loss_fn=loss_fn,
        optimizer=optimizer,
        layout=hyperparameters.layout(hypers, groups=groups),
        schedule=REPLAYED if replays else config.schedule.name,
        estimator=estimator,
        meta=meta_optimizer(name),
    )
    if replays:
        schedule = _by_group_if_grouped(schedules.load(_existing(config.schedule.name)), recipe.layout)
        problems = learned_and_replayed(config, schedule["values"])
        if problems:
            raise ConfigError(problems)
    else:
        schedule = schedules.numbers_of(warmup_steps=config.schedule.warmup_steps, steps=config.steps)
        starts = {h.name: h.start for h in hypers}
        if config.schedule.course:  # without one the numbers are those of every other run
            schedule["course"] = schedules.course_of(config.schedule.course, starts)
    numbers = settings_of(
        recipe,
        hypers,
        learning_rate=config.optimizer.learning_rate,
        schedule=schedule,
        eta=_etas(config, skip=skip),
        skip=skip,
        meta_values=meta,
    )
    return recipe, hypers, numbers


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(
            [f"schedule.name is {name!r}, and there is no such file. Name the schedule.npz of a run."]
        )
    return path


def _by_group_if_grouped(schedule: dict[str, Any], layout: hyperparameters.Layout) -> dict[str, Any]:
    """A curve with a number for each parameter group can be replayed only where there are groups."""
    grouped = [n for n, curve in schedule["values"].items() if curve.ndim > 1 and not layout.is_per_group(n)]
    if grouped:
        raise ValueError(
            f"The schedule holds {', '.join(grouped)} by parameter group, and this run has one number for "
            f"all parameters. Replay a schedule that was learned without per_group."
        )
    return schedule


def optimizer_of(config: TrainConfig) -> Optimizer:
    """The optimizer; whole numbers, switches and the like among its own are none of a config's."""
    name = config.optimizer.name
    if name in optimizers.OURS:
        return optimizers.by_name(name)
    return optimizers.by_name(name, **config.optimizer.more)


def _hypers(config: TrainConfig, optimizer: Optimizer) -> list[Hyper]:
    """Those that the config states, and those that learn. The rest are the optimizer's own."""
    known = {"alpha", "label_smoothing", *(name for name, _ in optimizer.defaults)}
    given = config.optimizer
    stated = {"alpha": given.alpha, "beta1": given.beta1, **given.more}
    stated |= {n: v for n in ("beta2", "eps", "weight_decay") if (v := getattr(given, n)) is not None}
    if config.loss.label_smoothing or "label_smoothing" in config.guidance.learn:
        stated["label_smoothing"] = config.loss.label_smoothing
    if given.beta1 == type(given)().beta1 and "beta1" not in known:
        del stated["beta1"]  # nobody asked for it
    learn = config.guidance.learn
    unknown = [name for name in (*stated, *learn, *config.schedule.course) if name not in known]
    if unknown:
        raise ConfigError(
            [
                f"optimizer.name is {given.name!r}, which has no {', '.join(dict.fromkeys(unknown))}. "
                f"Its numbers are {', '.join(sorted(known))}."
            ]
        )
    starts = dict(optimizer.defaults) | stated
    return [_hyper(config, name, start=starts[name]) for name in dict.fromkeys((*stated, *learn))]


def _hyper(config: TrainConfig, name: str, *, start: float) -> Hyper:
    own = {k: v for k, v in config.guidance.hypers.get(name, {}).items() if k != "eta"}
    return Hyper(name, float(start), learn=name in config.guidance.learn, **own)


def _estimator(config: TrainConfig) -> Estimator | None:
    guidance = config.guidance
    match guidance.estimator:
        case "held-out":
            return HeldOut(
                mode="reverse" if "label_smoothing" in guidance.learn else "dot",
                every_steps=guidance.every_steps,
                batch_fraction=guidance.batch_fraction,
            )
        case "forward":
            return Forward()
        case "next-batch":
            return NextBatch()
        case "discounted":
            return Discounted(discount=guidance.discount)
        case "lagged":
            return Lagged(
                lag_steps=guidance.lag_steps, anneal_steps=guidance.anneal_steps, steps=config.steps
            )
    return None


def _etas(config: TrainConfig, *, skip: int) -> dict[str, float]:
    """η̂ by name: its own, else the one for all, else the estimator's."""
    guidance = config.guidance
    every = guidance.eta
    if guidance.reach is not None:
        every = eta_for_reach(guidance.reach, steps=config.steps, every_steps=guidance.every_steps, skip=skip)

    def default(name: str) -> float:
        if every is not None:
            return every
        return lags.ETA.get(name, ETA) if guidance.estimator == "lagged" else ETA * guidance.every_steps

    own = {name: guidance.hypers.get(name, {}).get("eta") for name in guidance.learn}
    return {name: default(name) if eta is None else float(eta) for name, eta in own.items()}


def guided_over_plain(config: TrainConfig) -> float:
    """The model FLOPs of a step over those of a plain one, by what an estimator computes besides."""
    guidance = config.guidance
    if guidance.estimator == "held-out":
        return 1.0 + guidance.batch_fraction / guidance.every_steps
    if guidance.estimator == "forward":  # a forward pass and its tangent for each number: 2 of a step's 3
        return 1.0 + 2 / 3 * len(guidance.learn)
    return 1.0
