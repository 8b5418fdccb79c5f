"""How does one Python file of a user's become a task?

    rows(split)        the records of "train", "select" or "test": a sequence; None, or none: cut from train
    input(record)      a record's input, a text
    target(record)     its target, a text

and, if it likes, how outputs are judged, in percent by name:

    score(outputs, records)

The file is imported by the run that trains on it, and never by a check of a config. See docs/own-task.md.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.config import DataConfig
from trainer.data.contract import DataError, Measure, Row
from trainer.data.sources import Source
from trainer.tasks.contract import task

SPLITS = ("train", "select", "test")  # what is asked for; the guide split is cut from train
FUNCTIONS = ("rows", "input", "target")
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_SAID = 200  # letters of an exception's message


def from_config(config: DataConfig, home: Path) -> Source:
    """The task of the file `data.task`; DataError says what of it cannot be used."""
    path = Path(config.task).expanduser()
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read ({problem.strerror}). Name a Python file that can.") from None
    digest = hashlib.sha256(content).hexdigest()
    module = _imported(path, content, digest)
    for name in FUNCTIONS:
        if not callable(getattr(module, name, None)):
            raise DataError(
                f"{path} has no function {name}. Allowed is a file with the functions "
                f"{', '.join(FUNCTIONS)}, and score if it likes. Write it."
            )
    given = {split: rows for split in SPLITS if (rows := _rows(path, module, split)) or split == "train"}
    return task(f"task {path.stem}", given, most=config.pairs, code=digest, measure=_measure(path, module))


def _imported(path: Path, content: bytes, digest: str) -> ModuleType:
    """The module of this content: what runs is what was hashed, which an import by name would not promise."""
    module = ModuleType(f"orch_task_{digest[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look for theirs there

    def run() -> None:
        exec(compile(content, str(path), "exec"), module.__dict__)

    try:
        _asked(path, "the file", run)
    except DataError:
        del sys.modules[module.__name__]
        raise
    return module


def _rows(path: Path, module: ModuleType, split: str) -> list[Row]:
    call = f"rows({split!r})"
    records = _asked(path, call, partial(module.rows, split))
    if records is None and split != "train":
        return []
    listed = hasattr(records, "__len__") and hasattr(records, "__getitem__")
    if not listed or isinstance(records, (str, bytes, Mapping)):
        raise DataError(
            f"{call} of {path} gives {_kind(records)}. Allowed is a sequence of records, such as a list. "
            f"Return one."
        )
    if not len(records) and split == "train":
        raise DataError(f"{call} of {path} gives no records. Allowed is one at least. Return some.")
    return [_row(path, module, records, i, call) for i in range(len(records))]


def _row(path: Path, module: ModuleType, records: Sequence[Any], at: int, call: str) -> Row:
    which = f"record {at} of {call}"
    record = _asked(path, which, partial(records.__getitem__, at))
    sides = []
    for name in ("input", "target"):
        side = _asked(path, f"{name}(…) of {which}", partial(getattr(module, name), record))
        if not isinstance(side, str):
            raise DataError(
                f"{name}(…) of {path} gives {side!r:.40}, {_kind(side)}, for {which}. Allowed is a text. "
                f"Make one of it, such as with str(…)."
            )
        if _SURROGATE.search(side):
            raise DataError(
                f"{name}(…) of {path} gives {side!r:.40} for {which}, and half a letter in it (a surrogate). "
                f"Allowed is text that UTF-8 can hold. Leave it out, or read its file as UTF-8."
            )
        sides.append(side)
    return Row.of(sides[0], sides[1], record)


def _measure(path: Path, module: ModuleType) -> Measure | None:
    score = getattr(module, "score", None)
    if score is None:
        return None

    def measure(outputs: Sequence[str], records: Sequence[Any]) -> Mapping[str, float]:
        found = _asked(path, "score(outputs, records)", partial(score, list(outputs), list(records)))
        good = isinstance(found, Mapping) and found
        if not good or not all(isinstance(name, str) and _is_number(value) for name, value in found.items()):
            raise DataError(
                f"score(outputs, records) of {path} gives {found!r:.60}. Allowed is a dict of names with "
                f"numbers, in percent. Return one, such as {{'right': 81.5}}."
            )
        # A float stays what it is: it may have a note (trainer.tasks.measures).
        return {name: value if isinstance(value, float) else float(value) for name, value in found.items()}

    return measure


def _is_number(value: Any) -> bool:
    try:  # numpy's numbers too
        return not isinstance(value, (bool, str)) and float(value) is not None
    except (TypeError, ValueError):
        return False


def _asked(path: Path, what: str, call: Callable[[], Any]) -> Any:
    """What the file answers; its exception is told with the line of the file that it came from."""
    try:
        return call()
    except (Exception, SystemExit) as problem:
        said = " ".join(str(problem).split())[:MOST_SAID]
        raise DataError(
            f"{path}{_line_in(path, problem)}: {what} failed ({type(problem).__name__}: {said}). Mend "
            f"the file."
        ) from problem


def _line_in(path: Path, problem: BaseException) -> str:
    if isinstance(problem, SyntaxError):
        return f", line {problem.lineno}"
    lines = [at.lineno for at in traceback.extract_tb(problem.__traceback__) if Path(at.filename) == path]
    return f", line {lines[-1]}" if lines else ""


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
