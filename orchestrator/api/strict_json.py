"""What may stand in a body? Strict JSON of a modest depth: no NaN, no infinities, no null characters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

MOST_BYTES = 2**20
MOST_DEPTH = 40
SMALL_BYTES = 2**15  # read in the event loop: a millisecond at most


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `strict_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await inner(_Strict(request.scope, request.receive))

        return handler


class _Strict(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            raw = await self.body()
            small = len(raw) <= SMALL_BYTES
            self._json = strict_json(raw) if small else await run_in_threadpool(strict_json, raw)
        return self._json


def strict_json(raw: bytes) -> Any:
    """The value; a 400 with a sentence for what is no strict JSON."""
    try:
        value = json.loads(
            raw.decode(), parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_once
        )
    except UnicodeDecodeError:
        raise _refused("it is not UTF-8") from None
    except RecursionError:
        raise _refused(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise _refused(f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    except ValueError:  # Python's own guard against quadratic time
        raise _refused("it holds a whole number of more than 4,300 digits") from None
    _walk(value)
    return value


_TOO_DEEP = f"it is nested more than {MOST_DEPTH} levels deep"


def _refused(why: str) -> HTTPException:
    return HTTPException(400, f"The body is no JSON that can be taken: {why}.")


def _refuse_constant(word: str) -> Any:
    raise _refused(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _refused(f"{text[:40]} is too large for a number; the largest is 1.8e308")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _refused(f"the key {name!r:.60} appears twice")
        found[name] = value
    return found


def _walk(value: Any) -> None:
    """Without recursion, so that depth costs nothing."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, str):
                _check_text(each)
            elif isinstance(each, dict):
                for key in each:
                    _check_text(key)
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
        if not inner:
            return
        level = inner
    raise _refused(_TOO_DEEP)


def _check_text(text: str) -> None:
    if text.isascii() and "\0" not in text:
        return
    if "\0" in text:
        raise _refused("it holds a null character")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise _refused("it holds half of a surrogate pair, which is no character")
