"""How does a text of gigabytes become tokens on disk, once and in parts, whoever is killed meanwhile?

A part is a file of a fixed number of tokens, written beside and renamed. A note that is there before it says
which place of the text comes next. So the parts are a function of the text and the vocabulary, and whoever
goes on after the last one makes the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from trainer.data.contract import DataError
from trainer.data.documents import Documents
from trainer.data.held_out import Shares, encoded
from trainer.data.kept import write_whole
from trainer.data.vocabulary import Vocabulary

PART_TOKENS = 2**22  # 16 MiB
_FORMAT = 1  # raised whenever other parts come out of the same text
_END = "end.json"
_ABANDONED_S = 3600.0  # nobody takes so long to write a part


@dataclass(frozen=True)
class Note:
    """What is known after a part. `counts`: of the documents before `number`, by kind, and their letters."""

    number: int = 0  # of the document that comes next
    begun: int = 0  # tokens of that document that are in the part already
    tokens: int = 0  # in all parts so far
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """The train split of a text on disk, as far as it has been made."""

    documents: Documents
    shares: Shares
    vocabulary: Vocabulary
    folder: Path
    part_tokens: int = PART_TOKENS

    @classmethod
    def under(
        cls, home: Path, documents: Documents, shares: Shares, vocabulary: Vocabulary, *, part_tokens: int
    ) -> Parts:
        import sentencepiece

        told = [_FORMAT, documents.identity, asdict(shares), vocabulary.fingerprint, part_tokens]
        key = hashlib.sha256(json.dumps([*told, sentencepiece.__version__]).encode()).hexdigest()[:24]
        return cls(documents, shares, vocabulary, home / "text" / key, part_tokens)

    def read(self, number: int) -> np.ndarray | None:
        """A part, mapped into memory; None where it is not there."""
        return np.memmap(self._file(number), "<i4", mode="r") if self.is_there(number) else None

    def is_there(self, number: int) -> bool:
        """Whole: a machine that lost its power may have left a shorter file."""
        note = self.note(number)
        if note is None:
            return False
        try:
            size = self._file(number).stat().st_size
        except OSError:
            return False
        return size == 4 * (note.tokens - number * self.part_tokens)

    def note(self, number: int) -> Note | None:
        return _note_in(self.folder / f"{number:06}.json")

    def end(self) -> Note | None:
        """What is known of the whole text; None until its last part is there."""
        return _note_in(self.folder / _END)

    def count(self, tokens: int) -> int:
        """How many parts have so many tokens."""
        return -(-tokens // self.part_tokens)

    def newest(self) -> Note:
        """What is known of the text so far."""
        there = sorted(self.folder.glob("[0-9]*.tokens"), reverse=True)
        notes = (self.note(int(file.stem)) for file in there)
        return self.end() or next((note for note in notes if note), Note())

    def make(self, *, upto: int) -> Iterator[int]:
        """The missing parts in their order, until that one is there or the text ends; the numbers of those
        that were made."""
        self._sweep()
        number = 0
        while number <= upto:
            if self.is_there(number):
                number += 1
                continue
            if (whole := self.end()) is not None and number >= self.count(whole.tokens):
                return
            after = self.note(number - 1) if number else None
            for ids, note, ended in self._made(after or Note()):
                if len(ids):
                    self._write(f"{number:06}.json", _json_of(note))
                    self._write(f"{number:06}.tokens", ids.tobytes())
                    yield number
                if ended:
                    self._write(_END, _json_of(note))
                    return
                number += 1
                if number > upto or self.is_there(number):
                    break

    def _made(self, after: Note) -> Iterator[tuple[np.ndarray, Note, bool]]:
        """Part, note, and whether the text ends with it, which may be with an empty one."""
        ids, size = np.empty(self.part_tokens, "<i4"), 0
        number, tokens, counts = after.number, after.tokens, Counter(after.counts)
        for each in encoded(
            self.documents, self.shares, self.vocabulary, wanted=("train",), since=after.number
        ):
            of_it = each.ids if each.ids is not None else ids[:0]
            begun = after.begun if each.number == after.number else 0
            while size + len(of_it) - begun >= self.part_tokens:
                taken = self.part_tokens - size
                ids[size:] = of_it[begun : begun + taken]
                begun, size, tokens = begun + taken, 0, tokens + self.part_tokens
                yield ids, Note(each.number, begun, tokens, dict(counts)), False
            ids[size : size + len(of_it) - begun] = of_it[begun:]
            size += len(of_it) - begun
            counts.update({each.kind: 1, "letters": each.letters})
            number = each.number + 1
        yield ids[:size], Note(number, 0, tokens + size, dict(counts)), True

    def _sweep(self) -> None:
        """Take away what those who were killed left unfinished."""
        for file in self.folder.glob("unfinished-*.tokens"):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < time.time() - _ABANDONED_S:
                    file.unlink()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.tokens"

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self.folder / name, data)


def _json_of(note: Note) -> bytes:
    return json.dumps(asdict(note)).encode()


def _note_in(file: Path) -> Note | None:
    try:
        return Note(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):  # absent, or damaged
        return None


@contextlib.contextmanager
def turn(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Is it this process's turn to make what goes into a folder? It is nobody else's on this machine while
    that lasts, and it ends with the process. Where files cannot be locked it is everybody's: all make the
    same."""
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / "lock").open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as why:
            if not folder.is_dir():
                raise DataError(
                    f"{folder} cannot be made ({why.strerror}). Make room, or name another folder in "
                    f"ORCH_HOME."
                ) from why
        yield True
