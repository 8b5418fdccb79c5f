"""An entry: the name that stands in studies and in people's code."""

from orchestrator.entrypoints.tune import Training, trainable

__all__ = ["Training", "trainable"]
