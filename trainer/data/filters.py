"""Which pairs of a text are worth training on, and how many does each filter leave?

One pass over the text (`survey`) notes a few numbers for each pair; the filters themselves are arithmetic on
those, so that a text of any size is read once and can stay on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainer.data.contract import Found, Numbered, Pairs, group_of

MOST_WORDS = 250  # a side; as in the filters of Moses and of most WMT systems
MOST_RATIO = 3  # of the longer side's words to the shorter's, which counts as at least
LEAST_WORDS = 3  # ... these: a short sentence may be one word in Finnish
SURE = 0.9  # of a side's being in the other language: at 0.5, names and file formats fall to it
ALL = ("empty", "length", "length ratio", "language", "duplicates")
OF_TASKS = ("duplicate inputs",)  # nothing is left out of a task for what it says
_AT_ONCE = 1024
_TELL_EVERY = 100_000
_MOST_COUNTED = 2**16 - 1
_SEEN, _FOREIGN, _UNSEEN = 0, 1, 2

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Survey:
    """Numbers by pair. 64 bits tell the sentences of 40 million pairs apart but for a chance of 4 in 10^5."""

    source: np.ndarray  # hash of the source, or of what keeps rows together, uint64
    both: np.ndarray  # hash of the pair, uint64
    source_words: np.ndarray  # uint16
    target_words: np.ndarray
    languages: np.ndarray  # uint8: as they should be, a side in the other's language, not looked at

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: np.ndarray) -> Survey:
        return Survey(**{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    @property
    def identified(self) -> bool:
        """Was the language of any pair looked at?"""
        return bool((self.languages != _UNSEEN).any())

    def save(self, file: Path) -> None:
        np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, file: Path) -> Survey | None:
        """None where the file is absent or damaged: it can be made again."""
        try:
            with file.open("rb") as stream, np.load(stream) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, EOFError, KeyError, ValueError, BadZipFile):
            return None


@dataclass(frozen=True)
class Count:
    """One line of the paper's Table 4 in the making."""

    name: str
    before: int
    after: int


def survey(
    pairs: Pairs, *, foreign: Callable[[str, str], bool] | None = None, tell: Tell | None = None
) -> Survey:
    """Read each pair once, in order. `foreign` says whether a side is in the other side's language."""
    size = len(pairs)
    seen = Survey(
        source=np.empty(size, np.uint64),
        both=np.empty(size, np.uint64),
        source_words=np.empty(size, np.uint16),
        target_words=np.empty(size, np.uint16),
        languages=np.full(size, _UNSEEN, np.uint8),
    )
    for at, pair in enumerate(in_order(pairs)):
        source, target = pair
        seen.source[at] = hash_of(group_of(pair))
        seen.both[at] = hash_of(f"{source}\0{target}")
        seen.source_words[at] = words = min(len(source.split()), _MOST_COUNTED)
        seen.target_words[at] = others = min(len(target.split()), _MOST_COUNTED)
        # The others are dropped for their length, and cost the most to identify.
        if foreign and 0 < words <= MOST_WORDS and 0 < others <= MOST_WORDS:
            seen.languages[at] = _FOREIGN if foreign(source, target) else _SEEN
        if tell and at and at % _TELL_EVERY == 0:
            tell(f"{at:,} of {size:,} pairs read")
    return seen


def sift(text: Survey, *, names: Sequence[str] = ALL) -> tuple[np.ndarray, list[Count]]:
    """The numbers of the pairs that pass all named filters, and what each of them left."""
    kept = np.arange(len(text))
    counts = []
    for name in names:
        before = len(kept)
        kept = kept[_passes(name, text.take(kept))]
        counts.append(Count(name, before, len(kept)))
    return kept, counts


def _passes(name: str, text: Survey) -> np.ndarray:
    shorter = np.minimum(text.source_words, text.target_words).astype(int)
    longer = np.maximum(text.source_words, text.target_words).astype(int)
    if name == "empty":
        return np.asarray(shorter > 0)
    if name == "length":
        return np.asarray(longer <= MOST_WORDS)
    if name == "length ratio":
        return np.asarray(longer <= MOST_RATIO * np.maximum(shorter, LEAST_WORDS))
    if name == "language":
        return np.asarray(text.languages != _FOREIGN)
    first = np.zeros(len(text), bool)
    same = text.source if name == "duplicate inputs" else text.both
    first[np.unique(same, return_index=True)[1]] = True
    return first


def identifier(pair: str) -> Callable[[str, str], bool] | None:
    """Is a side in the other side's language? None where py3langid does not know both of them.

    Restricted to the two, it sees swapped and copied sides; a text without letters is in neither.
    """
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    languages = tuple(pair.split("-"))
    model: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if not set(languages) <= set(model.labels):
        return None
    model.set_languages(languages)

    def foreign(*sides: str) -> bool:
        for side, language in zip(sides, languages, strict=True):
            found, probability = model.classify(side)
            if found != language and probability > SURE:
                return True
        return False

    return foreign


def in_order(rows: Numbered[Found]) -> Iterator[Found]:
    """All rows; from a file that can give `many` at once, in chunks."""
    many = getattr(rows, "many", None)
    for start in range(0, len(rows), _AT_ONCE):
        chunk = range(start, min(start + _AT_ONCE, len(rows)))
        yield from many(chunk) if many else (rows[index] for index in chunk)


def hash_of(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )
