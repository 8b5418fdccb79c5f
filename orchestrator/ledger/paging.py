"""How are all events of a ledger, a study or a trial read? Page by page, in order."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.ledger.base import Ledger
from orchestrator.ledger.records import StoredEvent

PAGE = 1000


def pages(
    ledger: Ledger, *, after: int = 0, study_id: str | None = None, trial_id: str | None = None
) -> Iterator[list[StoredEvent]]:
    """All that is there; a page is read when it is asked for."""
    more = True
    while more:
        page = ledger.events(after=after, study_id=study_id, trial_id=trial_id, limit=PAGE)
        if page:
            yield page
            after = page[-1].event_id
        more = len(page) == PAGE


def events(
    ledger: Ledger, *, after: int = 0, study_id: str | None = None, trial_id: str | None = None
) -> Iterator[StoredEvent]:
    for page in pages(ledger, after=after, study_id=study_id, trial_id=trial_id):
        yield from page
