"""How does a user's own text become pairs: one TSV, two aligned files, or JSON lines?

Each may be compressed (.gz, .bz2, .xz). A folder may hold a text for every split; a single text is all train.
A task's rows are pairs of an input and a target, and are read likewise.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainer.data.contract import DataError

_OPENERS: Mapping[str, Any] = MappingProxyType(
    {"": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
)
_JSON = (".jsonl", ".ndjson", ".json")
_TABBED = (".tsv", ".txt")
# How people name the splits in a folder.
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("train",),
        "guide": ("guide",),
        "select": ("select", "dev", "valid", "validation"),
        "test": ("test",),
    }
)
_ADVICE = (
    "Allowed are a TSV ({first}, tab, target), JSON lines (.jsonl), a folder with train.*, or the common "
    "beginning of two aligned files (path/train for train.{keys[0]} and train.{keys[1]}); each may end in "
    ".gz, .bz2 or .xz."
)
TASK = "input-target"  # in place of a pair of languages

Text = list[tuple[str, str]]
Files = Path | tuple[Path, Path]  # one text, or two aligned ones


@dataclass(frozen=True)
class _Sides:
    """What the two sides of a text are called, in files and to people."""

    keys: tuple[str, str]
    first: str
    whole: str

    @classmethod
    def of(cls, pair: str) -> _Sides:
        source, _, target = pair.partition("-")
        first, whole = ("input", "row") if pair == TASK else ("source", "pair")
        return cls((source, target), first, whole)

    def advice(self) -> str:
        return _ADVICE.format(first=self.first, keys=self.keys)

    def named(self, sides: list[str]) -> str:
        """Which of them is empty."""
        return f"the {self.whole if not any(sides) else self.first if not sides[0] else 'target'}"

    def keys_in(self, value: Any) -> tuple[str, str] | None:
        allowed = (self.keys,) if self.first == "input" else (self.keys, ("source", "target"))
        return next((keys for keys in allowed if _holds(value, keys)), None)

    def allowed_keys(self) -> str:
        mine = f"{self.keys[0]!r} and {self.keys[1]!r}"
        return mine if self.first == "input" else f"{mine}, or 'source' and 'target'"


def read(path: str | Path, *, pair: str) -> dict[str, Text]:
    """The splits that a path holds: of a folder what is there, of anything else `train` alone."""
    return {split: _read(files, _Sides.of(pair)) for split, files in found(path, pair=pair).items()}


def found(path: str | Path, *, pair: str) -> dict[str, Files]:
    """The files of each split, unread. DataError where they are not there."""
    place, sides = Path(path).expanduser(), _Sides.of(pair)
    if place.is_dir():
        return _folder(place, sides)
    train: list[Files] = [place] if place.is_file() else _texts(place, sides.keys)
    if not train:
        raise DataError(f"{place} is neither a text nor the beginning of one. {sides.advice()}")
    return {"train": _only(train, place)}


def of_documents(place: Path) -> list[Path]:
    """The files of unlabelled text that a path holds, unread, in their order."""
    endings = (".txt", *_JSON)
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataError(
            f"{place} is neither a file nor a folder. Allowed are a text with a document on each line, JSON "
            f"lines ({', '.join(_JSON)}), or a folder of such files; each may end in .gz, .bz2 or .xz."
        )
    texts = [
        file
        for file in sorted(place.iterdir())
        if file.is_file() and _ending(file) in endings and not file.name.startswith(".")
    ]
    if not texts:
        held = ", ".join(sorted(file.name for file in place.iterdir())[:10]) or "nothing"
        raise DataError(
            f"{place} has no text; it holds {held}. Allowed are files that end in {', '.join(endings)}, and "
            f"after that maybe in .gz, .bz2 or .xz."
        )
    return texts


def _folder(place: Path, sides: _Sides) -> dict[str, Files]:
    splits: dict[str, Files] = {}
    for split, names in _NAMES.items():
        there = [text for name in names for text in _texts(place / name, sides.keys)]
        if there:
            splits[split] = _only(there, place / names[0])
    if "train" not in splits:
        held = ", ".join(sorted(p.name for p in place.iterdir())[:10]) or "nothing"
        raise DataError(f"{place} has no train.*; it holds {held}. {sides.advice()}")
    return splits


def _texts(prefix: Path, languages: tuple[str, str]) -> list[Files]:
    """Each text that begins so: a file, or two aligned ones."""
    found: list[Files] = [file for ending in (*_TABBED, *_JSON) if (file := _on_disk(prefix, ending))]
    sides = [_on_disk(prefix, f".{language}") for language in languages]
    if sides[0] and sides[1]:
        found.append((sides[0], sides[1]))
    elif sides[0] or sides[1]:
        there, missing = sides[0] or sides[1], languages[0 if sides[1] else 1]
        raise DataError(
            f"{there} is there and {prefix}.{missing} is not. Allowed are both: add the other side."
        )
    return found


def _on_disk(prefix: Path, ending: str) -> Path | None:
    for compressed in _OPENERS:
        file = prefix.with_name(f"{prefix.name}{ending}{compressed}")
        if file.is_file():
            return file
    return None


def _only(found: list[Files], place: Path) -> Files:
    if len(found) > 1:
        names = ", ".join((text if isinstance(text, Path) else text[0]).name for text in found)
        raise DataError(
            f"{place} stands for {len(found)} texts: {names}. Allowed is one for each split: "
            f"name the file itself, or move the others away."
        )
    return found[0]


def _read(text: Files, sides: _Sides) -> Text:
    if not isinstance(text, Path):
        pairs = _aligned(*text, sides)
    elif is_json(text):
        pairs = _json_lines(text, sides)
    else:
        pairs = _tabbed(text, sides)
    if not pairs:
        raise DataError(
            f"{text if isinstance(text, Path) else text[0]} is empty. Put at least one {sides.whole} in it."
        )
    return pairs


def _aligned(source: Path, target: Path, of: _Sides) -> Text:
    sides = [[line.strip() for line in lines(file)] for file in (source, target)]
    if len(sides[0]) != len(sides[1]):
        short, long = sorted((len(s), f) for s, f in zip(sides, (source, target), strict=True))
        raise DataError(
            f"{short[1]} ends after line {short[0]}, and {long[1]} has {long[0]} lines. Aligned files have "
            f"one line for each {of.whole}: find the line that one of them lacks."
            f"{_first_bare(sides, (source, target))}"
        )
    for file, side in zip((source, target), sides, strict=True):
        _refuse_empty(file, [(at, "this side") for at, line in enumerate(side, start=1) if not line], of)
    return list(zip(*sides, strict=True))


def _first_bare(sides: list[list[str]], files: tuple[Path, Path]) -> str:
    """The first line of two files with a carriage return in it: some may have been meant to end there."""
    for file, side in zip(files, sides, strict=True):
        for at, line in enumerate(side, start=1):
            if "\r" in line:
                return f" {file}, line {at}, has {_bare(line.encode())} in it. {_CARRIAGE_RETURNS}"
    return ""


def _tabbed(file: Path, sides: _Sides) -> Text:
    pairs: Text = []
    empty: list[tuple[int, str]] = []
    for at, line in enumerate(lines(file), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 and line.strip():
            have = "no tab" if len(columns) == 1 else f"{len(columns)} columns"
            raise DataError(
                f"{file}, line {at}: it has {have}. Allowed are two columns, {sides.first} and target, "
                f"with one tab between them; of two aligned files name the common beginning.{_if_bare(line)}"
            )
        if not all(columns):
            empty.append((at, sides.named(columns)))
        pairs.append((columns[0], columns[-1]))
    _refuse_empty(file, empty, sides)
    return pairs


def _json_lines(file: Path, sides: _Sides) -> Text:
    pairs: Text = []
    empty: list[tuple[int, str]] = []
    for at, line in enumerate(lines(file), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{file}, line {at}: it is no JSON ({error}). Put one object on each line.{_if_bare(line)}"
            ) from None
        keys = sides.keys_in(value)
        if keys is None:
            raise DataError(
                f"{file}, line {at}: {line[:60]!r} lacks a side. Allowed are objects with two texts, "
                f"{sides.allowed_keys()}."
            )
        source, target = (value[key].strip() for key in keys)
        if not (source and target):
            empty.append((at, sides.named([source, target])))
        pairs.append((source, target))
    _refuse_empty(file, empty, sides)
    return pairs


def _refuse_empty(file: Path, empty: list[tuple[int, str]], sides: _Sides) -> None:
    """Names the first and counts the others: one look finds them all."""
    if empty:
        (at, which), *others = empty
        more = (
            ""
            if not others
            else " Another line is like it."
            if len(others) == 1
            else (f" {len(others):,} other lines are like it.")
        )
        raise DataError(f"{file}, line {at}: {which} is empty. {_EMPTY.format(sides.whole)}{more}")


def _holds(value: Any, keys: Iterable[str]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys)


def lines(file: Path, *, most_bytes: int = 0) -> Iterator[str]:
    """The lines of a text, which may be compressed. One of more than `most_bytes`, where that is not 0, is
    refused before it is in memory."""
    try:
        with _OPENERS[_compression(file)](file, "rb") as stream:
            limited = _no_longer_than(most_bytes, stream, file) if most_bytes else stream
            yield from text_lines(limited, str(file))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}. Check its rights, and that it is whole.") from None


def _no_longer_than(most_bytes: int, stream: Any, file: Path) -> Iterator[bytes]:
    at = 0
    while line := stream.readline(most_bytes + 1):
        at += 1
        if len(line) > most_bytes:
            raise DataError(
                f"{file}, line {at}: it has more than {most_bytes:,} bytes. Allowed is at most so many: "
                f"break it into several lines."
            )
        yield line


def text_lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """The lines without their ends, which are line feeds: other separators are part of sentences. A text all
    of whose lines end in a carriage return alone would be one line, and is refused."""
    every = iter(stream)
    first = next(every, None)
    if first is None:
        return
    begun = [first]
    if b"\r" in first.rstrip(b"\r\n"):
        begun += [second for second in (next(every, None),) if second is not None]
        if len(begun) == 1:
            raise DataError(f"{name} is a single line with {_bare(first)} in it. {_CARRIAGE_RETURNS}")
    for at, line in enumerate(chain(begun, every), start=1):
        encoding = "utf-8-sig" if at == 1 else "utf-8"  # there may be a byte order mark
        yield decoded(line, f"{name}, line {at}", encoding=encoding).rstrip("\r\n")


def decoded(line: bytes, where: str, *, encoding: str = "utf-8") -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start + 1} is {error.object[error.start]:#04x}, not UTF-8. Allowed is "
            f"UTF-8: convert it, such as with iconv."
        ) from None


def _bare(line: bytes) -> str:
    count = line.rstrip(b"\r\n").count(b"\r")
    return "a bare carriage return (CR)" if count == 1 else f"{count:,} bare carriage returns (CR)"


def _if_bare(line: str) -> str:
    """What else may be wrong with a line that cannot be read."""
    return f" It has {_bare(line.encode())} in it. {_CARRIAGE_RETURNS}" if "\r" in line else ""


def is_plain(file: Path) -> bool:
    """Is it not compressed?"""
    return not _compression(file)


def _ending(file: Path) -> str:
    """Such as .jsonl, whether or not the file is compressed."""
    return Path(file.name.removesuffix(_compression(file))).suffix


def is_json(file: Path) -> bool:
    """Has it an object on each line?"""
    return _ending(file) in _JSON


def _compression(file: Path) -> str:
    return file.suffix if file.suffix in _OPENERS else ""


_CARRIAGE_RETURNS = (
    "Lines end in a line feed (LF), which a CR may precede: convert it, such as with tr '\\r' '\\n'."
)
_EMPTY = "Allowed is text on both sides: fill it in, or take the {} out."
