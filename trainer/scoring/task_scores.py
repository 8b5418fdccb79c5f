"""How good is a model at its task? Its metrics and their mean, at every evaluation and in the end.

The outputs are greedy, or by a beam where the task asks for one, of the first rows of the dev split; those of
the test split too, which is opened by runs whose config says so, once each. No row is ever left out. Where a
run ends with its best evaluation's parameters, half of those rows of dev choose, and all else is said of the
others.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.config.benchmarks import PAPERS
from trainer.config.choices import TASKS
from trainer.data.commonest import commonest_of, counted_targets
from trainer.data.contract import DataError, Pairs
from trainer.data.tokens import Tokens, task_tokens
from trainer.protocol import ANSWERS
from trainer.scoring.answers import answers
from trainer.scoring.ending import Ending
from trainer.scoring.task_metrics import measured
from trainer.tasks.measures import Measured

DEFAULT = ("accuracy",)  # where neither the config nor the task's own file names a metric
SCORE = "score"  # the mean of all metrics
COMMONEST = "commonest"  # the score of always saying the commonest target of train, of the same rows
CHOOSING = "choosing_score"  # where the best evaluation is looked for: the score of the rows that choose
# What a task cannot call a metric.
_OF_RUNS = ("chosen_score", "chosen_step", "train_loss", "dev_loss", "peak_memory_bytes")
TAKEN = (SCORE, CHOOSING, COMMONEST, *_OF_RUNS)
_NAME = re.compile(r"(?!test_)[A-Za-z][\w+-]{0,79}")

_log = logging.getLogger("trainer")


class TaskScorer(Ending[Tokens]):
    """The scores of one run. `files` are those it has written, in the run's folder."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._told: set[str] = set()  # notes are told once

    def evaluated(self, params: Any) -> dict[str, float]:
        """Of the dev split, in the course of a run; nothing where the config wants no rows of it."""
        rows, choosing = self._dev(), self._choosing()
        found = self._values(rows, self._outputs(rows, params)) if rows else {}
        if choosing and self._config.protocol == PAPERS:  # the same rows
            found[CHOOSING] = found[SCORE]
        elif choosing:
            found[CHOOSING] = self._values(choosing, self._outputs(choosing, params))[SCORE]
        return found

    def scores(self, params: Any) -> dict[str, float]:
        """Of the parameters that a run ends with, which are written down too, with the outputs."""
        self._keep(params)
        found: dict[str, float] = {}
        rows = self._dev(whole=self._config.protocol == PAPERS)
        if rows:
            found |= self._written("dev", rows, params) | self._of_commonest(rows)
        if self._config.score.test:
            opened = _listed(self._tokens.corpus.test(self._why("score")))
            found |= {f"test_{name}": value for name, value in self._written("test", opened, params).items()}
        return found

    def _dev(self, *, whole: bool = False) -> list[Any]:
        """The rows that are told of; in the end of a run by the papers' protocol the whole split."""
        select, most = self._tokens.corpus.select, self._config.score.dev_sentences
        if whole and most:
            return _listed(select)
        if self._halves is None:
            return _listed(select, most=most)
        return [select[i] for i in self._halves[1].tolist() if i < most]

    def _choosing(self) -> list[Any]:
        select = self._tokens.corpus.select
        return [] if self._halves is None else [select[i] for i in self._halves[0].tolist()]

    @functools.cached_property
    def _halves(self) -> Any:
        return self._tokens.halves(self._config)

    def _outputs(self, rows: Sequence[Any], params: Any, *, split: str = "dev") -> list[str]:
        lengths, score = task_tokens(self._config.data), self._config.score
        assert lengths is not None
        found = answers(
            [row[0] for row in rows],
            vocabulary=self._tokens.vocabulary,
            settings=self._settings,
            params=params,
            devices=self._devices,
            tokens=lengths,
            beam=score.beam if self._tokens.corpus.beams else 1,
            length_penalty=score.length_penalty,
        )
        if found.cuts:
            self._note(
                f"{len(found.cuts):,} of {len(rows):,} inputs of the {split} split have more than "
                f"{lengths[0]:,} tokens: only their beginning is read. data.source_tokens sets it."
            )
        return found.lines

    def _values(self, rows: Sequence[Any], outputs: Sequence[str]) -> dict[str, float]:
        found = self._measured(rows, outputs)
        for one in found.values():
            if one.note:
                self._note(one.note)
        return {SCORE: _mean(found), **{name: float(one) for name, one in found.items()}}

    def _measured(self, rows: Sequence[Any], outputs: Sequence[str]) -> dict[str, Measured]:
        targets = [row[1] for row in rows]
        own = self._tokens.corpus.measure
        names = self._config.score.metrics or (() if own else DEFAULT)
        found = {name: measured(name, outputs, targets, labels=self._labels) for name in names}
        if own:
            found |= self._own(own(outputs, [getattr(row, "record", None) for row in rows]), taken=found)
        return found

    def _of_commonest(self, rows: Sequence[Any]) -> dict[str, float]:
        """Not of a user's own measure, which may expect what a model says; nor of texts that no two rows have
        in common."""
        corpus, data = self._tokens.corpus, self._config.data
        if corpus.beams or (corpus.measure is not None and data.task not in TASKS):
            return {}
        return {COMMONEST: _mean(self._measured(rows, [commonest_of(self._targets)] * len(rows)))}

    def _own(self, found: Mapping[str, float], *, taken: Iterable[str]) -> dict[str, Measured]:
        # A built-in task's own metric stands in for the one of that name.
        taken = TAKEN if self._config.data.task in TASKS else (*TAKEN, *taken)
        for name in found:
            if not _NAME.fullmatch(name) or name in taken:
                raise DataError(
                    f"score(outputs, records) of {self._config.data.task} names a metric {name!r:.40}. "
                    f"Allowed are 1 to 80 letters, digits, '_', '+' and '-', beginning with a letter and not "
                    f"with test_, but none of {', '.join(taken)}. Call it otherwise."
                )
        return {name: _finite(name, value) for name, value in found.items()}

    def _note(self, sentence: str) -> None:
        if self._writes and sentence not in self._told:
            self._told.add(sentence)
            _log.warning(sentence)

    @functools.cached_property
    def _targets(self) -> Counter[str]:
        """Of train, which is read once."""
        return counted_targets(self._tokens.corpus.train)

    @functools.cached_property
    def _labels(self) -> frozenset[str]:
        return frozenset(self._targets)

    def _written(self, split: str, rows: Sequence[Any], params: Any) -> dict[str, float]:
        outputs = self._outputs(rows, params, split=split)
        values = self._values(rows, outputs)
        if self._writes:
            names = ("input", "target", "output")
            protocol = {"protocol": self._config.protocol} if self._config.protocol else {}
            beam = {"beam": self._config.score.beam} if self._tokens.corpus.beams else {}
            head = {"split": split, "rows": len(rows), **protocol, **beam, **values}
            each = ((*row, output) for row, output in zip(rows, outputs, strict=True))
            lines = [head, *(dict(zip(names, one, strict=True)) for one in each)]
            text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            self._write(ANSWERS[split], text)
        return values


def _mean(found: Mapping[str, Measured]) -> float:
    return math.fsum(found.values()) / len(found)


def _finite(name: str, value: float) -> Measured:
    if isinstance(value, Measured):  # with its note
        return value
    return Measured(value) if math.isfinite(value) else Measured(0.0, f"{name} is {value}, and counts as 0.")


def _listed(rows: Pairs, *, most: int | None = None) -> list[Any]:
    """The first of them, or all."""
    wanted = range(len(rows) if most is None else min(most, len(rows)))
    many = getattr(rows, "many", None)
    return list(many(wanted)) if many else [rows[i] for i in wanted]
