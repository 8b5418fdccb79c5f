"""Which hyperparameters can a run learn? Each with its scale, where a config states it, and where it acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.config.scales import ENDS, Scale


@dataclass(frozen=True)
class Learnable:
    """`scale`: the coordinate in which it moves (C.5 of the paper for alpha and beta1; the same reasoning for
    the rest). `path`: where a config states its constant value. `in_loss`: it acts through the training loss,
    not in the optimizer."""

    name: str
    scale: Scale
    path: str
    in_loss: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """Between which values it can learn; both are out of reach."""
        return ENDS[self.scale]


LEARNABLE: Mapping[str, Learnable] = {
    each.name: each
    for each in (
        Learnable("alpha", "log", "optimizer.alpha"),
        Learnable("beta1", "logit", "optimizer.beta1"),
        Learnable("beta2", "logit", "optimizer.beta2"),
        Learnable("eps", "log", "optimizer.eps"),
        Learnable("weight_decay", "log", "optimizer.weight_decay"),
        Learnable("decay_rate", "log", "optimizer.more.decay_rate"),
        Learnable("label_smoothing", "logit", "loss.label_smoothing", in_loss=True),
    )
}
IN_LOSS = tuple(name for name, each in LEARNABLE.items() if each.in_loss)
COURSES = tuple(name for name in LEARNABLE if name not in IN_LOSS)  # what can take a static course
PAPERS = ("alpha", "beta1")  # what the paper learns; learned where nothing else is named
