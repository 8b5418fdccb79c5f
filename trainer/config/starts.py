"""From which value does a hyperparameter of a run start, as far as the config says? Standard library only."""

from __future__ import annotations

from trainer.config.choices import OPTIMIZERS
from trainer.config.learnable import IN_LOSS, LEARNABLE
from trainer.config.sections import Sections


def start_of(config: Sections, name: str) -> float | None:
    """None where the optimizer's own start is meant and is above 0."""
    if name in config.optimizer.more:
        return float(config.optimizer.more[name])
    section, *inside = LEARNABLE[name].path.split(".")
    value: float | None = getattr(getattr(config, section), inside[0], None) if len(inside) == 1 else None
    known = OPTIMIZERS.get(config.optimizer.name)
    return 0.0 if value is None and known and known.numbers.get(name) == 0.0 else value


def starts_in_loss(config: Sections) -> dict[str, float]:
    """Of what acts in the training loss of this run."""
    starts = {name: start_of(config, name) or 0.0 for name in IN_LOSS}
    return {name: start for name, start in starts.items() if start or name in config.guidance.learn}
