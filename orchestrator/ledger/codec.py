"""How are values written down so that every one of them comes back?

JSON has neither NaN nor infinities, but losses do. They are written as {"$float": "NaN"}, so that the
text stays valid JSON for any reader of a database; a key that reads `$float` itself gets one more `$`.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from orchestrator.ledger.records import (
    AttemptRow,
    AuditLine,
    Event,
    HostRow,
    Receipt,
    Session,
    StudyRow,
    Token,
    TrialRow,
    Wish,
)

Row = TypeVar("Row", StudyRow, TrialRow, AttemptRow, Event, Wish, HostRow, Token, Session, Receipt, AuditLine)

TAG = "$float"
TAG_LIKE = re.compile(r"\$+float")


def encode(value: Any) -> str:
    """JSON text in ASCII, so that no database stumbles over a null byte or a lone surrogate."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain)
    except ValueError:  # NaN or an infinity; rare, so only then is the value walked in Python
        return json.dumps(_tagged(value), separators=(",", ":"), allow_nan=False)
    if TAG in text:
        return json.dumps(_tagged(value), separators=(",", ":"), allow_nan=False)
    return text


def decode(text: str) -> Any:
    return json.loads(text, object_hook=_untagged) if TAG in text else json.loads(text)


def finite(value: Any) -> Any:
    """The value for readers of plain JSON, which has no NaN and no infinities: they are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def storable(text: str) -> str:
    """Free text as any database can hold it: null bytes and lone surrogates become U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def settled(row: Row, before: Row | None = None) -> Row:
    """The row as it will be read back, and apart from whatever the caller goes on to change.

    Fields that are the very objects of `before` are settled already.
    """
    changes: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if before is not None and value is getattr(before, field.name):
            continue
        if isinstance(value, Mapping):
            changes[field.name] = decode(encode(value))
        elif type(value) is str:
            changes[field.name] = storable(value)
    return replace(row, **changes) if changes else row


def _plain(value: Any) -> Any:
    """What json does not know by itself: read-only mappings, and numpy's scalars without importing it."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"A ledger holds JSON values; {type(value).__name__} is none. Convert it first.")


def _tagged(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {("$" + k if TAG_LIKE.fullmatch(str(k)) else k): _tagged(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(v) for v in value]
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {TAG: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return _tagged(_plain(value))


def _untagged(value: dict[str, Any]) -> Any:
    if value.keys() == {TAG}:
        return float(value[TAG])
    return {(k[1:] if TAG_LIKE.fullmatch(k) else k): v for k, v in value.items()}
