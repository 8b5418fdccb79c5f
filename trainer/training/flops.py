"""How many floating-point operations does a model need? By formula, so that speed is not judged by waste.

Counted are the matrix products, two operations for each multiply-add, padding included; what is computed
twice under remat counts once. The backward pass needs two products for each one of the forward pass.
"""

from __future__ import annotations

from trainer.models.sizes import Settings

TRAIN_OVER_FORWARD = 3


def forward_flops(settings: Settings, *, rows: int, source_length: int, target_length: int) -> int:
    """Of a batch, without a backward pass."""
    s = settings
    projection = s.d_model * s.d_attention  # each of query, key, value, out
    feed_forward = s.d_model * s.d_ff * (3 if s.activation == "gated-gelu" else 2)
    if s.one_stack:  # over both, and logits of the target's positions alone
        length = source_length + target_length
        tokens = s.layers * (4 * projection + feed_forward) * length
        pairs = s.layers * length**2
        return 2 * rows * (tokens + s.d_model * s.vocabulary * target_length + 2 * s.d_attention * pairs)
    per_source = (
        s.layers * (4 * projection + feed_forward) + s.of_decoder * 2 * projection
    )  # cross keys, values
    per_target = s.of_decoder * (4 * projection + feed_forward + 2 * projection) + s.d_model * s.vocabulary
    # Scores, and their mix.
    pairs = s.layers * source_length**2 + s.of_decoder * (target_length**2 + target_length * source_length)
    attention = 2 * s.d_attention * pairs
    return 2 * rows * (per_source * source_length + per_target * target_length + attention)


def train_flops(settings: Settings, *, rows: int, source_length: int, target_length: int) -> int:
    """Of one plain training step on a batch, the optimizer left out."""
    return TRAIN_OVER_FORWARD * forward_flops(
        settings, rows=rows, source_length=source_length, target_length=target_length
    )
