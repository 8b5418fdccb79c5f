"""What does every route work with? The ledger, the settings, the clock: given to the app once."""

from __future__ import annotations

import base64
import binascii
import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from orchestrator.api.links import Links
from orchestrator.api.stream import Tail
from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import BadSpec
from orchestrator.ground.settings import Settings
from orchestrator.ground.strict_json import unfit
from orchestrator.ledger import Store
from orchestrator.service.runner import EngineStatus

NAME = r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,79}$"
TRIAL = r"^[A-Za-z0-9][A-Za-z0-9_+-]{0,79}\.[A-Za-z0-9][A-Za-z0-9_+-]{0,79}\.[0-9]{1,9}\.[0-9]{1,9}$"
MOST_ITEMS = 500
BIGGEST = 2**31 - 1  # of a cursor's whole numbers (replicate, index); a ledger's columns end somewhere


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True)
class Parts:
    """All that is shared by the requests of one process."""

    settings: Settings
    store: Store
    clock: Clock
    tail: Tail
    engine: Callable[[], EngineStatus]  # how the engine of this process stands
    nudge: Callable[[], None]  # tell it that somebody asked for something
    key: str  # the digest of the key in the service's home, which opens everything
    links: Links  # by which browsers sign in
    open: bool = False  # this machine alone can reach the service, and nobody is asked for a token
    answer_within_s: float = 1.0  # what whoever leads is given to answer a request
    new_id: Callable[[], str] = _new_id


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Here = Annotated[Parts, Depends(parts_of)]
StudyName = Annotated[str, Path(pattern=NAME, description="A study's id or its name.")]
TrialName = Annotated[
    str, Path(pattern=TRIAL, description="study.arm.replicate.index, with the study's id or its name.")
]
Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=400, pattern=r"^[A-Za-z0-9_-]+$", description="`next` of the page before.")
]


# -- pages -----------------------------------------------------------------------------------------------
def cursor(*place: Any) -> str:
    """A place in an ordered list, as a word that nobody needs to read."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place(given: str, *kinds: type) -> tuple[Any, ...]:
    """What `cursor` was made of. BadSpec for one that it did not make."""
    try:
        found = json.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if isinstance(found, list) and tuple(map(type, found)) == kinds and all(map(_storable, found)):
        return tuple(found)
    raise BadSpec(
        f"The cursor {given[:60]!r} is none of ours. Take `next` of the page before, or leave it out."
    )


def _storable(value: Any) -> bool:
    """Can a ledger be asked about it? Drivers raise at what they cannot send."""
    if isinstance(value, int):
        return 0 <= value <= BIGGEST
    if isinstance(value, str):
        return not unfit(value)
    return isinstance(value, float) and math.isfinite(value)
