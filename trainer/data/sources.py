"""Which texts can a config name, and which splits does each bring?

What a source says of itself is a `Source`; a split that it lacks is cut from its train (corpus.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trainer.config import DataConfig
from trainer.config.choices import source_of, task_of
from trainer.config.registry import code
from trainer.data import files, filters, tfds
from trainer.data.contract import DataError, Measure, Pairs
from trainer.data.splits import choose

CLDR_PAIRS = 20_000
CLDR_HELD_OUT = 500  # pairs of select, and of test, generated on top of the pairs asked for
_CLDR_SEED = 0  # of the text, never a run's


@dataclass(frozen=True)
class Source:
    name: str  # such as "cldr phrases de-en"
    given: Mapping[str, Pairs]  # by split; train always
    versions: Mapping[str, str]
    filters: tuple[str, ...] = filters.ALL
    separate: bool = True  # take out of train what another split has; else report it only
    held_out: int = 0  # pairs to cut for select, and for test; 0: a share
    identity: str = ""  # of train, where it is slow to read
    fetch_test: Callable[[], Pairs] | None = None  # a test split that comes when it is opened
    code: str = ""  # of a task in a Python file: the hash of its contents
    measure: Measure | None = None  # that a task brings
    beams: bool = False  # outputs are looked for by a beam
    grouped: bool = False  # rows are cut by their groups, none of which is divided
    no_test: str = ""  # why there is no test split, and none is to be cut


def named(config: DataConfig, *, home: Path, protocol: str = "") -> Source:
    """The source, or the task, that a config names; DataError where it cannot be had. `protocol`: of a
    benchmark's task."""
    choice = task_of(config.task) if config.task else source_of(config.source)
    make = code(choice.make)
    source: Source = make(config, home, protocol=protocol) if protocol else make(config, home)
    return source


def from_cldr(config: DataConfig, home: Path) -> Source:
    from trainer.data import cldr

    source, _, target = config.pair.partition("-")
    count = (config.pairs or CLDR_PAIRS) + 2 * CLDR_HELD_OUT
    records = cldr.records(level=config.level, count=count, seed=_CLDR_SEED, home=home)
    return Source(
        name=f"cldr {config.level} {config.pair}",
        given={"train": [(record[source], record[target]) for record in records]},
        versions={name: version(name) for name in ("babel", "num2words")},
        filters=("duplicates",),  # right by construction, otherwise
        held_out=CLDR_HELD_OUT,
    )


def from_files(config: DataConfig, home: Path) -> Source:
    given: dict[str, Pairs] = dict(files.read(config.path, pair=config.pair))
    return Source(
        name=f"files {Path(config.path).name} {config.pair}",
        given=given | {"train": first(given["train"], config.pairs)},
        versions={},
    )


def from_wmt19(config: DataConfig, home: Path) -> Source:
    name = tfds.wmt19_config(config.pair, data_dir=config.path)
    source = from_prepared(replace(config, source=name), home)
    return Source(
        name=f"wmt19 {config.pair}",
        given={split: pairs for split, pairs in source.given.items() if split != "test"},
        versions={**source.versions, "sacrebleu": version("sacrebleu")},
        separate=False,
        identity=source.identity,
        fetch_test=partial(tfds.wmt19_test, config.pair),
    )


def from_prepared(config: DataConfig, home: Path) -> Source:
    name = config.source.removeprefix("tfds:")
    there = tfds.splits(name, data_dir=config.path)
    ours = {"train": ("train",), "select": ("validation", "valid", "dev"), "test": ("test",)}
    given: dict[str, Pairs] = {}
    for split, names in ours.items():
        theirs = next((n for n in names if there.get(n)), None)
        if theirs:
            given[split] = tfds.translations(name, theirs, pair=config.pair, data_dir=config.path)
    if "train" not in given:
        raise DataError(
            f"{name} has the splits {', '.join(there) or 'none'}. Allowed are sets with a train split."
        )
    return Source(
        name=f"tfds:{name} {config.pair}",
        given=given | {"train": first(given["train"], config.pairs)},
        versions={
            "tensorflow-datasets": version("tensorflow-datasets"),
            name: tfds.set_version(name, data_dir=config.path),
        },
        separate=False,
        identity=tfds.identity(name, "train", data_dir=config.path),
    )


def first(pairs: Pairs, most: int) -> Pairs:
    """At most so many, from the beginning; 0: all."""
    return choose(pairs, np.arange(most)) if 0 < most < len(pairs) else pairs
