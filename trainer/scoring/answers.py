"""What does a model write for a task's inputs, whatever stands beside them?

Each input gets an output, an empty one too. An input of more tokens than `data.source_tokens` is cut, as it
was in training, and no output has more than `data.target_tokens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from trainer.data.vocabulary import END, Vocabulary
from trainer.models import Settings
from trainer.scoring.decode import translate_all
from trainer.scoring.lines import Cut, Translated


def answers(
    inputs: Sequence[str],
    *,
    vocabulary: Vocabulary,
    settings: Settings,
    params: Any,
    devices: jax.sharding.Mesh | None,
    tokens: tuple[int, int],
    beam: int = 1,
    length_penalty: float = 0.6,
) -> Translated:
    """An output for each input, prefixes included. `tokens`: the most of an input and of an output, ends
    among them."""
    most, length = tokens
    encoded = vocabulary.encode(list(inputs))
    cuts = []
    for number, (text, ids) in enumerate(zip(inputs, encoded, strict=True)):
        if len(ids) >= most:
            kept = len(vocabulary.decode([ids[: most - 1]])[0].split())
            cuts.append(Cut(number, len(ids) + 1, len(text.split()), kept))
    sources = [[*ids[: most - 1], END] for ids in encoded]
    mesh = devices if devices is not None and devices.size > 1 else None
    written = translate_all(
        settings,
        params,
        sources,
        beam=beam,
        length_penalty=length_penalty,
        length=length,
        never=vocabulary.never_written,
        mesh=mesh,
    )
    return Translated(vocabulary.decode(written), cuts)
