"""Which trial is meant by a name that a person writes?"""

from __future__ import annotations

from orchestrator.ground.errors import NotFound
from orchestrator.ledger.base import Ledger
from orchestrator.ledger.records import TrialRow


def named(ledger: Ledger, given: str) -> TrialRow:
    """`study.arm.replicate.index`, with the study's id or its name."""
    study, dot, rest = given.partition(".")
    if not dot:
        raise NotFound(
            f"{given[:80]!r} is no trial. A trial is written study.arm.replicate.index, "
            f"such as bo-vs-guided-quick.base.0.0."
        )
    return ledger.trial(f"{ledger.study(study).study_id}.{rest}")
