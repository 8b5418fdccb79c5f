"""How is a section of a config read strictly, with a sentence for each thing that is wrong?

An unknown key names the nearest; a value of the wrong type or outside its bounds says what is allowed.
What a field allows is in its metadata, written by `number`, `choice`, `text` and `table`. Standard library
only.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, field, fields, is_dataclass
from typing import Any, get_type_hints

from trainer.config.registry import Registry

MOST_HINTS = 20  # finding the nearest of some names takes 0.1 ms, and a config may hold 60,000 keys


class ConfigError(ValueError):
    """A config that cannot be run; `problems` holds one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def problems_among(*cases: tuple[object, str]) -> list[str]:
    """The sentences of the cases that are so."""
    return [sentence for is_so, sentence in cases if is_so]


def number(
    default: float | None,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A field with bounds. `above` and `below` are open, since nothing may start on its bound."""
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    return field(default=default, metadata=bounds)


def choice(default: Any, among: Collection[str]) -> Any:
    return field(default=default, metadata={"among": among})


def text(
    default: str,
    *,
    like: str,
    words: str,
    among: Collection[str] = (),
    shown: Collection[str] | None = None,
) -> Any:
    """One of some names, or a text that matches the pattern `like`, which `words` describe. `shown`: those of
    the names that a sentence lists, where they are many."""
    listed = among if shown is None else shown
    return field(default=default, metadata={"like": like, "words": words, "among": among, "shown": listed})


def table(
    *,
    values: type = float,
    sections: Mapping[str, type] | None = None,
    keys: Mapping[str, type] | None = None,
) -> Any:
    """Names with their values, empty at first: values of one kind (float, bool, str), sections whose keys
    have these kinds, or itself such a section."""
    return field(default_factory=dict, metadata={"values": values, "sections": sections, "keys": keys})


def section(cls: type, data: Any, path: str, problems: list[str]) -> Any:
    """An instance of `cls` from `data`; what is wrong goes to `problems`, and the default stays."""
    if not isinstance(data, Mapping):
        what = f"{path} is" if path else "The config is"
        problems.append(f"{what} {_shown(data)}. Allowed is a section: names with their values.")
        return cls()
    allowed = {f.name: f for f in fields(cls)}
    types = _types(cls)
    values = {}
    for key, value in data.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in allowed:
            problems.append(_unknown(where, str(key), list(allowed), hint=len(problems) < MOST_HINTS))
        elif is_dataclass(types[key]):
            values[key] = section(types[key], value, where, problems)
        else:
            before = len(problems)
            value = _READERS[types[key]](value, where, allowed[key], problems)
            if len(problems) == before:
                values[key] = value
    return cls(**values)


@functools.cache  # most of what a reading costs, and an engine reads a config for every trial
def _types(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _unknown(where: str, key: str, allowed: list[str], *, hint: bool) -> str:
    near = difflib.get_close_matches(key, allowed, n=1) if hint else []
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown key {_cut(where)!r}.{meant} Allowed: {', '.join(allowed)}."


def _integer(value: Any, where: str, what: Field[Any], problems: list[str]) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        problems.append(f"{where} is {_shown(value)}. Allowed is a whole number{_bounds(what)}.")
        return 0
    return int(_bounded(value, where, what, problems))


def _boolean(value: Any, where: str, what: Field[Any], problems: list[str]) -> bool:
    if not isinstance(value, bool):
        problems.append(f"{where} is {_shown(value)}. Allowed is true or false.")
    return bool(value)


def _float(value: Any, where: str, what: Field[Any], problems: list[str]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        problems.append(f"{where} is {_shown(value)}. Allowed is a number{_bounds(what)}.")
        return 0.0
    try:
        real = float(value)
    except OverflowError:  # a whole number beyond 1.8e308
        real = math.inf
    if not math.isfinite(real):
        problems.append(f"{where} is {real}. Allowed is a finite number{_bounds(what)}.")
        return 0.0
    return float(_bounded(real, where, what, problems))


def _bounded(value: float, where: str, what: Field[Any], problems: list[str]) -> float:
    above, at_least, below, at_most = (what.metadata.get(k) for k in _BOUNDS)
    inside = (
        (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    )
    if not inside:
        problems.append(
            f"{where} is {_shown(value)}. Allowed is a number{_bounds(what)}. "
            f"Change it, or leave it out for {_shown(what.default)}."
        )
    return value


def _bounds(what: Field[Any]) -> str:
    bounds = {k: what.metadata.get(k) for k in _BOUNDS}
    said = [f"{_BOUNDS[k]} {v}" for k, v in bounds.items() if v is not None]
    return f" {' and '.join(said)}" if said else ""


def _integer_or_none(value: Any, where: str, what: Field[Any], problems: list[str]) -> int | None:
    return None if value is None else _integer(value, where, what, problems)


def _float_or_none(value: Any, where: str, what: Field[Any], problems: list[str]) -> float | None:
    return None if value is None else _float(value, where, what, problems)


def _text(value: Any, where: str, what: Field[Any], problems: list[str]) -> Any:
    among: Collection[str] = what.metadata["among"]
    like = what.metadata.get("like")
    if value in among:
        problems += among.problems(value, where) if isinstance(among, Registry) else []
        return value
    if like and isinstance(value, str) and re.fullmatch(like, value):
        return value
    misspelt = isinstance(value, str) and len(value) <= MOST_LETTERS
    near = _nearest(value, among) if misspelt else ""
    hint = f" Did you mean {near!r}?" if near else ""
    allowed = (*what.metadata["shown"], what.metadata["words"]) if like else among
    problems.append(f"{where} is {_shown(value)}.{hint} Allowed: {', '.join(allowed)}.")
    return value


def _nearest(word: str, among: Collection[str]) -> str:
    """The name that was meant; of `super_glue/boolq` the last part alone may stand. Empty: none is near."""
    if near := difflib.get_close_matches(word, among, n=1):
        return near[0]
    ends = {name.rpartition("/")[2]: name for name in among if "/" in name}
    return next((ends[end] for end in difflib.get_close_matches(word.rpartition("/")[2], ends, n=1)), "")


def _names(value: Any, where: str, what: Field[Any], problems: list[str]) -> tuple[str, ...]:
    among: Collection[str] = what.metadata["among"]
    if not isinstance(value, (list, tuple)):
        problems.append(f"{where} is {_shown(value)}. Allowed is a list of: {', '.join(among)}.")
        return ()
    if len(value) > MOST_NAMES:
        problems.append(f"{where} has {len(value):,} entries. Allowed are some of: {', '.join(among)}.")
        return ()
    for i, name in enumerate(value):
        _text(name, f"{where}[{i}]", what, problems)
        if name in value[:i]:
            problems.append(f"{where} names {_shown(name)} twice. Keep one.")
    return tuple(value)


def _table(value: Any, where: str, what: Field[Any], problems: list[str]) -> dict[str, Any]:
    keys, sections = what.metadata["keys"], what.metadata["sections"]
    if keys is not None:
        return _keyed(value, where, keys, problems)
    if not isinstance(value, Mapping):
        problems.append(f"{where} is {_shown(value)}. Allowed is a section: names with their values.")
        return {}
    if sections is not None:
        return {str(k): _keyed(v, f"{where}.{k}", sections, problems) for k, v in value.items()}
    reads = _READERS[what.metadata["values"]]
    return {str(k): reads(v, f"{where}.{k}", _FREE, problems) for k, v in value.items()}


def _keyed(value: Any, where: str, kinds: Mapping[str, type], problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        problems.append(f"{where} is {_shown(value)}. Allowed is a section: names with their values.")
        return {}
    entry = {}
    for key, item in value.items():
        if key in kinds:
            entry[key] = _READERS[kinds[key]](item, f"{where}.{key}", _FREE, problems)
        else:
            hint = len(problems) < MOST_HINTS
            problems.append(_unknown(f"{where}.{key}", str(key), list(kinds), hint=hint))
    return entry


MOST_LETTERS = 200  # of a word for which the nearest allowed one is looked for
MOST_NAMES = 100  # in a list of names: nobody means more
_BOUNDS = {"above": "above", "at_least": "of at least", "below": "below", "at_most": "at most"}
_FREE: Any = field(metadata={"like": ".+", "words": "a text", "among": (), "shown": ()})  # no bounds
_READERS: Mapping[Any, Callable[..., Any]] = {
    bool: _boolean,
    int: _integer,
    int | None: _integer_or_none,
    float: _float,
    float | None: _float_or_none,
    str: _text,
    Mapping[str, Any]: _table,
    tuple[str, ...]: _names,
}


def _shown(value: Any) -> str:
    """A value as its sentence shows it: short, and named by its kind where the kind is what is wrong."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**18:  # Python refuses to print very long ones
        return "a number of 19 digits or more"
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
