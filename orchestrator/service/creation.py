"""How does a study begin, and how is it asked for something?"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.engine.checks import learned_by_arms, require_installed, require_runnable
from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import NameTaken
from orchestrator.ground.identity import whoami
from orchestrator.ledger import Store
from orchestrator.ledger.records import Receipt, StudyRow, StudyState, Wish
from orchestrator.study.canonical import spec_hash
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Created:
    study: StudyRow
    attached: bool  # an equal study of that name was there


def create(
    store: Store,
    spec: StudySpec,
    *,
    clock: Clock,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
) -> Created:
    """Write a study down once it is known to run. An equal spec under its name attaches to it."""
    require_runnable(spec)
    require_installed(spec)
    return written(store, new_study(spec, study_id=new_id(), created_at=clock.time()))


def written(store: Store, row: StudyRow, *, attach: bool = True, receipt: Receipt | None = None) -> Created:
    """The study in the ledger, or with `attach` the equal one of its name. NameTaken by another."""
    try:
        return Created(store.create_study(row, receipt=receipt), attached=False)
    except NameTaken as taken:
        there = store.study(taken.study_id)
        if not attach or there.spec_hash != row.spec_hash:
            raise
        return Created(there, attached=True)


def new_study(spec: StudySpec, *, study_id: str, created_at: float) -> StudyRow:
    """The row of a study that is known to run."""
    return StudyRow(
        study_id=study_id,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_hash=spec_hash(spec),
        state=StudyState.RUNNING,
        created_at=created_at,
        learns=learned_by_arms(spec),
    )


def ask(
    store: Store,
    study: StudyRow,
    verb: str,
    detail: Mapping[str, Any],
    *,
    clock: Clock,
    by: str | None = None,
) -> Wish:
    """Store a request for whoever leads; `asking` refuses first what can be refused at once."""
    return store.wish(study.study_id, verb, detail, asked_at=clock.time(), asked_by=by or whoami())
