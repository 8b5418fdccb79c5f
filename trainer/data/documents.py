"""Which unlabelled text can a config name? Documents in a fixed order, read one after the other.

They are read from any number on, and a text of gigabytes is never in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from trainer.config import DataConfig
from trainer.config.choices import PREPARED_BY, source_of
from trainer.config.registry import code
from trainer.data import files, tfds
from trainer.data.contract import DataError
from trainer.data.digests import digest_of

MOST_BYTES = 32_000_000  # of a line of your own text: no more of it is in memory at once
_AT_A_TIME = 256  # rows of a prepared set
# Of `prose`. Its records have these numbers, of both levels, in the sequence of which `cldr` takes the first
# 21,000 where a config does not say how many. No two of a sequence are alike in any language.
RECORDS = range(25_000, 55_000)
RECORDS_SEED = 0  # that of the source `cldr`
DOCUMENT_LETTERS = 500  # paragraphs, or records, are joined until they have so many
_PROSE_VERSION = 1  # raised whenever other documents come out of the same paragraphs and records


@dataclass(frozen=True)
class Documents:
    """`since(n)`: the documents from number n on, "" where there is none under a number."""

    name: str  # such as "prose", "text notes.txt" or "tfds:c4/en"
    identity: str  # equal identities are equal documents in the same order
    since: Callable[[int], Iterator[str]]
    size_bytes: int = 0  # about, of all documents; 0: not known
    select: Documents | None = None  # a validation split of its own
    versions: Mapping[str, str] = field(default_factory=dict)


def documents(config: DataConfig, *, home: Path) -> Documents:
    """Those that a config names; DataError where they cannot be had."""
    if config.source.startswith(PREPARED_BY):
        return from_prepared(config, home)
    found: Documents = code(source_of(config.source).make)(config, home)
    return found


def from_text(config: DataConfig, home: Path) -> Documents:
    place = Path(config.path).expanduser()
    texts = files.of_documents(place)
    told = [(digest_of(text, home=home), config.key if files.is_json(text) else "") for text in texts]
    plain = all(files.is_plain(text) for text in texts)
    return Documents(
        name=f"text {place.name}",
        identity=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        since=lambda number: _of_texts(texts, config.key, number),
        size_bytes=sum(text.stat().st_size for text in texts) if plain else 0,
    )


def _of_texts(texts: list[Path], key: str, number: int) -> Iterator[str]:
    passed = 0
    for text in texts:
        from_json = files.is_json(text)
        for at, line in enumerate(files.lines(text, most_bytes=MOST_BYTES), start=1):
            passed += 1
            if passed > number:
                yield _under(key, line, f"{text}, line {at}") if from_json else line.strip()


def _under(key: str, line: str, where: str) -> str:
    """What stands under a key of a JSON object."""
    if not line.strip():
        return ""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: it is no JSON ({error}). Put one object on each line.") from None
    document = value.get(key) if isinstance(value, dict) else None
    if not isinstance(document, str):
        has = f"has {', '.join(map(repr, value)) or 'no keys'}" if isinstance(value, dict) else "is no object"
        raise DataError(
            f"{where}: it {has:.200}, and no text under {key!r}. Name the key of the text in data.key."
        )
    try:
        document.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: letter {error.start + 1} under {key!r} is half of a surrogate pair. Allowed is text "
            f"of whole letters: write the file anew, such as with ensure_ascii=False."
        ) from None
    return document.strip()


def from_prepared(config: DataConfig, home: Path) -> Documents:
    """A prepared set of TensorFlow Datasets with a `text`."""
    name = config.source.removeprefix(PREPARED_BY)
    there = tfds.splits(name, data_dir=config.path)
    if not there.get("train"):
        raise DataError(
            f"{name} has the splits {', '.join(there) or 'none'}. Allowed are sets with a train split."
        )
    validation = next((split for split in ("validation", "valid", "dev") if there.get(split)), None)
    versions = {
        "tensorflow-datasets": version("tensorflow-datasets"),
        name: tfds.set_version(name, data_dir=config.path),
    }

    def split(of: str, select: Documents | None) -> Documents:
        rows = tfds.documents(name, of, data_dir=config.path)
        return Documents(
            name=f"{PREPARED_BY}{name}",
            identity=tfds.identity(name, of, data_dir=config.path),
            since=lambda number: _of_rows(rows, number),
            size_bytes=tfds.size_bytes(name, of, data_dir=config.path),
            select=select,
            versions=versions,
        )

    return split("train", split(validation, None) if validation else None)


def _of_rows(rows: tfds.Records, number: int) -> Iterator[str]:
    for first in range(number, len(rows), _AT_A_TIME):
        for row in rows.many(range(first, min(first + _AT_A_TIME, len(rows)))):
            yield row[tfds.TEXT].strip()


def from_prose(config: DataConfig, home: Path) -> Documents:
    """Docstrings, and `records_share` of the letters the English side of generated records. It ends where one
    of the two has no more."""
    from trainer.data import cldr, prose

    share, versions = config.records_share, dict[str, str]()
    told: list[Any] = [_PROSE_VERSION, DOCUMENT_LETTERS]
    docstrings, english = list[str](), list[str]()
    if share < 1:
        paragraphs = prose.paragraphs(home=home)
        docstrings = list(_joined(paragraphs, " "))
        told.append(paragraphs.fingerprint)
        versions["docstrings"] = paragraphs.made_with
    if share > 0:
        levels = {
            level: cldr.records(level=level, count=RECORDS.stop, seed=RECORDS_SEED, home=home)
            for level in ("phrases", "sentences")
        }
        phrases, sentences = (
            _joined((record["en"] for record in levels[level][RECORDS.start :]), between)
            for level, between in (("phrases", "; "), ("sentences", " "))
        )
        english = list(chain.from_iterable(zip(phrases, sentences, strict=False)))
        told += [RECORDS.start, share, *(kept.fingerprint for kept in levels.values())]
        versions["records"] = levels["phrases"].made_with
    mixed = _mixed(docstrings, english, share=share)
    return Documents(
        name="prose",
        identity=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        since=lambda number: iter(mixed[number:]),
        size_bytes=sum(map(len, mixed)),
        versions=versions,
    )


def _joined(texts: Iterable[str], between: str) -> Iterator[str]:
    """Documents of texts that follow each other."""
    some: list[str] = []
    letters = 0
    for text in texts:
        some.append(text)
        letters += len(text)
        if letters >= DOCUMENT_LETTERS:
            yield between.join(some)
            some, letters = [], 0
    if some:
        yield between.join(some)


def _mixed(docstrings: list[str], records: list[str], *, share: float) -> list[str]:
    """Both in their order: next is a record where they have less than their share of the letters so far."""
    mixed: list[str] = []
    of_records = letters = 0
    rest = iter(docstrings), iter(records)
    while True:
        is_record = share > 0 and (share == 1 or of_records < share * letters or not letters)
        document = next(rest[is_record], None)
        if document is None:
            return mixed
        mixed.append(document)
        letters += len(document)
        of_records += len(document) * is_record
