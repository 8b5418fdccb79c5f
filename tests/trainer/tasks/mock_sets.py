"""Prepared sets of random records with the features of TensorFlow Datasets' own: its mock data."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.config.benchmarks import BENCHMARKS

library = pytest.importorskip("tensorflow_datasets")
MODULES = ("translate", "text", "question_answering", "summarization")
TRAIN, VALIDATION, TEST = 40, 9, 5
SETS = sorted({name for benchmark in BENCHMARKS.values() for name in benchmark.sets})
VERSION = "1.0.0"


def features_of(name: str) -> Any:
    """As the library's own builder has them; those that it states in TensorFlow's types stand here."""
    kinds, text = library.features, library.features.Text()
    own: dict[str, dict[str, Any]] = {
        "boolq": {"question": text, "passage": text},
        "cb": {"premise": text, "hypothesis": text},
        "copa": {"premise": text, "choice1": text, "choice2": text, "question": text},
        "rte": {"premise": text, "hypothesis": text},
        "wic": {"word": text, "sentence1": text, "sentence2": text}
        | dict.fromkeys(("start1", "start2", "end1", "end2"), np.int32),
        "wsc.fixed": {"text": text, "span1_text": text, "span2_text": text}
        | dict.fromkeys(("span1_index", "span2_index"), np.int32),
    }
    benchmark, _, config = name.partition("/")
    if benchmark == "super_glue" and config in own:
        labels = 3 if config == "cb" else 2
        label = {"label": kinds.ClassLabel(num_classes=labels), "idx": np.int32}
        return kinds.FeaturesDict(own[config] | label)
    for module in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"tensorflow_datasets.{module}")
    return library.builder(name, data_dir="/nonexistent").info.features


def splits_of(name: str) -> dict[str, int]:
    if name == "definite_pronoun_resolution":
        return {"train": TRAIN, "test": VALIDATION}
    if name == "glue/mnli":
        both = {f"validation_{part}": VALIDATION for part in ("matched", "mismatched")}
        return {"train": TRAIN, **both, "test_matched": TEST}
    test = {} if name.startswith("squad") else {"test": TEST}
    return {"train": TRAIN, "validation": VALIDATION, **test}


def mock(folder: Path, name: str) -> None:
    """A prepared set of random records."""
    from tensorflow_datasets.testing import mocking

    features = features_of(name)
    most = sum(splits_of(name).values())
    records = iter(mocking.RandomFakeGenerator(features, most))
    given = {split: [_short(next(records)) for _ in range(n)] for split, n in splits_of(name).items()}
    prepare(folder, name, features, given)


def _short(value: Any) -> Any:
    """With two of each list at most: of SQuAD's answers, texts and their beginnings are equally many."""
    if isinstance(value, Mapping):
        return {key: _short(inner) for key, inner in value.items()}
    return value[:2] if isinstance(value, np.ndarray) and value.ndim else value


def prepare(folder: Path, name: str, features: Any, splits: Mapping[str, Iterable[Any]]) -> None:
    """A prepared set of these records."""
    library.disable_progress_bar()
    place = folder / name

    # Not registered: the library has a set of that name itself.
    class Tiny(library.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, name-defined]
        VERSION = library.core.Version("1.0.0")
        name = place.parts[-2].replace(".", "_")

        def _info(self) -> Any:
            return library.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _: Any) -> Any:
            return {split: self._generate_examples(rows) for split, rows in splits.items()}

        def _generate_examples(self, rows: Iterable[Any]) -> Iterator[tuple[int, Any]]:
            yield from enumerate(rows)

    beside = folder / "preparing"
    Tiny(data_dir=str(beside), file_format="array_record").download_and_prepare()
    shutil.move(next(beside.glob(f"*/{VERSION}")), place / VERSION)
    shutil.rmtree(beside)
