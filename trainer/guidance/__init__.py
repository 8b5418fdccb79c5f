"""Hyperparameters that learn while a model trains: the public names, for training loops of any kind.

guided          an optax optimizer whose hyperparameters learn (docs/own-loop.md)
Hyper           one hyperparameter: start, activation, bounds, trust region, global or per group
HeldOut         estimators of the hypergradient: the paper's, whole or thinned
Forward         … the same by forward mode, cheapest exact one for a single number
NextBatch       … by the next training step's own gradient, nearly free
Discounted      … the same with a memory of past steps
Lagged          … by the path of some dozen steps ago
eta_for_reach   a meta learning rate from how far a raw value may move in a run
"""

from trainer.guidance.discounted import Discounted
from trainer.guidance.forward import Forward
from trainer.guidance.held_out import HeldOut
from trainer.guidance.lagged import Lagged
from trainer.guidance.meta import eta_for_reach
from trainer.guidance.next_batch import NextBatch
from trainer.guidance.wrap import guided
from trainer.optim.hyperparameters import Hyper

__all__ = [
    "Discounted",
    "Forward",
    "HeldOut",
    "Hyper",
    "Lagged",
    "NextBatch",
    "eta_for_reach",
    "guided",
]
