"""How are prepared sets of TensorFlow Datasets read, without TensorFlow and without loading them?

A prepared set is a folder NAME/CONFIG/VERSION of array_record files with its own description. It is opened
by that folder: asking for a builder by name runs the set's own code, which may need TensorFlow.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.benchmarks import PREPARED_SETS
from trainer.data.contract import DataError, Pairs

TEXT = "text"  # the feature of unlabelled text
_INFO = "dataset_info.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def default_folder() -> Path:
    """Where TensorFlow Datasets itself prepares sets."""
    return Path(PREPARED_SETS).expanduser()


class Records:
    """A split's rows by number, read when asked for; text is str."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = _decoded(self._rows[index])
        return row

    def many(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several rows at once: 22 µs a row instead of 91 one by one."""
        return (
            [_decoded(row) for row in self._rows.__getitems__([int(i) for i in indices])] if indices else []
        )


class Translations:
    """Two texts of each row, as pairs."""

    def __init__(self, rows: Records, *, source: str, target: str) -> None:
        self._rows, self._source, self._target = rows, source, target

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[str, str]:
        return self._pair(self._rows[index])

    def many(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        return [self._pair(row) for row in self._rows.many(indices)]

    def _pair(self, row: dict[str, Any]) -> tuple[str, str]:
        return row[self._source].strip(), row[self._target].strip()


def records(name: str, split: str, *, data_dir: str | Path = "") -> Records:
    """The rows of one split of a prepared set, such as `glue/cola`, `squad` or `c4/en`."""
    builder = _builder(name, data_dir)
    _split(builder.info, name, split)
    return Records(builder.as_data_source(split=split))


def _split(info: Any, name: str, split: str) -> Any:
    if split not in info.splits:
        raise DataError(f"{name} has no split {split!r}. Allowed are {', '.join(sorted(info.splits))}.")
    return info.splits[split]


def splits(name: str, *, data_dir: str | Path = "") -> dict[str, int]:
    """How many rows each split of a prepared set has."""
    return {split: info.num_examples for split, info in _builder(name, data_dir).info.splits.items()}


def translations(name: str, split: str, *, pair: str, data_dir: str | Path = "") -> Translations:
    """The pairs of one split of a prepared translation set, whose rows have a text for each language."""
    source, _, target = pair.partition("-")
    rows = records(name, split, data_dir=data_dir)
    if not len(rows):
        raise DataError(f"{name} has an empty split {split!r}. Prepare it again, or take another set.")
    row = rows[0]
    texts = sorted(key for key, value in row.items() if isinstance(value, str))
    if not {source, target} <= set(texts):
        raise DataError(
            f"The rows of {name} have the texts {', '.join(texts) or 'none'}, and the pair is {pair}. "
            f"Allowed are two of those texts: choose another pair, or another set."
        )
    return Translations(rows, source=source, target=target)


def documents(name: str, split: str, *, data_dir: str | Path = "") -> Records:
    """The rows of one split of a prepared set of unlabelled text, which stands under `text`."""
    rows = records(name, split, data_dir=data_dir)
    if not len(rows):
        raise DataError(f"{name} has an empty split {split!r}. Prepare it again, or take another set.")
    row = rows[0]
    if not isinstance(row.get(TEXT), str):
        raise DataError(
            f"The rows of {name} have {', '.join(sorted(row))}. Allowed is a set whose rows have a {TEXT}, "
            f"such as c4/en."
        )
    return rows


def is_documents(name: str, *, data_dir: str | Path = "") -> bool:
    """Has a prepared set unlabelled text?"""
    features = _builder(name, data_dir).info.features
    return TEXT in getattr(features, "keys", tuple)()


def size_bytes(name: str, split: str, *, data_dir: str | Path = "") -> int:
    return int(_split(_builder(name, data_dir).info, name, split).num_bytes)


def set_version(name: str, *, data_dir: str | Path = "") -> str:
    return str(_builder(name, data_dir).info.version)


def identity(name: str, split: str, *, data_dir: str | Path = "") -> str:
    """Of the split's files: while it is the same nobody has written to them."""
    info = _builder(name, data_dir).info
    digest = hashlib.sha256(f"{info.name} {info.version} {split}".encode())
    for file in sorted(Path(str(path)) for path in _split(info, name, split).filepaths):
        stat = file.stat()
        digest.update(f" {file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def wmt19_config(pair: str, *, data_dir: str | Path = "") -> str:
    """The prepared set that holds a pair of WMT19, in either direction."""
    source, _, target = pair.partition("-")
    names = [f"wmt19_translate/{source}-{target}", f"wmt19_translate/{target}-{source}"]
    if source == "en":
        names.reverse()  # TFDS has English last
    return next((n for n in names if (folder(data_dir) / n).is_dir()), names[0])


def wmt19_test(pair: str) -> Pairs:
    """newstest2019 by sacrebleu, which fetches it once."""
    import sacrebleu

    languages = sacrebleu.DATASETS["wmt19"].langpairs
    if pair not in languages:
        raise DataError(f"The test set wmt19 has no {pair}. Allowed are {', '.join(sorted(languages))}.")
    try:
        source, reference = (
            Path(file).read_text(encoding="utf-8").rstrip("\n").split("\n")
            for file in (
                sacrebleu.get_source_file("wmt19", pair),
                sacrebleu.get_reference_files("wmt19", pair)[0],
            )
        )
    # sacrebleu ends the process where a download's checksum is wrong.
    except (OSError, EOFError, SystemExit) as error:
        raise DataError(
            f"The test set wmt19 for {pair} is not here and could not be fetched: {error}. Run "
            f"`sacrebleu -t wmt19 -l {pair} --echo src` where there is a network, and copy ~/.sacrebleu here."
        ) from None
    return list(zip(source, reference, strict=True))


def _builder(name: str, data_dir: str | Path) -> Any:
    place = prepared(name, data_dir)
    tfds = library()
    builder = tfds.builder_from_directory(str(place))
    if builder.info.file_format is not tfds.core.file_adapters.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{place} is prepared as {builder.info.file_format.value}. Allowed is array_record, which can be "
            f"read by number. {_how_to_prepare(name, folder(data_dir))}"
        )
    return builder


def library() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            f"tensorflow-datasets cannot be imported here: {error}. Install it: pip install "
            f"'orch-studies[tfds]'. It exists for Linux and for macOS on arm64; elsewhere take the source "
            f"`cldr` or `files`."
        ) from None
    return tensorflow_datasets


