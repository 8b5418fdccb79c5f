"""How does the text that a config names become four splits with a record of how they came to be?

Every source goes the same way: survey, filter, cut the splits that it lacks, count what they share. The
text depends on the config alone, never on a run's seed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import DataConfig
from trainer.data import files, filters, splits
from trainer.data.contract import SPLITS, Corpus, DataError, Pairs, Row
from trainer.data.filters import Count, Survey, Tell
from trainer.data.sources import Source, named
from trainer.protocol import whole

OPENINGS = "test-openings"
_OPENINGS_BEFORE = "test-openings.jsonl"  # where older versions wrote
_LEAST_PAIRS = 4  # one for each split
_SURVEY_RULES = 1  # raise it where a survey's numbers change their meaning


@dataclass(frozen=True)
class _Split:
    pairs: Pairs
    survey: Survey

    def only(self, indices: np.ndarray) -> _Split:
        return _Split(splits.choose(self.pairs, indices), self.survey.take(indices))


def open_corpus(
    config: DataConfig, *, home: Path, guide_pairs: int = 0, tell: Tell | None = None, protocol: str = ""
) -> Corpus:
    """The corpus that a config names; DataError where it cannot be had.

    `guide_pairs` is the least that guidance needs, a batch; `home` keeps what took long to make; `protocol`
    says which rows of a benchmark choose.
    """
    began_s = time.perf_counter()
    source, pair = named(config, home=home, protocol=protocol), files.TASK if config.task else config.pair
    identify = config.identify_languages and "language" in source.filters
    given = {
        split: _Split(pairs, _surveyed(source, split, pair, identify=identify, home=home, tell=tell))
        for split, pairs in source.given.items()
    }
    identified = given["train"].survey.identified
    names = [name for name in source.filters if name != "language" or identified]
    kept, counts = filters.sift(given["train"].survey, names=names)
    text = _cut(source, given, kept, share=config.guide_share, guide_pairs=guide_pairs)
    if config.prefix:  # after the cuts: the splits are the same under every prefix
        text = {name: _prefixed(split, config.prefix) for name, split in text.items()}
    surveys = {split: text[split].survey for split in SPLITS if split in text}
    cut = sum(len(text[split].pairs) for split in text if split == "train" or split not in given)
    counts.append(Count("in another split", len(kept), cut))
    kind = "task" if config.task else ""
    told = (source.name if source.fetch_test else kind, source.code, config.prefix)
    fingerprint = _fingerprint(surveys, told=" ".join(filter(None, told)))
    overlaps = splits.overlaps(surveys)
    record = {
        "pairs": sum(len(split.pairs) for split in text.values()),
        "splits": {split: len(text[split].pairs) if split in text else None for split in SPLITS},
        "filters": [asdict(count) for count in counts],
        "duplicates": sum(count.before - count.after for count in counts if "duplicate" in count.name),
        "lengths": _lengths(surveys["train"]),
        "overlap": sum(shared["sources"] for shared in overlaps.values()),
        "overlaps": overlaps,
        "languages_identified": identified,
        **({"protocol": protocol} if protocol else {}),
        "versions": {**source.versions, **({"py3langid": version("py3langid")} if identified else {})},
        "seconds": round(time.perf_counter() - began_s, 3),
    }
    return Corpus(
        name=source.name,
        pair=pair,
        fingerprint=fingerprint,
        train=text["train"].pairs,
        guide=text["guide"].pairs,
        select=text["select"].pairs,
        test=_test(source, text, fingerprint=fingerprint, home=home),
        record=record,
        measure=source.measure,
        beams=source.beams,
    )


def openings(home: Path) -> list[dict[str, Any]]:
    """Who opened a test split, oldest first."""
    before = home / _OPENINGS_BEFORE
    lines = before.read_text(encoding="utf-8").splitlines() if before.exists() else []
    lines += [file.read_text(encoding="utf-8") for file in (home / OPENINGS).glob("[!u]*.json")]
    return sorted(map(json.loads, lines), key=lambda line: float(line["unix_s"]))


def _surveyed(
    source: Source, split: str, pair: str, *, identify: bool, home: Path, tell: Tell | None
) -> Survey:
    """A split's survey, from disk where making it takes long: train of a large text, or its languages."""
    pairs = source.given[split]
    identify = identify and split == "train"
    if split != "train" or not (identify or source.identity):
        return filters.survey(pairs)
    key = {
        "text": source.identity or _digest(pairs),
        "pair": pair,
        "pairs": len(pairs),
        "rules": _SURVEY_RULES,
        "languages": [version("py3langid"), filters.SURE, filters.MOST_WORDS] if identify else [],
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    file = home / "surveys" / f"{name}.npz"
    made = Survey.load(file)
    if made is None:
        made = filters.survey(pairs, foreign=filters.identifier(pair) if identify else None, tell=tell)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as unfinished:
            made.save(unfinished)
    return made


def _cut(
    source: Source, given: Mapping[str, _Split], kept: np.ndarray, *, share: float, guide_pairs: int
) -> dict[str, _Split]:
    """All splits that can be had without fetching; those not given are cut from the pairs `kept` of train."""
    train, hashes = given["train"], given["train"].survey.source
    text = {name: split for name, split in given.items() if name != "train"}
    if source.separate:
        kept = splits.without(kept, hashes, [split.survey for split in text.values()])
    if len(kept) < _LEAST_PAIRS:
        raise DataError(
            f"{source.name} leaves {len(kept)} pairs to train on, after the filters and what other splits "
            f"have. Allowed are at least {_LEAST_PAIRS}: look at the text, and whether it is the right one."
        )
    size = source.held_out or splits.held_out_size(len(kept))
    for name in ("test", "select"):
        if name not in given and not (name == "test" and (source.fetch_test or source.no_test)):
            held, kept = splits.hold_out(kept, hashes, size=size)
            text[name] = train.only(held)
    if "guide" not in given:
        most = splits.guide_size(len(kept), share=share, at_least=guide_pairs)
        held, kept = splits.hold_out(kept, hashes, size=most, whole=source.grouped)
        if not len(kept):
            raise DataError(
                f"All {len(held):,} rows of {source.name} to train on belong together, and guidance needs "
                f"some of them apart. Give it more rows."
            )
        text["guide"] = train.only(held)
    return {**text, "train": train.only(kept)}


def _prefixed(split: _Split, prefix: str) -> _Split:
    """With the prefix before each input; the survey stays that of the rows themselves."""
    rows = [
        Row.of(prefix + row[0], row[1], getattr(row, "record", None))
        for row in (split.pairs[i] for i in range(len(split.pairs)))
    ]
    return _Split(rows, split.survey)


def _test(
    source: Source, text: Mapping[str, _Split], *, fingerprint: str, home: Path
) -> Callable[[str | None], Pairs]:
    """Hands the test split out and writes that down, once for each reason however many processes and hosts
    do so. What is fetched only now is held against train now."""
    fetch = source.fetch_test
    here: Pairs = text["test"].pairs if "test" in text else []
    trained_on = text["train"].survey.source if fetch else None

    def test(why: str | None) -> Pairs:
        if source.no_test:
            raise DataError(source.no_test)
        opened = fetch() if fetch else here
        more: dict[str, Any] = {}
        if trained_on is not None:
            more["overlap"] = int(np.isin(filters.survey(opened).source, trained_on).sum())
        write_opening(home, source.name, fingerprint, why, **more)
        return opened

    return test


def write_opening(home: Path, name: str, fingerprint: str, why: str | None, **more: Any) -> None:
    """That a test split was opened; once for each reason. None: another process says so."""
    if why is None:
        return
    line = {"unix_s": round(time.time(), 3), "corpus": name, "why": why, "fingerprint": fingerprint, **more}
    key = hashlib.sha256(json.dumps([name, fingerprint, why]).encode()).hexdigest()[:24]
    file = home / OPENINGS / f"{key}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as unfinished:
            unfinished.write_text(json.dumps(line), encoding="utf-8")


def _fingerprint(surveys: Mapping[str, Survey], *, told: str) -> str:
    """Of the text of all splits, and of what is told besides: a test set that is fetched never changes, and
    stands in by its name; a task's code and its prefix."""
    digest = hashlib.sha256(told.encode())
    for name, survey in surveys.items():
        digest.update(f" {name} {len(survey)} ".encode())
        digest.update(survey.both.astype("<u8").tobytes())
    return digest.hexdigest()


def _digest(pairs: Pairs) -> str:
    digest = hashlib.sha256()
    for source, target in filters.in_order(pairs):
        digest.update(f"{source}\0{target}\0".encode())
    return digest.hexdigest()


def _lengths(survey: Survey) -> dict[str, dict[str, float]]:
    sides = {"source": survey.source_words, "target": survey.target_words}
    return {side: told_lengths(words) for side, words in sides.items()}


def told_lengths(lengths: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(lengths.mean()), 2),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }
