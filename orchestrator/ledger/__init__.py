"""Where is the truth kept? `open_ledger` turns an address into a ledger, `named` a name into its trial."""

from __future__ import annotations

from orchestrator.ground import extras
from orchestrator.ground.errors import MissingPackage, NotFound, did_you_mean
from orchestrator.ground.settings import FILE
from orchestrator.ledger.base import Desk, Ending, Ledger, Store
from orchestrator.ledger.records import StudyRow, TrialRow
from orchestrator.ledger.rules import no_arm

__all__ = ["Desk", "Ending", "Ledger", "Store", "named", "open_ledger"]


def open_ledger(url: str) -> Store:
    """`memory://`, `sqlite:///path/to/file` or `postgresql://user@host/name`."""
    if url == "memory://":
        from orchestrator.ledger.memory import MemoryLedger

        return MemoryLedger()
    needed = ("sqlalchemy",) if url.startswith(FILE) else ("sqlalchemy", "psycopg")
    who = "A ledger" if url.startswith(FILE) else "A ledger in PostgreSQL"
    if sentence := extras.lacking(who, needed, instead=". Or name a service with --server."):
        raise MissingPackage(sentence)
    from orchestrator.ledger.sql import SqlLedger

    return SqlLedger(url)


def named(ledger: Ledger, given: str) -> TrialRow:
    """The trial that a person means by `study.arm.replicate.index`, with the study's id or its name."""
    study, dot, rest = given.partition(".")
    if not dot:
        raise NotFound(
            f"{given[:80]!r} is no trial. A trial is written study.arm.replicate.index, "
            f"such as bo-vs-guided-quick.base.0.0."
        )
    found = ledger.study(study)
    try:
        return ledger.trial(f"{found.study_id}.{rest}")
    except NotFound:
        raise _missing(ledger, found, rest) from None


def _missing(ledger: Ledger, study: StudyRow, given: str) -> NotFound:
    """That a study has no such trial, and which are the nearest."""
    arm, *place = given.split(".")
    arms = [each["name"] for each in study.spec["arms"]]
    if arm not in arms:
        return no_arm(study.name, arm, arms)
    replicate, index = [int(n[:9]) if n.isdecimal() else 0 for n in (*place, "", "")[:2]]
    trials = ledger.trials(study.study_id, arm=arm)
    trials.sort(key=lambda trial: (abs(trial.replicate - replicate), abs(trial.index - index)))
    near = [f"{study.name}.{arm}.{trial.replicate}.{trial.index}" for trial in trials[:3]]
    return NotFound(
        f"{study.name} has no trial {given[:80]!r}.{did_you_mean(near)} "
        f"To see all: orch trial list {study.name}"
    )
