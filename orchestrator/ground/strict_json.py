"""What may JSON hold here? One set of rules and sentences, for spec files and for the bodies of requests.

A sentence begins with what is at fault: a file, "The body", or the place of a value inside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.ground.errors import BadSpec

MOST_BYTES = 2**20  # a spec of 1,000 arms has about 300 kB
MOST_DEPTH = 40


def too_large(what: str) -> str:
    return f"{what} has more than {MOST_BYTES:,} bytes, which is the most that is allowed."


def too_deep(what: str) -> str:
    return f"{what} is nested too deeply. Allowed are at most {MOST_DEPTH} levels. Flatten it."


def too_many_digits(what: str) -> str:
    return f"{what} holds a whole number of more than 4,300 digits. Write a smaller one."


def decoded(raw: bytes, what: str) -> str:
    """The text of a file or a body. BadSpec for what is not text."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise BadSpec(
            f"{what} is not UTF-8 text: byte 0x{byte:02x} at position {error.start:,}. Write it as UTF-8."
        ) from None
    if "\0" in text:
        raise BadSpec(f"{what} holds a null byte at position {text.index(chr(0)):,}. Take it out.")
    return text


def parsed(text: str, what: str) -> Any:
    """The value of a JSON text, which `mistakes` is still to look through. BadSpec for what is not JSON."""
    try:
        return json.loads(text, object_pairs_hook=object_of)
    except RecursionError:
        raise BadSpec(too_deep(what)) from None
    except json.JSONDecodeError as error:
        raise BadSpec(
            f"{what} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except ValueError:  # Python's own guard against quadratic time
        raise BadSpec(too_many_digits(what)) from None


@dataclass(frozen=True)
class Refused:
    """Stands where an object could not be built, so that the refusal can name the place."""

    why: str


def object_of(pairs: list[tuple[Any, Any]]) -> dict[str, Any] | Refused:
    built: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            return Refused(f"the key {shown(key)} is no text. Put it in quotes.")
        if key in built:
            return Refused(f"the key {cut(repr(key))} appears twice. Keep one.")
        built[key] = value
    return built


def mistakes(value: Any, what: str, place: str = "", depth: int = 0) -> Iterator[str]:
    """A sentence for each value that is no finite, printable JSON; `what` names the whole."""
    where = place or what
    if depth > MOST_DEPTH:
        yield too_deep(where)
    elif isinstance(value, str):
        if why := unfit(value):
            yield f"{where} {why}. Take it out."
    elif isinstance(value, int | float):
        yield from _not_finite(value, where)
    elif isinstance(value, Refused):
        yield f"{where}: {value.why}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield f"{where}: the key {shown(key)} is no text. Put it in quotes."
                continue
            if why := unfit(key):
                yield f"{where}: the key {shown(key)} {why}. Take it out."
            yield from mistakes(inner, what, f"{place}.{cut(key)}" if place else cut(key), depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from mistakes(inner, what, f"{place}[{i}]", depth + 1)
    elif value is not None:
        yield f"{where} is {shown(value)}. Allowed are text, numbers, true, false, null, lists and objects."


def unfit(text: str) -> str:
    """What makes it no text that a ledger can hold; "" if nothing does."""
    if "\0" in text:
        return "holds a null character"
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return "holds half of a surrogate pair, which is no character"
    return ""


def _not_finite(number: float, where: str) -> Iterator[str]:
    try:
        known = float(number)
    except OverflowError:
        known = math.inf
    if math.isnan(known):
        yield f"{where} is NaN. Allowed are finite numbers. Write one, or leave the key out."
    elif math.isinf(known):
        yield (
            f"{where} is infinite, or too large for a number. Allowed are finite numbers, up to 1.8e308. "
            f"Write one, or leave the key out."
        )


def shown(value: Any) -> str:
    """A value as a sentence shows it: short, whatever it is."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**18:  # Python refuses to print very long ones
        return "a number of 19 digits or more"
    return cut(repr(value))


def cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
