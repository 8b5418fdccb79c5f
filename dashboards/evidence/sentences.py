"""Are the claim's two choices apart, sentence by sentence? Their translations of the test split, compared.

Runs on the same fresh seed are a pair of systems on the same sentences: paired bootstrap and approximate
randomisation, as sacrebleu has them. This is about the sentences that happened to be in the test split;
the spread over seeds stands beside it, and neither replaces the other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dashboards.evidence.frames import Frame, Trial
from orchestrator.ledger import Ledger
from orchestrator.ledger.records import study_of
from orchestrator.runs.folders import Storage
from trainer.protocol import TRANSLATIONS

Texts = tuple[list[str], list[str]]  # references, translations

SWAPS, DRAWS, SEED = 2_000, 1_000, 0


@dataclass(frozen=True)
class Compared:
    """One seed: the challenger's test BLEU less the incumbent's, and how often chance gives as much."""

    seed: int
    sentences: int
    challenger: float
    incumbent: float
    difference: float
    low: float  # 95% over sentences
    high: float
    p_bootstrap: float
    p_randomisation: float
    signature: str


def compare(ledger: Ledger, frame: Frame, runs: Path) -> list[Compared]:
    """By seed; nothing without a claim, or where a run left no translations of the test split."""
    claim = frame.spec.claim
    if claim is None:
        return []
    sides = [
        {(t.replicate, t.seed): t for t in frame.confirming(frame.spec.arm(name))}
        for name in (claim.challenger, claim.incumbent)
    ]
    found = []
    for key in sorted(sides[0].keys() & sides[1].keys()):
        ours, theirs = (_translations(ledger, side[key], Storage(runs)) for side in sides)
        if ours is not None and theirs is not None and ours[0] == theirs[0] != []:  # the same sentences
            found.append(_compared(key[1], ours, theirs))
    return found


def _translations(ledger: Ledger, trial: Trial, storage: Storage) -> Texts | None:
    attempts = ledger.attempts(trial.trial_id)
    if not attempts:
        return None
    path = (
        storage.folder(study_of(trial.trial_id), trial.trial_id, attempts[-1].number) / TRANSLATIONS["test"]
    )
    try:
        _, *lines = map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
        return [line["reference"] for line in lines], [line["translation"] for line in lines]
    except (OSError, ValueError, KeyError, TypeError):  # never written, or lost since
        return None


def _compared(seed: int, ours: Texts, theirs: Texts) -> Compared:
    from trainer.scoring import metrics  # with numpy, which tables of a service are shown without

    (references, challenger), (_, incumbent) = ours, theirs
    drawn = metrics.paired_bootstrap(incumbent, challenger, references, samples=DRAWS, seed=SEED)
    swapped = metrics.approximate_randomisation(incumbent, challenger, references, samples=SWAPS, seed=SEED)
    low, high = drawn.interval or (float("nan"), float("nan"))
    return Compared(
        seed=seed,
        sentences=len(references),
        challenger=drawn.b,
        incumbent=drawn.a,
        difference=drawn.difference,
        low=low,
        high=high,
        p_bootstrap=drawn.p_value,
        p_randomisation=swapped.p_value,
        signature=drawn.signature,
    )
