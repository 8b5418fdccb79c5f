"""Which pieces are sentences made of? SentencePiece, unigram, one vocabulary for both languages.

Ids 0, 1 and 2 are padding, the end of a sentence and what no piece covers; there is no id for a beginning.
Text is taken as it is: no normalisation, so that digits and letters of every alphabet come back.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trainer.data.contract import DataError, Pairs

PAD, END, UNKNOWN = 0, 1, 2
LEARNED_FROM = 500_000  # sentences a side at most, evenly spread: more change little and take minutes


class Vocabulary:
    """A trained SentencePiece model."""

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self._model = model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.size = int(self._pieces.vocab_size())
        self.fingerprint = hashlib.sha256(model).hexdigest()

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        return cls(path.read_bytes())

    def save(self, path: Path) -> None:
        _whole(path, self._model)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Ids, the end apart."""
        ids: list[list[int]] = self._pieces.encode(list(sentences), num_threads=1)
        return ids

    def decode(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """Sentences; padding, ends and what is no piece are left out."""
        known = [[i for i in row if i > UNKNOWN and i < self.size] for row in ids]
        sentences: list[str] = self._pieces.decode(known)
        return sentences


class TooManyPieces(DataError):
    """The text does not carry so large a vocabulary; `most` is the largest that it does."""

    def __init__(self, asked: int, most: int) -> None:
        self.most = most
        super().__init__(
            f"The vocabulary is to have {asked:,} pieces, and this text carries {most:,} at most. "
            f"Set data.vocabulary to {most} or less, or 0 for what fits."
        )


def vocabulary(pairs: Pairs, *, size: int, fingerprint: str, home: Path) -> Vocabulary:
    """The vocabulary of this text (`fingerprint`), trained once and kept under `home`."""
    import sentencepiece

    key = f"{fingerprint} {size} {LEARNED_FROM} {sentencepiece.__version__}"
    path = home / f"vocabulary-{size}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.model"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        _whole(path, _trained(_sample(pairs), size=size))
    return _open(path)


@functools.lru_cache(maxsize=4)
def _open(path: Path) -> Vocabulary:
    return Vocabulary.from_file(path)


def _sample(pairs: Pairs) -> Iterator[str]:
    stride = max(1, -(-len(pairs) // LEARNED_FROM))
    for i in range(0, len(pairs), stride):
        yield from pairs[i]


def _trained(sentences: Iterator[str], *, size: int) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            pad_id=PAD,
            eos_id=END,
            unk_id=UNKNOWN,
            bos_id=-1,
            num_threads=1,  # more of them give other pieces
            minloglevel=2,
        )
    except RuntimeError as problem:
        if most := re.search(r"value <= (\d+)", str(problem)):
            raise TooManyPieces(size, int(most[1])) from None
        if least := re.search(
            r"required_chars.*?(\d+) vs|smaller than required_chars. \d+ vs (\d+)", str(problem)
        ):
            needed = next(n for n in reversed(least.groups()) if n)
            raise DataError(
                f"The vocabulary is to have {size:,} pieces, and the letters of this text alone need more "
                f"({needed}). Raise data.vocabulary."
            ) from None
        raise DataError(f"No vocabulary could be made of this text: {problem}") from problem
    return model.getvalue()


def _whole(path: Path, content: bytes) -> None:
    """The file is there whole or not at all, whoever else writes the same."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
