"""Is a request refused at once? One that is not is stored for whoever leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from orchestrator.engine.requests import check_extension, obey
from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import MoveRefused
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, Wish
from orchestrator.ledger.rules import deletable
from orchestrator.service.creation import ask
from orchestrator.study.spec import StudySpec

READS = frozenset({"study", "trial", "trials", "counts", "tallies", "attempts", "live_attempts"})


def submit(
    store: Store,
    study: StudyRow,
    verb: str,
    detail: Mapping[str, Any],
    *,
    clock: Clock,
    by: str | None = None,
) -> Wish:
    """Store a request. Nothing is stored where it is refused at once: BadSpec, NotFound or MoveRefused."""
    _refuse_at_once(store, study, verb, detail, clock)
    return ask(store, study, verb, detail, clock=clock, by=by)


def _refuse_at_once(
    store: Store, study: StudyRow, verb: str, detail: Mapping[str, Any], clock: Clock
) -> None:
    if verb == "delete":
        deletable(study, live=bool(store.live_attempts(study.study_id)))
        return
    if verb == "extend":
        check_extension(store, study.study_id, StudySpec.stored(study.spec), detail)
    before = store.wishes(study.study_id)
    if any(each.answer is None for each in before):
        return  # what is asked for already may change what can be granted
    asked = Wish(0, study.study_id, verb, detail, clock.time(), "")
    try:
        refusal = obey(cast("Store", _Reading(store, [*before, asked])), 0, asked, clock)
    except _Granted:
        return
    if refusal:
        raise MoveRefused(refusal)


class _Granted(Exception):
    """A request came as far as its first write."""


class _Reading:
    """A ledger that can only be read, for the engine's answer before anything is stored."""

    def __init__(self, store: Store, requests: list[Wish]) -> None:
        self._store, self._requests = store, requests

    def wishes(self, _: str) -> list[Wish]:
        return self._requests

    def __getattr__(self, name: str) -> Any:
        if name not in READS:
            raise _Granted
        return getattr(self._store, name)
