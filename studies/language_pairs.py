"""Does guidance help on six language pairs, at one meta learning rate for all? (the paper's Table 1)

Command   orch study create language-pairs --size quick
Run time  quick: about 4 minutes on 2 cores, confirmations included
Expected  the paper's Table 1 (BLEU): guided rows above the base row in most of the six pairs

No search at all: the base run and guided α, β1 and α+β1 at the paper's reach, each pair on fresh seeds.
"""

from __future__ import annotations

from typing import Any

from orchestrator.study.spec import Arm, RowRole, StudySpec
from studies import arms
from studies.parts import COLUMNS, PAIRS, REACH, Size

QUESTION = "Does guidance at one meta learning rate help on all six language pairs?"


def study(size: Size) -> StudySpec:
    rows: tuple[tuple[RowRole, str, dict[str, Any]], ...] = (
        ("base", "off", {}),
        *((name, "held-out", arms.guiding("held-out", name, eta=size.eta(REACH))) for name, _ in COLUMNS),
    )
    runs = tuple(
        Arm(
            name=f"{row}-{pair}",
            method="fixed",
            config={"data": {"pair": pair}, **config},
            row=row,
            role=row,
            column=pair,
            run_hours=size.hours[way],
        )
        for pair in PAIRS
        for row, way, config in rows
    )
    return arms.study_of(
        "language-pairs", size, (*runs, *(arms.confirmed(arm, size) for arm in runs)), question=QUESTION
    )
