"""What did an attempt print? Its stdout and stderr, in order, in one file of the attempt's folder.

One file for both, as W&B and Slurm keep it, since two would lose the order: a traceback stands behind the
line that was printed before it. A place in it is a number of bytes from the beginning. Of a long output the
head and the newest part are kept: what lies between is taken off the disk, and `output.dropped` says where
that is. The file keeps its size, a hole in it, so that no place ever moves and nobody who prints has to wait:
not the process itself, nor its children, which hold the same file.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ground.errors import NotFound
from trainer.protocol import whole

OUTPUT = "output.log"
DROPPED = "output.dropped"
NEWEST_BYTES = 5_000_000  # are kept at least, and up to twice as many
HEAD_BYTES = 250_000  # of the beginning, which are kept as well
MOST_READ = 1_000_000  # bytes in one answer
# Colours, cursor moves and titles: CSI and OSC sequences, and the two-character ones.
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"}
PUNCH_HOLE = 0x02 | 0x01  # of Linux' fallocate: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


@dataclass(frozen=True)
class Output:
    """A part of what an attempt printed. Places are bytes from the beginning of the attempt's output."""

    start: int  # of the text; more than was asked for where that is dropped
    next: int  # where the part that follows begins
    end: int  # of all that was printed so far
    dropped: int  # bytes of the whole that are not kept
    text: str


def read(folder: str | Path, *, offset: int = 0, most: int = MOST_READ) -> Output:
    """What was printed from that place on, up to what is dropped and to so many bytes."""
    path = Path(folder) / OUTPUT
    for gap in _gaps(path):
        end = _size(path)
        start = min(offset, end)
        if gap[0] <= start < gap[1]:
            start = gap[1]
        until = gap[0] if start < gap[0] < gap[1] else end
        data = _bytes(path, start, min(most, until - start))
    return _told(start, data, end, gap)


def tail(folder: str | Path, *, lines: int, most: int = MOST_READ) -> Output:
    """The last lines of it, at most so many bytes; `next` is the end."""
    path = Path(folder) / OUTPUT
    for gap in _gaps(path):
        end = _size(path)
        start = max(gap[1], end - most)
        data = _bytes(path, start, end - start)
    ends = data.endswith(b"\n")
    kept = b"\n".join(data.rsplit(b"\n", lines + ends)[-lines - ends :])
    return _told(start + len(data) - len(kept), kept, end, gap)


def everything(folder: str | Path, *, offset: int = 0) -> Iterator[str]:
    """All that is kept from that place on, with a line in place of what is not."""
    place = offset
    while True:
        part = read(folder, offset=place)
        if part.start > place:
            yield f"\n{gap_words(part.start - place)}\n"
        yield part.text
        if part.next <= place or part.next >= part.end:
            return
        place = part.next


def attempt_of(trial_id: str, attempts: int, asked: int | None) -> int:
    """The attempt whose output is meant, of a trial that has had so many: the newest by default."""
    if asked is not None and not 1 <= asked <= attempts:
        raise NotFound(f"The trial {trial_id} has had {attempts} attempts; there is no {asked}.")
    return attempts if asked is None else asked


def gap_words(count: int) -> str:
    """What stands in place of bytes that are not kept."""
    return f"… {count:,} bytes dropped …"


def shown_lines(text: str) -> list[str]:
    """Text as lines for a person: without colours and control characters; of a line that was written over,
    as a progress bar is, the last that was to be seen."""
    return [_shown(line) for line in text.removesuffix("\n").split("\n")] if text else []


def begin(folder: Path) -> int:
    """The file for an attempt to print to, as a descriptor. It is a fresh one: a worker that still lives, and
    was given up, keeps its own."""
    for name in (OUTPUT, DROPPED):
        (folder / name).unlink(missing_ok=True)
    return os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


def shorten(folder: Path) -> None:
    """Take the middle of a long output off the disk. For the process that prints it."""
    path = folder / OUTPUT
    size = _size(path)
    before = _gap(path)[1] or HEAD_BYTES
    if size - before <= 2 * NEWEST_BYTES:
        return
    after = size - NEWEST_BYTES
    with whole(folder / DROPPED) as unfinished:  # first, so that nobody reads the hole
        unfinished.write_text(f"{HEAD_BYTES} {after}")
    if not _punch(path, HEAD_BYTES, after - HEAD_BYTES):
        _write_anew(path, size, after)


def _punch(path: Path, start: int, count: int) -> bool:
    """Give the disk back what these bytes take. False where the system or the disk cannot."""
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError):  # not Linux
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    with path.open("r+b") as file:
        return bool(fallocate(file.fileno(), PUNCH_HOLE, start, count) == 0)


def _write_anew(path: Path, size: int, after: int) -> None:
    """The same with a file that is emptied and grown again. What is printed in between is lost."""
    with path.open("r+b") as file:
        head = file.read(HEAD_BYTES)
        file.seek(after)
        newest = file.read(size - after)
        file.truncate(0)
        file.truncate(size)
        for place, data in ((0, head), (after, newest)):
            file.seek(place)
            file.write(data)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _gap(path: Path) -> tuple[int, int]:
    """From where to where it is dropped; two zeros where nothing is."""
    try:
        start, end = map(int, path.with_name(DROPPED).read_text().split())
    except (FileNotFoundError, ValueError):
        return (0, 0)
    return (start, end)


def _gaps(path: Path) -> Iterator[tuple[int, int]]:
    """The gap, and again as long as it was another after what stands beside it was read."""
    seen = None
    while (gap := _gap(path)) != seen:
        yield gap
        seen = gap


def _bytes(path: Path, start: int, count: int) -> bytes:
    if count <= 0:
        return b""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)


def _told(start: int, data: bytes, end: int, gap: tuple[int, int]) -> Output:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data)
    unfinished = len(decoder.getstate()[0])  # bytes of a character that may still be written
    if unfinished == len(data):
        text, unfinished = decoder.decode(b"", final=True), 0
    return Output(start, start + len(data) - unfinished, end, gap[1] - gap[0], text)


def _shown(line: str) -> str:
    parts = [part for part in ANSI.sub("", line).split("\r") if part]
    return parts[-1].translate(CONTROL) if parts else ""
