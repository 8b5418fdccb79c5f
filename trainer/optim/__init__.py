"""Which optimizers take their hyperparameters as traced values? Ours, and any of optax."""

from trainer.optim.optimizers import Optimizer, adafactor, adamw, by_name, from_optax, lamb, prodigy, sgd

__all__ = ["Optimizer", "adafactor", "adamw", "by_name", "from_optax", "lamb", "prodigy", "sgd"]
