"""How does a test write a set of TensorFlow Datasets, in the library's own format?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_set(place: Path, features: Any, splits: dict[str, list[dict[str, Any]]]) -> None:
    """At FOLDER/NAME/CONFIG, in version 1.0.0."""
    import tensorflow_datasets as library

    # Not registered: the library has a set of that name itself.
    class Tiny(library.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, name-defined]
        VERSION = library.core.Version("1.0.0")
        name = place.parts[-2]

        def _info(self) -> Any:
            return library.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _: Any) -> Any:
            return {name: self._generate_examples(rows) for name, rows in splits.items()}

        def _generate_examples(self, rows: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
            yield from enumerate(rows)

    beside = place.parent.parent / "preparing"
    Tiny(data_dir=str(beside), file_format="array_record").download_and_prepare()
    shutil.move(next(beside.glob("*/1.0.0")), place / "1.0.0")
    shutil.rmtree(beside)
