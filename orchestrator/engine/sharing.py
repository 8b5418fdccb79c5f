"""Who shared the accelerator on which an attempt ran out of memory? The engine knows all that lived there.

A worker says which GPUs or chips it was given and how much of each (provenance). The reason is completed here
before it is written down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from orchestrator.ledger.records import AttemptRow, study_of
from orchestrator.ledger.rules import heard
from orchestrator.runs import ends
from orchestrator.runs.contract import AttemptKey, Progress
from orchestrator.runs.folders import Storage, read_journal

NAMES = {"GPU": ("GPU", "GPUs"), "TPU": ("TPU chip", "TPU chips")}
MOST_SAID = 300  # characters of the exception's first line; the traceback has all


def in_full(
    live: Sequence[AttemptRow], news: Mapping[AttemptKey, Progress], storage: Storage
) -> dict[AttemptKey, Progress]:
    """The news, where each end by lack of memory says on what, who else was there, and what to do."""
    found = dict(news)
    short = [
        key
        for key, progress in news.items()
        if progress.ended is not None
        and progress.ended.how == "raised"
        and ends.out_of_memory(progress.ended.reason)
    ]
    if not short:
        return found
    told = {row.key: _provenance(row, news[row.key], storage) for row in live if row.key in news}
    for key in short:
        progress = found[key]
        if progress.ended is not None and told.get(key, {}).get("accelerators"):
            reason = _reason(key, told, progress)
            found[key] = replace(progress, ended=replace(progress.ended, reason=reason))
    return found


def _provenance(attempt: AttemptRow, progress: Progress, storage: Storage) -> Mapping[str, Any]:
    """Also of one that has begun and is not heard of yet: it has written that down first."""
    found = reduce(heard, progress.events, attempt).provenance
    if not found:
        with contextlib.suppress(OSError):
            folder = storage.folder(study_of(attempt.trial_id), *attempt.key)
            found = reduce(heard, read_journal(folder, *attempt.key)[0], attempt).provenance
    return found


def _reason(key: AttemptKey, told: Mapping[AttemptKey, Mapping[str, Any]], progress: Progress) -> str:
    own = told[key]
    kind, numbers = next(iter(own["accelerators"].items()))
    host, share = str(own.get("host", "")), float(own.get("share", 1))
    one, several = NAMES.get(kind, (kind, kind))
    what = f"{one if len(numbers) == 1 else several} {', '.join(numbers)} of {host}"
    if progress.host not in ("", host):  # another of its gang, whose numbers are not known here
        what = f"{several if len(numbers) > 1 else f'a {one}'} of {progress.host}"
    assert progress.ended is not None
    said = next(iter(progress.ended.reason.strip().splitlines()), "")[:MOST_SAID]
    if share >= 1:
        return f"Out of memory on {what}, which it had to itself. Make the batch smaller. {said}"
    beside = [
        f"{trial_id} ({float(other.get('share', 1)):g})"
        for (trial_id, number), other in sorted(told.items())
        if (trial_id, number) != key
        and other.get("host") == host
        and set(other.get("accelerators", {}).get(kind, ())) & set(numbers)
    ]
    with_whom = f"beside {', '.join(beside)}" if beside else "and no other trial of this ledger was there"
    return (
        f"Out of memory on {what}, of which it held {share:g}, {with_whom}. Put fewer trials on one {one} "
        f"(resources.gpus: 1), or make the batch smaller. {said}"
    )
