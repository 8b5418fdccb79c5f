"""How far is each estimator of the hypergradient from the truth, and over which horizon?

Command   orch study create hypergradient-audit --size quick
Run time  quick: 9 minutes on 2 cores from a cold start; laptop: 21 planned, and programs to compile
Expected  the truth says "raise α" from ten steps ahead on, and so does `lagged`; one step ahead the slope is
          a hundredth of that at a hundred steps, and estimators that look there are often wrong about the
          rest of the run; for β1 the truth says "lower it", and so does almost all
          (docs/results/hypergradient-audit-quick.md)

In each cell an unguided run is forked at evenly spaced steps: α and β1 are held above and below their raw
values for K steps, on identical batches with identical random keys, and the losses on the dev split are
compared. That slope is set beside what each estimator says at the same state of the same run. Three seeds a
cell. Nothing is learned or chosen here, so that there is nothing to confirm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.study.spec import Arm, StudySpec
from studies import arms
from studies.cells import Cell, cells
from studies.parts import OVER_PLAIN, Size

QUESTION = "Does each estimator of the hypergradient have the sign of the true long-range response?"
ENTRYPOINT = "trainer.audit"
SCHEDULES = ("inverse-sqrt", "linear")  # one that never anneals, one that does
SEEDS = 3
FORKS = 8
SPANS: Mapping[str, tuple[int, ...]] = {"smoke": (1, 5, 20), "quick": (1, 10, 50, 100)}  # runs of 40 and 240
LONG_RUNS = (1, 10, 50, 200)
SIGNS, MOVED = 2, 2  # α and β1, each up and down

# In plain steps: what looking on adds to a step, and the losses of a fork on the dev split.
OBSERVED_OVER_PLAIN, EVALUATION_STEPS = 1.4, 7


def study(size: Size) -> StudySpec:
    spans = SPANS.get(size.name, LONG_RUNS)
    audits = tuple(
        Arm(
            name=f"audit-{cell.slug}",
            method="fixed",
            config={**cell.config(), "audit": _audit(spans)},
            row="audit",
            column=cell.name,
            run_hours=_hours(cell, size, spans),
        )
        for cell in cells(size)
        if cell.schedule in SCHEDULES
    )
    asked = arms.study_of(
        "hypergradient-audit", size, audits, question=QUESTION, targets=False, replicates=SEEDS
    )
    return asked.model_copy(update={"entrypoint": ENTRYPOINT})


def _audit(spans: tuple[int, ...]) -> dict[str, Any]:
    return {"at": FORKS, "spans": list(spans), "step": 0.1, "learn": ["alpha", "beta1"]}


def _hours(cell: Cell, size: Size, spans: tuple[int, ...]) -> float:
    """Of one run with its forks."""
    # A plain step, without what a run loads, evaluates and translates: by what guidance adds to a run.
    step = (size.hours["held-out"] - size.hours["off"]) / (OVER_PLAIN["held-out"] - 1) / size.steps
    ends = [(2 * i + 1) * cell.steps // (2 * FORKS) for i in range(FORKS)]
    fitting = [[span for span in spans if end + span <= cell.steps] for end in ends]
    forked = SIGNS * MOVED * sum(max(of, default=0) + EVALUATION_STEPS * len(of) for of in fitting)
    return cell.hours(size) + step * ((OBSERVED_OVER_PLAIN - 1) * cell.steps + forked)
