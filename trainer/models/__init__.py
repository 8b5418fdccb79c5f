"""Which Transformer is trained, and what does it read?

A batch is a dict of int32 arrays, one row per example or per pack of examples; id 0 is padding:

    source          (rows, source length)   what is read
    target_in       (rows, target length)   what is written, shifted right; its first token may be id 0
    target_out      (rows, target length)   what is to be predicted; only the loss reads it
    source_segments, target_segments        packed rows only: the number of the example that a token belongs
                                            to, from 1 in order, 0 on padding; both or neither
    source_positions, target_positions      packed rows only, optional: where a token stands in its example;
                                            without them they are counted from the segments

The batch is the same whatever `Settings.stacks` says. One stack joins source and target inside and counts
places by itself; there a source may be empty, or its arrays of the length 0.

Rows that are not packed need no masks: a source token is padding where it is 0, and what follows the end
of a target is hidden from what comes before it.

    settings = model_settings(config.model, vocabulary=320)
    params = init_params(settings, seed=0)                       # numpy, float32
    logits = forward(settings, params, batch, key=key)           # key: of the dropout; None switches it off
    cache = start_decoding(settings, params, source, length=64)
    logits, cache = decode_step(settings, params, cache, tokens)
"""

from trainer.models.initial import init_params, param_shapes
from trainer.models.sizes import Settings, count_parameters, model_settings
from trainer.models.transformer import Transformer, decode_step, forward, start_decoding

__all__ = [
    "Settings",
    "Transformer",
    "count_parameters",
    "decode_step",
    "forward",
    "init_params",
    "model_settings",
    "param_shapes",
    "start_decoding",
]
