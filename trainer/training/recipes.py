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
from trainer.config.choices import ESTIMATORS, LEARNED_SCHEDULE, OFF, OPTIMIZERS
from trainer.config.conflicts import learned_and_replayed
from trainer.config.learnable import IN_LOSS
from trainer.config.reading import ConfigError
from trainer.config.registry import code
from trainer.guidance import Hyper, eta_for_reach
from trainer.guidance.contract import Estimator
from trainer.guidance.meta import SKIPPED_FIRST, meta_optimizer
from trainer.models import Settings, count_parameters, forward
from trainer.models.losses import token_cross_entropy
from trainer.optim import flat, hyperparameters, optimizers, schedules
from trainer.optim.optimizers import Optimizer
from trainer.training.state import Recipe, declared, settings_of

# 2 MB. At `tiny` (0.25 M) a vector saves 3 to 6 % of a step and a third of its compilation; at `small`
# (7.6 M) splitting and joining it cost 6 %.
MOST_IN_A_VECTOR = 500_000


@functools.cache  # equal settings share one function, and so one program
def loss_of(settings: Settings) -> Callable[..., jax.Array]:
    """The training loss of a Transformer; without dropout and smoothing that of guidance."""

    def loss_fn(params: Any, batch: Any, key: jax.Array, train: bool, label_smoothing: Any = None) -> Any:
        logits = forward(settings, params, batch, key=key if train else None)
        return token_cross_entropy(logits, batch["target_out"], label_smoothing=label_smoothing)

    return loss_fn


def vector_if_small(settings: Settings, recipe: Recipe, params: Any, *, devices: int) -> Any:
    """The parameters of a small model as one vector, where optimizer and estimator allow it; else the tree.

    The config alone decides, never the machine, so that a run goes on elsewhere in the same program."""
    small = count_parameters(params) <= MOST_IN_A_VECTOR and flat.parts_of(params).block >= flat.LEAST_BLOCK
    computed = settings.dtype == "float32" and not settings.scan_layers
    whole = devices == 1 and not recipe.layout.groups
    allowed = recipe.optimizer.by_vector and (recipe.estimator is None or recipe.estimator.by_vector)
    return flat.flattened(params) if small and computed and whole and allowed else params


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
    estimator = estimator_of(config)
    hypers = declared(optimizer, _hypers(config, optimizer), estimator)
    if estimator is not None:
        hypers = estimator.trusted(hypers)
    meta = dict(guidance.meta)
    name, skip = str(meta.pop("name", "optax.adam")), int(meta.pop("skip", SKIPPED_FIRST))
    replays = re.fullmatch(LEARNED_SCHEDULE, config.schedule.name) is not None
    recipe = Recipe(
        loss_fn=loss_fn,
        optimizer=optimizer,
        layout=hyperparameters.layout(hypers, groups=groups),
        estimator=estimator,
        meta=meta_optimizer(name),
    )
    if replays:
        recorded = schedules.load(_existing(config.schedule.name))
        schedule = _by_group_if_grouped(schedules.lasting(recorded, config.steps), recipe.layout)
        problems = learned_and_replayed(config, schedule["values"])
        if problems:
            raise ConfigError(problems)
    else:
        schedule = schedules.curves_of(
            config.schedule.name,
            warmup_steps=config.schedule.warmup_steps,
            steps=config.steps,
            courses=schedules.course_of(config.schedule.course, {h.name: h.start for h in hypers}),
        )
    numbers = settings_of(
        recipe,
        hypers,
        learning_rate=config.optimizer.learning_rate,
        schedule=schedule,
        eta=_etas(config, estimator, skip=skip),
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
    if config.keeps_no_momentum():
        return optimizers.by_name(name, momentum=False)
    return optimizers.by_name(name, **({} if name in OPTIMIZERS else config.optimizer.more))


def _hypers(config: TrainConfig, optimizer: Optimizer) -> list[Hyper]:
    """Those that the config states, and those that learn. The rest are the optimizer's own."""
    known = {*optimizer.hypers, *IN_LOSS}
    given = config.optimizer
    stated = {"alpha": given.alpha, "beta1": given.beta1, **given.more}
    stated |= {n: v for n in ("beta2", "eps", "weight_decay") if (v := getattr(given, n)) is not None}
    stated |= config.starts_in_loss()
    if "beta1" not in known and (given.beta1 == type(given)().beta1 or config.keeps_no_momentum()):
        del stated["beta1"]  # nobody asked for it, or it is 0
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


def estimator_of(config: TrainConfig) -> Estimator | None:
    name = config.guidance.estimator
    return None if name == OFF else code(ESTIMATORS[name].make)(config)


def _etas(config: TrainConfig, estimator: Estimator | None, *, skip: int) -> dict[str, float]:
    """η̂ by name: its own, else the one for all, else the estimator's."""
    if estimator is None:
        return {}
    guidance = config.guidance
    every = guidance.eta
    if guidance.reach is not None:
        between = estimator.every_steps
        every = eta_for_reach(guidance.reach, steps=config.steps, every_steps=between, skip=skip)
    own = {name: guidance.hypers.get(name, {}).get("eta", every) for name in guidance.learn}
    return {name: estimator.own_eta(name) if eta is None else float(eta) for name, eta in own.items()}
