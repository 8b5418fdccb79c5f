"""How does a user's own text become pairs: one TSV, two aligned files, or JSON lines?

Each may be compressed (.gz, .bz2, .xz). A folder may hold a text for every split; a single text is all train.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping
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
    "Allowed are a TSV (source, tab, target), JSON lines (.jsonl), a folder with train.*, or the common "
    "beginning of two aligned files (path/train for train.{} and train.{}); each may end in .gz, .bz2 or .xz."
)

Text = list[tuple[str, str]]


def read(path: str | Path, *, pair: str) -> dict[str, Text]:
    """The splits that a path holds: of a folder what is there, of anything else `train` alone."""
    place = Path(path).expanduser()
    languages = _languages(pair)
    if place.is_dir():
        return _folder(place, languages)
    found: list[Path | tuple[Path, Path]] = [place] if place.is_file() else _texts(place, languages)
    if not found:
        raise DataError(f"{place} is neither a text nor the beginning of one. {_ADVICE.format(*languages)}")
    return {"train": _read(_only(found, place), languages)}


def _folder(place: Path, languages: tuple[str, str]) -> dict[str, Text]:
    splits: dict[str, Text] = {}
    for split, names in _NAMES.items():
        found = [text for name in names for text in _texts(place / name, languages)]
        if found:
            splits[split] = _read(_only(found, place / names[0]), languages)
    if "train" not in splits:
        held = ", ".join(sorted(p.name for p in place.iterdir())[:10]) or "nothing"
        raise DataError(f"{place} has no train.*; it holds {held}. {_ADVICE.format(*languages)}")
    return splits


def _texts(prefix: Path, languages: tuple[str, str]) -> list[Path | tuple[Path, Path]]:
    """Each text that begins so: a file, or two aligned ones."""
    found: list[Path | tuple[Path, Path]] = [
        file for ending in (*_TABBED, *_JSON) if (file := _on_disk(prefix, ending))
    ]
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


def _only(found: list[Path | tuple[Path, Path]], place: Path) -> Path | tuple[Path, Path]:
    if len(found) > 1:
        names = ", ".join((text if isinstance(text, Path) else text[0]).name for text in found)
        raise DataError(
            f"{place} stands for {len(found)} texts: {names}. Allowed is one for each split: "
            f"name the file itself, or move the others away."
        )
    return found[0]


def _read(text: Path | tuple[Path, Path], languages: tuple[str, str]) -> Text:
    if not isinstance(text, Path):
        pairs = _aligned(*text)
    elif text.name.removesuffix(_compression(text)).endswith(_JSON):
        pairs = _json_lines(text, languages)
    else:
        pairs = _tabbed(text)
    if not pairs:
        raise DataError(
            f"{text if isinstance(text, Path) else text[0]} is empty. Put at least one pair in it."
        )
    return pairs


def _aligned(source: Path, target: Path) -> Text:
    sides = [[line.strip() for line in lines(file)] for file in (source, target)]
    if len(sides[0]) != len(sides[1]):
        short, long = sorted(((len(s), f) for s, f in zip(sides, (source, target), strict=True)), key=_count)
        raise DataError(
            f"{short[1]} ends after line {short[0]}, and {long[1]} has {long[0]} lines. Aligned files have "
            f"one line for each pair: find the line that one of them lacks."
        )
    for file, side in zip((source, target), sides, strict=True):
        if not all(side):
            raise DataError(f"{file}, line {side.index('') + 1}: this side is empty. {_EMPTY}")
    return list(zip(*sides, strict=True))


def _tabbed(file: Path) -> Text:
    pairs: Text = []
    for at, line in enumerate(lines(file), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 and line.strip():
            have = "no tab" if len(columns) == 1 else f"{len(columns)} columns"
            raise DataError(
                f"{file}, line {at}: it has {have}. Allowed are two columns, source and target, "
                f"with one tab between them; of two aligned files name the common beginning."
            )
        if not all(columns):
            raise DataError(f"{file}, line {at}: {_which(columns)} is empty. {_EMPTY}")
        pairs.append((columns[0], columns[1]))
    return pairs


def _json_lines(file: Path, languages: tuple[str, str]) -> Text:
    pairs: Text = []
    for at, line in enumerate(lines(file), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{file}, line {at}: it is no JSON ({error}). Put one object on each line."
            ) from None
        keys = next((k for k in (languages, ("source", "target")) if _holds(value, k)), None)
        if keys is None:
            raise DataError(
                f"{file}, line {at}: {line[:60]!r} lacks a side. Allowed are objects with two texts, "
                f"{languages[0]!r} and {languages[1]!r}, or 'source' and 'target'."
            )
        sides = [value[key].strip() for key in keys]
        if not all(sides):
            raise DataError(f"{file}, line {at}: {_which(sides)} is empty. {_EMPTY}")
        pairs.append((sides[0], sides[1]))
    return pairs


def _holds(value: Any, keys: Iterable[str]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys)


def lines(file: Path) -> Iterator[str]:
    """The lines without their ends, which are line feeds: other separators are part of sentences."""
    compressed = _compression(file)
    try:
        with _OPENERS[compressed](file, "rb") as stream:
            for at, line in enumerate(stream, start=1):
                try:
                    yield line.decode("utf-8-sig" if at == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{file}, line {at}: byte {error.start + 1} is {line[error.start]:#04x}, not "
                        f"UTF-8. Allowed is UTF-8: convert the file, such as with iconv."
                    ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}. Check its rights, and that it is whole.") from None


def _compression(file: Path) -> str:
    return file.suffix if file.suffix in _OPENERS else ""


def _languages(pair: str) -> tuple[str, str]:
    source, _, target = pair.partition("-")
    return source, target


_EMPTY = "Allowed is text on both sides: fill it in, or take the pair out."


def _which(sides: list[str]) -> str:
    return "the pair" if not any(sides) else "the source" if not sides[0] else "the target"


def _count(side: tuple[int, Path]) -> int:
    return side[0]
