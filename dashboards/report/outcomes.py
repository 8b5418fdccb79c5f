"""What became of each study in a list, in one word? Concluded once for a study that has ended, and kept.

A study is concluded again when one of its trials has moved, or when the rules have changed. The file in which
the words are kept may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.ground.errors import OrchError
from orchestrator.ledger import Ledger
from orchestrator.ledger.records import StudyRow, StudyState
from trainer.protocol import whole

FILE = "answers.json"  # in the home
RULES = Path(__file__).parents[1] / "evidence"


def of_studies(
    ledger: Ledger, studies: Sequence[StudyRow], file: Path | None = None
) -> dict[str, str | None]:
    """By the study's id; None for one that has not completed. `file`: where the words are kept."""
    ended = [study for study in studies if study.state is StudyState.COMPLETED]
    counts = ledger.counts_of([study.study_id for study in ended])
    kept = _read(file)
    found: dict[str, str | None] = {study.study_id: None for study in studies}
    fresh: dict[str, list[str]] = {}
    for study in ended:
        version = _version(study, counts[study.study_id])
        known = kept.get(study.study_id)
        if known is not None and known[0] == version:
            found[study.study_id] = known[1]
            continue
        with suppress(OrchError):  # a study that cannot be read is listed all the same
            outcome = of_study(ledger, study)
            found[study.study_id] = outcome
            fresh[study.study_id] = [version, outcome]
    if file is not None and fresh:
        with suppress(OSError), whole(file) as unfinished:  # on a full disk they are concluded again
            unfinished.write_text(json.dumps(kept | fresh))
    return found


def of_study(ledger: Ledger, study: StudyRow) -> str:
    """Loads what concluding needs, which takes a second."""
    from dashboards.evidence import frames, headline, verdict

    frame = frames.read(ledger, study.study_id)
    return headline.outcome(frame, verdict.judge(frame))


def _version(study: StudyRow, counts: Mapping[Any, int]) -> str:
    facts = (study.reason, sorted(study.extra_trials.items()), sorted(counts.items()), _rules())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


@cache
def _rules() -> str:
    """A word that changes with the code that concludes."""
    files = [(path.name, os.stat(path)) for path in sorted(RULES.glob("*.py"))]
    return repr([(name, found.st_size, found.st_mtime_ns) for name, found in files])


def _read(file: Path | None) -> dict[str, list[str]]:
    """What is kept; nothing of a file that is not ours."""
    with suppress(OSError, ValueError):
        said = {} if file is None else json.loads(file.read_text())
        if isinstance(said, dict):
            return {k: v for k, v in said.items() if isinstance(v, list) and len(v) == 2}
    return {}
