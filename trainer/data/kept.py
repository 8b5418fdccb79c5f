"""Where is text kept that took seconds to make? In a file of JSON lines, written beside and renamed.

Two processes that make the same text at once do each other no harm: the last to rename wins, and both wrote
the same. A file that cannot be read is made again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from trainer.data.contract import DataError
from trainer.protocol import whole

Row = TypeVar("Row")


@dataclass(frozen=True)
class Kept(Sequence[Row], Generic[Row]):
    """Rows by number, with what they were made from."""

    rows: tuple[Row, ...]
    fingerprint: str  # sha256 of the text: equal fingerprints are equal text
    made_with: str  # versions, such as "cldr 1, babel 2.18.0, num2words 0.5.14"
    path: Path

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]


def kept(folder: Path, name: str, *, made_with: str, make: Callable[[], Iterable[Any]]) -> Kept[Any]:
    """The rows that `make` gives, from the file of that name and those versions if it is there."""
    path = folder / (re.sub(r"[^\w.]+", "-", f"{name}-{made_with}") + ".jsonl.gz")
    text = _read(path)
    if text is None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in make()).encode()
        # No time and no name in the header: equal text gives equal files.
        write_whole(path, gzip.compress(text, compresslevel=3, mtime=0))
    # One parse of one array takes less than half the time of a parse for each line.
    rows = json.loads(b"[" + text.rstrip(b"\n").replace(b"\n", b",") + b"]")
    return Kept(tuple(rows), hashlib.sha256(text).hexdigest(), made_with, path)


def _read(path: Path) -> bytes | None:
    try:
        return gzip.decompress(path.read_bytes()) or None  # checks the length and the CRC
    except FileNotFoundError:
        return None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    except OSError as why:
        raise DataError(f"{path} cannot be read ({why.strerror}). Delete it, and it is made again.") from why


def write_whole(path: Path, data: bytes) -> None:
    """The file is there whole or not at all, whoever else writes the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write_bytes(data)
    except OSError as why:
        raise DataError(
            f"{path} cannot be written ({why.strerror}). Make room, or name another folder in ORCH_HOME."
        ) from why