def folder(data_dir: str | Path) -> Path:
    """Of all prepared sets."""
    return Path(data_dir).expanduser() if str(data_dir) else default_folder()


def prepared(name: str, data_dir: str | Path = "") -> Path:
    """The folder of the newest version of a prepared set; a set with one config needs not name it."""
    sets = folder(data_dir)
    place = sets / name
    if not place.is_dir():
        raise DataError(
            f"{name} is not prepared in {sets}, which has {_listed(sets)}. {_how_to_prepare(name, sets)}"
        )
    if (place / _INFO).is_file():
        return place
    versions = [p for p in place.iterdir() if _VERSION.fullmatch(p.name) and (p / _INFO).is_file()]
    if versions:
        return max(versions, key=lambda p: [int(part) for part in p.name.split(".")])
    inner = sorted({p.parent.parent.name for p in place.glob(f"*/*/{_INFO}")})
    if len(inner) == 1:
        return prepared(f"{name}/{inner[0]}", data_dir)
    if inner:
        configs = ", ".join(f"{name}/{config}" for config in inner)
        raise DataError(f"{name} has several configs in {sets}. Allowed are {configs}: name one.")
    raise DataError(
        f"{place} holds no version with a {_INFO}: the preparation did not end. {_how_to_prepare(name, sets)}"
    )


def _listed(folder: Path) -> str:
    descriptions = [*folder.glob(f"*/*/{_INFO}"), *folder.glob(f"*/*/*/{_INFO}")]
    found = {path.parent.parent.relative_to(folder).as_posix() for path in descriptions}
    return ", ".join(sorted(found)) or "no prepared sets"


def _how_to_prepare(name: str, folder: Path) -> str:
    return (
        f"Where there is a network: orch data prepare {name} --data-dir {folder}. "
        f"Or name the folder where it lies prepared."
    )


def _decoded(value: Any) -> Any:
    """Text as str wherever it stands in a row. Prepared files have bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, Mapping):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _decoded(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_decoded(inner) for inner in value]
    return value
