"""What is a training run, as values that can be checked? Standard library only: a host reads it too."""

from trainer.config.choices import MODELS, Dimensions
from trainer.config.config import TrainConfig, canonical, check, fingerprint, named_files, with_values
from trainer.config.reading import ConfigError
from trainer.config.sections import DataConfig, MeshConfig, ModelConfig, papers_rate

__all__ = [
    "MODELS",
    "ConfigError",
    "DataConfig",
    "Dimensions",
    "MeshConfig",
    "ModelConfig",
    "TrainConfig",
    "canonical",
    "check",
    "fingerprint",
    "named_files",
    "papers_rate",
    "with_values",
]
