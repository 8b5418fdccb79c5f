"""Which pieces are sentences made of? SentencePiece, unigram, one vocabulary for both languages.

Ids 0, 1 and 2 are padding, the end of a sentence and what no piece covers; there is no id for a beginning.
Text is taken as it is, spaces included: what was learned from comes back letter for letter. Every letter
of that text has a piece, so that only one it never had becomes id 2, and is left out of what comes back.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.choices import SENTINELS
from trainer.data.contract import DataError, Pairs
from trainer.data.kept import write_whole

PAD, END, UNKNOWN = 0, 1, 2
SENTINEL = "<extra_id_{}>"
_ROWS_DIVIDE_BY = 128
SPACE = "\u2581"  # what SentencePiece writes for one, before a word
LEARNED_FROM = 500_000  # pairs at most, evenly spread: more change little and take minutes
MOST_LETTERS = 1_000  # of 4 bytes at most, of a sentence: SentencePiece leaves out those above 4,192 bytes
SETTINGS: Mapping[str, Any] = {
    "model_type": "unigram",
    "character_coverage": 1.0,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "pad_id": PAD,
    "eos_id": END,
    "unk_id": UNKNOWN,
    "bos_id": -1,
    "num_threads": 1,  # more of them give other pieces
}


class Vocabulary:
    """A trained SentencePiece model. `rows`: how many the embedding of a given model has; those beyond the
    pieces are for so many sentinels, and to spare."""

    def __init__(self, model: bytes, *, rows: int = 0, sentinels: int = SENTINELS) -> None:
        import sentencepiece

        self._model = model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pieces = int(self._pieces.vocab_size())
        self.size = max(rows, self.pieces)  # of the embedding
        self.sentinels = self._own_sentinels(sentinels) or self._sentinels_above(rows, sentinels)
        self.fingerprint = hashlib.sha256(model).hexdigest()

    @classmethod
    def from_file(cls, path: Path, *, rows: int = 0, sentinels: int = SENTINELS) -> Vocabulary:
        try:
            model = path.read_bytes()
            return cls(model, rows=rows, sentinels=sentinels)
        except (OSError, RuntimeError) as problem:
            raise DataError(f"{path} is no vocabulary that can be read: {problem}.") from problem

    def _own_sentinels(self, most: int) -> tuple[int, ...]:
        """Pieces that the model has for them, <extra_id_0> first."""
        unknown = self._pieces.unk_id()
        found = (self._pieces.piece_to_id(SENTINEL.format(i)) for i in range(most))
        return tuple(int(at) for at in found if at != unknown)

    def _sentinels_above(self, rows: int, count: int) -> tuple[int, ...]:
        """So many ids above the pieces, <extra_id_0> the highest; none where there is no room for all."""
        above = self.pieces + count
        return tuple(range(above - 1, self.pieces - 1, -1)) if rows >= above else ()

    @property
    def never_written(self) -> tuple[int, ...]:
        """What no decoder writes: sentinels, and rows of the embedding that stand for nothing."""
        return tuple(sorted({*self.sentinels, *range(self.pieces, self.size)}))

    def save(self, path: Path) -> None:
        write_whole(path, self._model)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Ids, the end apart."""
        ids: list[list[int]] = self._pieces.encode(list(sentences), num_threads=1)
        return ids

    def whole_words(self, ids: Sequence[int], most: int) -> int:
        """How many of these ids are whole words, `most` at most; where the first word has more, `most`."""
        begins = (at for at in range(min(most, len(ids) - 1), 0, -1) if self._begins_word(ids[at]))
        return len(ids) if len(ids) <= most else next(begins, most)

    def _begins_word(self, number: int) -> bool:
        return str(self._pieces.id_to_piece(number)).startswith(SPACE)

    def decode(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """Sentences; padding, ends and what is no piece are left out."""
        known = [[int(i) for i in row if UNKNOWN < i < self.pieces] for row in ids]
        sentences: list[str] = self._pieces.decode(known)
        return sentences


@dataclass(frozen=True)
class Given:
    """A vocabulary's file that is taken as it is. `rows` of the embedding of a given model; 0: as T5 has
    them, sentinels included, in a number that 128 divides. Sentinels that the file has as pieces are taken,
    `sentinels` at most; else there are so many above the pieces, or none where the rows do not suffice."""

    file: Path
    rows: int = 0
    sentinels: int = SENTINELS

    def open(self) -> Vocabulary:
        pieces = Vocabulary.from_file(self.file, sentinels=self.sentinels)
        sentinels = 0 if pieces.sentinels else self.sentinels
        rows = self.rows or -(-(pieces.pieces + sentinels) // _ROWS_DIVIDE_BY) * _ROWS_DIVIDE_BY
        if pieces.pieces > rows:
            raise DataError(
                f"{self.file} has {pieces.pieces:,} pieces, and the embedding of the model has {rows:,} "
                f"rows. Allowed is the vocabulary that the model was trained with."
            )
        return Vocabulary.from_file(self.file, rows=rows, sentinels=self.sentinels)


class Beginnings:
    """Pairs with no more of each side than a vocabulary is learned from: SentencePiece leaves out sentences
    of more than 4,192 bytes, and would know nothing of a task whose inputs are all longer."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[str, str]:
        source, target = self._pairs[index]
        return source[:MOST_LETTERS], target[:MOST_LETTERS]


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

    made_by = [fingerprint, size, LEARNED_FROM, dict(SETTINGS), sentencepiece.__version__]
    key = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
    path = home / f"vocabulary-{size}-{key[:16]}.model"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        write_whole(path, learned(_sample(pairs), size=size))
    return _read(path)


@functools.lru_cache(maxsize=4)  # a warm process trains on the same text again and again
def _read(path: Path) -> Vocabulary:
    return Vocabulary.from_file(path)


def _sample(pairs: Pairs) -> Iterator[str]:
    stride = -(-len(pairs) // LEARNED_FROM)
    for i in range(0, len(pairs), max(1, stride)):
        yield from pairs[i]


def learned(sentences: Iterator[str], *, size: int) -> bytes:
    """A SentencePiece model."""
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences, model_writer=model, vocab_size=size, minloglevel=2, **SETTINGS
        )
    except RuntimeError as problem:
        said = str(problem)
        if most := re.search(r"too high .*<= (\d+)", said):
            raise TooManyPieces(size, int(most[1])) from None
        if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", said):
            raise DataError(
                f"The vocabulary is to have {size:,} pieces, and the letters of this text alone need "
                f"{int(least[1]):,}. Set data.vocabulary to that or more, or to 0 for what fits."
            ) from None
        if "sentences_.empty()" in said:
            raise DataError(
                "There is no sentence to learn a vocabulary from. Sentences above 4,192 bytes are left "
                "out; give others."
            ) from None
        raise DataError(f"No vocabulary could be made of this text: {said}") from problem
    return model.getvalue()
