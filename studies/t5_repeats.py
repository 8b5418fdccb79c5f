"""Pretraining a T5 on less text, seen more often: does guidance see it coming? (Table 9 and Figure 6 of T5)

Command   orch study create t5-repeats --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 5 minutes planned on 2 cores, and compiling; paper: to be planned and rehearsed here, not run
Expected  in T5's paper the training loss falls as text repeats, and what was learned is worth less: hardly at
          64 repeats, plainly at 1,024 and more. The guidance set is held out, so guidance can see it

A column is how often a run reads its text: all columns train for the same steps, each on the first so many
tokens (`data.tokens`). Rows: base, without momentum as T5 has it; α and β1 guided at one meta learning rate
η̂, of the reach of the paper's own (10); `lagged` at its own settings. Nothing is chosen, so all runs are on
fresh seeds, the same in every cell. Look at the dev loss and at the training loss: their distance is what was
learned by heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.study.spec import Arm, Claim, StudySpec
from studies import arms
from studies.parts import METRIC, Size
from studies.t5_parts import WITHOUT_MOMENTUM, text_tokens

QUESTION = (
    "Does guidance, which looks at held-out text, keep a T5 from learning by heart what it reads often?"
)
LEARNED = "alpha+beta1"
PAPERS_REACH = 10.0  # 1e-5 over a million steps
REPEATS = {  # T5's are 64, 256, 1,024 and 4,096, beside text that is never repeated
    "smoke": (1, 8),
    "quick": (1, 16, 64, 256),
    "laptop": (1, 16, 64, 256, 1024),
    "paper": (1, 64, 256, 1024, 4096),
}


def study(size: Size) -> StudySpec:
    repeats = REPEATS[size.name]
    claimed = max(repeats)
    return arms.study_of(
        "t5-repeats",
        size,
        tuple(arm for often in repeats for arm in _column(often, size)),
        claim=Claim(
            text=(
                f"On text that is read {claimed:,} times, learning α and β1 gives a lower dev loss than "
                f"base, on fresh paired seeds and at the same number of steps."
            ),
            challenger=f"guided-{claimed}",
            incumbent=f"base-{claimed}",
            metric=METRIC,
        ),
        question=QUESTION,
        targets=False,
    )


def _column(often: int, size: Size) -> Iterator[Arm]:
    data: dict[str, Any] = {"data": {"tokens": text_tokens(size.base) // often}}
    more: dict[str, Any] = {"trials": size.claimed}
    column = f"{often:,}"
    hours = size.hours
    base = {**data, **WITHOUT_MOMENTUM}
    yield arms.repeated(
        f"base-{often}", column, "base", config=base, role="base", run_hours=hours["off"], **more
    )
    guided = {**data, **arms.guiding("held-out", LEARNED, eta=size.eta(PAPERS_REACH))}
    yield arms.repeated(
        f"guided-{often}", column, "guided", config=guided, role="guided", run_hours=hours["held-out"], **more
    )
    lagged = {**data, **arms.guiding("lagged", LEARNED, eta=None)}
    yield arms.repeated(
        f"lagged-{often}",
        column,
        arms.ESTIMATOR_ROWS["lagged"],
        config=lagged,
        phase="control",
        run_hours=hours["lagged"],
        trials=size.confirmations,
    )
