"""What is in an unlabelled text? Its documents, tokens, lengths and vocabulary, to people and to programs.

Of a large text the beginning is described, as far as a run needs it for its first step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import DataConfig
from trainer.config.choices import PREPARED_BY, source_of
from trainer.data import tfds
from trainer.data.corpus import told_lengths
from trainer.data.held_out import KINDS
from trainer.data.text import opened
from trainer.data.vocabulary import END, Given

_SAMPLES, _SAMPLE_LETTERS = 3, 200


def is_unlabelled(source: str, path: str) -> bool:
    """Has the source documents in place of pairs? A prepared set is looked at."""
    if source.startswith(PREPARED_BY):
        return tfds.is_documents(source.removeprefix(PREPARED_BY), data_dir=path)
    return source_of(source).documents


def figures(data: DataConfig, *, home: Path, given: Given | None = None) -> dict[str, Any]:
    text = opened(data, home=home, guide_tokens=1, given=given, beside=False)
    first = text.train.part(0)
    ends = np.flatnonzero(first == END)
    starts = np.concatenate([[0], ends + 1])[:_SAMPLES]
    samples = text.vocabulary.decode(
        [first[start:end].tolist() for start, end in zip(starts, ends[:_SAMPLES], strict=False)]
    )
    lengths = np.diff(ends, prepend=-1) if len(ends) else np.array([len(first)])  # a document without its end
    return {
        "name": text.name,
        "fingerprint": text.fingerprint,
        **text.record,
        "lengths": told_lengths(lengths),
        "samples": [sample[:_SAMPLE_LETTERS] for sample in samples],
    }


def for_people(found: dict[str, Any]) -> str:
    tokens, lengths, documents = found["tokens"], found["lengths"], found["documents"]
    said = [f"{found['name']}  ({found['fingerprint'][:12]}, {found['seconds']:.1f} s)", ""]
    if not found["whole"]:
        said += ["of its beginning, which a first step needs; a run goes on to read the rest", ""]
    said.append("split                documents        tokens")
    for kind in sorted(KINDS, key=("train", "guide", "select", "test").index):
        used = f"{tokens[kind]:,}" if kind in tokens else "when opened"
        said.append(f"  {kind:<12}{documents[kind]:>16,}{used:>14}")
    said += [
        f"  empty       {found['empty']:>16,}      left out",
        "",
        f"tokens of a document  mean {lengths['mean']:.1f}, median {lengths['median']:.0f}, "
        f"longest {lengths['longest']:,}",
        f"vocabulary            {found['pieces']:,} pieces, {found['sentinels']:,} sentinels",
        "",
        "such as",
        *(f"  {sample}" for sample in found["samples"]),
    ]
    return "\n".join(said)
