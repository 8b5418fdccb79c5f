"""Is a request refused at once? One that is not is stored for whoever leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from orchestrator.engine.requests import check_extension, obey
from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import BadSpec, MoveRefused, closest
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
    """Store a request. BadSpec or MoveRefused, and nothing is stored, where the refusal is known already."""
    _refuse_at_once(store, study, verb, detail, clock)
    return ask(store, study, verb, detail, clock=clock, by=by)


def unknown_arm(spec: StudySpec, name: str) -> str:
    """A sentence with the nearest names for an arm that a study does not have; "" for one that it has."""
    names = [arm.name for arm in spec.arms]
    return "" if name in names else f"{spec.name} has no arm {name[:80]!r}.{closest(name[:80], names)}"


def _refuse_at_once(
    store: Store, study: StudyRow, verb: str, detail: Mapping[str, Any], clock: Clock
) -> None:
    if verb == "delete":
        deletable(study, live=bool(store.live_attempts(study.study_id)))
        return
    if verb == "extend":
        spec = StudySpec.stored(study.spec)
        for name in detail:
            if unknown := unknown_arm(spec, name):
                raise BadSpec(unknown)
        check_extension(store, study.study_id, spec, detail)
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
