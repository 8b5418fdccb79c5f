"""How is a text trained on while most of it is still being tokenised? A process beside the run makes parts.

It is `python -m trainer.data.awaited REQUEST`, ends with the run that it was started by, and says nothing:
where it fails, the run that waits does its work itself, and meets what was wrong. Of several runs on one
machine one makes parts, and the others wait for them.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from trainer.config import DataConfig
from trainer.data.contract import DataError
from trainer.data.documents import Documents, documents
from trainer.data.held_out import Shares
from trainer.data.parts import Note, Parts, turn
from trainer.data.vocabulary import Vocabulary

_log = logging.getLogger("trainer")
LOOKS_EVERY_S = 0.2
SAYS_EVERY_S = 30.0
_NICENESS = 10  # the run goes first
_MODEL = "vocabulary.model"


@dataclass(frozen=True)
class Held:
    """A split that is in memory, in one part."""

    ids: np.ndarray

    def part(self, number: int) -> np.ndarray:
        if number:
            raise IndexError(f"There is no part {number}: there is one, 0.")
        return self.ids

    def parts(self) -> int:
        return 1


class Awaited:
    """The train split, in parts that are there, being made, or made now. It ends after `most_tokens`, where
    that is not 0. `beside`: another process is to make what is not there."""

    def __init__(
        self, parts: Parts, data: DataConfig, *, home: Path, most_tokens: int = 0, beside: bool = True
    ) -> None:
        self._parts, self._data, self._home = parts, data, home
        self._most, self._beside = most_tokens, beside
        self._process: subprocess.Popen[bytes] | None = None
        self._said_s = time.monotonic()
        self._told_short = False

    def part(self, number: int) -> np.ndarray:
        """One of them, from 0; waits until it is there. IndexError: there are no more."""
        each = self._parts.part_tokens
        if number < 0 or (self._most and number * each >= self._most):
            raise IndexError(f"There is no part {number}: data.tokens is {self._most:,}, of {each:,} a part.")
        while (found := self._parts.read(number)) is None:
            if (whole := self._parts.end()) is not None and number >= self._parts.count(whole.tokens):
                self._say_where_short(whole)
                raise IndexError(f"There is no part {number}: there are {self._parts.count(whole.tokens)}.")
            self._wait_for(number)
        if self.parts() is None:
            self._say_progress()
            self.go_on()
        return found[: self._most - number * each] if self._most else found

    def parts(self) -> int | None:
        """How many there are; None while that is not known."""
        tokens = self.tokens()
        return None if tokens is None else self._parts.count(tokens)

    def tokens(self) -> int | None:
        """How many there are; None while that is not known."""
        whole = self._parts.end()
        if whole is None:
            return self._most if 0 < self._most <= self.newest().tokens else None
        self._say_where_short(whole)
        return min(whole.tokens, self._most or whole.tokens)

    def newest(self) -> Note:
        """What is known of the text so far."""
        return self._parts.newest()

    def go_on(self) -> None:
        """Let what is not there be made beside this process, unless that is done, begun, or has failed."""
        if not self._beside or self._process is not None or self._parts.end() is not None:
            return
        if self._most and self._parts.is_there(self._last()):
            return
        if not (model := self._parts.folder / _MODEL).exists():
            self._parts.vocabulary.save(model)
        request = {
            "data": asdict(self._data),
            "home": str(self._home),
            "folder": str(self._parts.folder),
            "shares": asdict(self._parts.shares),
            "part_tokens": self._parts.part_tokens,
            "identity": self._parts.documents.identity,
            "upto": self._last(),
            "parent": os.getpid(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer.data.awaited", json.dumps(request)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C asks the run to save and stop
        )
        weakref.finalize(self, _ended, self._process)

    def _last(self) -> int:
        """The number of the last part that is wanted."""
        return self._parts.count(self._most or 2**62) - 1

    def _wait_for(self, number: int) -> None:
        """Until something may have changed: for the process beside, or another run, or by making it here."""
        if self._process is not None and self._process.poll() is None:
            self._look_again()
            return
        with turn(self._parts.folder, wait=False) as mine:
            if mine:
                _require_same(documents(self._data, home=self._home), self._parts.documents.identity)
                for _ in self._parts.make(upto=number):
                    self._say_progress()
        if not mine:
            self._look_again()
        elif self._process is not None and self._process.returncode == 0:
            self._process = None  # it left the work to a run that has ended

    def _look_again(self) -> None:
        self._say_progress()
        time.sleep(LOOKS_EVERY_S)

    def _say_progress(self) -> None:
        if time.monotonic() - self._said_s < SAYS_EVERY_S or self.tokens() is not None:
            return
        self._said_s = time.monotonic()
        note, text = self.newest(), self._parts.documents
        done, of = (
            (note.tokens, self._most) if self._most else (note.counts.get("letters", 0), text.size_bytes)
        )
        share = f", about {min(99, 100 * done // of)} % of what is read" if of else ""
        _log.info("%s: %s tokens are there%s; the rest is made.", text.name, f"{note.tokens:,}", share)

    def _say_where_short(self, whole: Note) -> None:
        if self._most > whole.tokens and not self._told_short:
            self._told_short = True
            _log.warning(
                "%s has %s tokens to train on, and data.tokens is %s: all of them are used.",
                self._parts.documents.name, f"{whole.tokens:,}", f"{self._most:,}",
            )  # fmt: skip


def _require_same(found: Documents, identity: str) -> None:
    if found.identity != identity:
        raise DataError(f"{found.name} was changed while it was read. Start the run again.")


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # nothing is lost: a part is there whole or not at all
    process.wait()


def main(request: str) -> int:
    """Make parts until all are there, or the run that asked is gone."""
    asked = json.loads(request)
    os.nice(_NICENESS)
    text = documents(DataConfig(**asked["data"]), home=Path(asked["home"]))
    _require_same(text, asked["identity"])
    folder = Path(asked["folder"])
    parts = Parts(
        _until_gone(text, asked["parent"]),
        Shares(**asked["shares"]),
        Vocabulary.from_file(folder / _MODEL),
        folder,
        asked["part_tokens"],
    )
    while os.getppid() == asked["parent"]:
        with turn(folder, wait=False) as mine:
            if mine:
                for _ in parts.make(upto=asked["upto"]):
                    pass
                return 0
        time.sleep(LOOKS_EVERY_S)
    return 0


def _until_gone(text: Documents, parent: int) -> Documents:
    """The same documents, of which each looks whether the run is there."""

    def since(number: int) -> Iterator[str]:
        for document in text.since(number):
            if os.getppid() != parent:
                sys.exit(0)
            yield document

    return replace(text, since=since)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
