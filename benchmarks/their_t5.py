"""Which T5 of Hugging Face transformers is compared with, and what is said where it is not installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `make bench` asks what is absent, and loads no JAX
    from trainer.models import Settings

# Of the scripts that compare with it: the packages that they import, all of the extra `bench-decode`.
NEEDED = {
    "decode_speed": ("transformers",),
    "finetune_speed": ("transformers", "accelerate"),
    "t5_step": ("transformers",),
}
MISSING = (
    "This benchmark compares with Hugging Face {names}, which {is_or_are} not installed. Install the extra "
    "`bench-decode`: pip install -e '.[bench-decode]'."
)


def absent(script: str) -> list[str]:
    """The packages that a script needs and that are not installed."""
    return [name for name in NEEDED.get(script, ()) if importlib.util.find_spec(name) is None]


def missing(names: Sequence[str]) -> str:
    return MISSING.format(names=" and ".join(names), is_or_are="is" if len(names) == 1 else "are")


def quiet() -> str:
    """What transformers warns of is none of ours. Its version."""
    warnings.simplefilter("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    return str(transformers.__version__)


def model_of(settings: Settings) -> Any:
    """T5ForConditionalGeneration of the same dimensions, with random weights of its own. The logits share the
    embedding, as transformers 5 has it whatever is asked for."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    s = settings
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=s.vocabulary,
            d_model=s.d_model,
            d_kv=s.head_dim,
            d_ff=s.d_ff,
            num_layers=s.layers,
            num_decoder_layers=s.of_decoder,
            num_heads=s.heads,
            feed_forward_proj=s.activation,
            dropout_rate=s.dropout,
            decoder_start_token_id=0,
        )
    )
