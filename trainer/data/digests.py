"""Is a file what it was? Its size and time, and its content, hashed once for each of those and kept."""

from __future__ import annotations

import glob
import hashlib
import json
from pathlib import Path

from trainer.config import DataConfig
from trainer.config.choices import TASKS, source_of
from trainer.protocol import whole

Stamp = tuple[str, int, int]  # path, size and time


def digest_of(file: Path, *, home: Path) -> str:
    """Of its content, which may be gigabytes."""
    found = file.stat()
    key = json.dumps([str(file.resolve()), found.st_size, found.st_mtime_ns])
    kept = home / "digests" / hashlib.sha256(key.encode()).hexdigest()[:24]
    try:
        return kept.read_text(encoding="ascii")
    except (OSError, ValueError):
        pass
    with file.open("rb") as stream:
        found_now = hashlib.file_digest(stream, "sha256").hexdigest()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with whole(kept) as unfinished:
        unfinished.write_text(found_now, encoding="ascii")
    return found_now


def stamps_of(data: DataConfig) -> tuple[Stamp, ...]:
    """What changes when somebody writes a user's own files anew."""
    embedded = data.task in TASKS and not TASKS[data.task].needs_path
    if embedded or not (data.task or source_of(data.source).own_files):
        return ()
    path = Path(data.path or data.task).expanduser()
    beginnings = path.parent.glob(f"{glob.escape(path.name)}.*")
    files = path.iterdir() if path.is_dir() else (path, *beginnings)
    return tuple(sorted(stamp for file in files for stamp in stamp_of(file)))


def stamp_of(file: Path) -> tuple[Stamp, ...]:
    """None where there is no such file."""
    if not file.is_file():
        return ()
    of = file.stat()
    return ((str(file), of.st_size, of.st_mtime_ns),)
