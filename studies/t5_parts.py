"""With which weights, on which rows and how large are the studies of fine-tuning?

Defaults are those with which T5 was fine-tuned (3.1.2 of its paper): Adafactor without momentum, at a
constant learning rate of 0.001. Whoever names no weights and no rows gets `t5-tiny` with random ones and the
embedded task `numbers`, at the best learning rate of a grid: on two seeds that no study trains on, of 1, 2,
4, 8 and 16 times T5's rate, in runs of 240 steps. Without momentum the scores were 66, 70, 77, 79 and 80,
with a β1 of .9 they were 64, 70, 76, 80 and 80; the dev loss is lowest at 8 times in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from orchestrator.study.spec import Resources
from studies.parts import OVER_PLAIN, REACH, REACHES, Size, cadence

METRIC = "score"  # the mean of the task's metrics, in percent
RATE = 1e-3  # T5's, for its weights
RANDOM_RATE = 8e-3
TASK = "numbers"
BETA1 = 0.9  # where searches and guidance begin: of 0 no β1 can be learned
TINY = {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1}


@dataclass(frozen=True)
class Begun:
    """What a caller says of the weights to begin with and of the rows; what is empty is the study's own."""

    init: str = ""
    task: str = ""
    path: str = ""
    prefix: str = ""
    metrics: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(self) if getattr(self, f.name))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the plan of such a study does not know."""
        others = " and ".join(
            words for words, known in (("weights", self.init), ("rows", self.task or self.path)) if known
        )
        return (f"The hours are those of t5-tiny on the embedded task; other {others} change them.",) * bool(
            others
        )


def sized(size: str, begun: Begun) -> Size:
    """A size, with these weights and rows."""
    found = sizes()[size]
    base = dict(found.base)
    if begun.init:
        del base["model"]  # as it is in the folder
        base |= {"init": begun.init, "optimizer": {**base["optimizer"], "learning_rate": RATE}}
    if begun.task or begun.path:
        base["data"] = {"task": begun.task or base["data"]["task"]}
    said = {"path": begun.path, "prefix": begun.prefix}
    base["data"] = {**base["data"], **{name: value for name, value in said.items() if value}}
    if begun.metrics:
        base["score"] = {**base["score"], "metrics": list(begun.metrics)}
    return replace(found, base=base, targets=() if begun.given else found.targets)


def _small(
    name: str, *, steps: int, step_s: float, model: Mapping[str, Any], data: Mapping[str, Any], **counts: Any
) -> Size:
    """A size for two cores of a laptop. A run also loads, evaluates and answers: `fixed_s`."""
    fixed_s = 1.2
    base = {
        **cadence(steps),
        "data": {"task": TASK, "source_tokens": 32, "target_tokens": 4, **data},
        "model": {"size": "t5-tiny", **model},
        "optimizer": {"name": "adafactor", "learning_rate": RANDOM_RATE, "alpha": 1.0, "beta1": BETA1},
        "schedule": {"name": "constant", "warmup_steps": 0},
        "batch": {"sentences": 32, "buckets": 0},
        "guidance": {"estimator": "off", "learn": [], "eta": float(f"{REACH / steps:.6g}")},
        "score": {"dev_sentences": 500},
    }
    return Size(
        name=name,
        base=base,
        estimators=("lagged",),
        hours={way: (steps * step_s * over + fixed_s) / 3600 for way, over in OVER_PLAIN.items()},
        resources=Resources(cpus=1),
        hang_after_s=1800,  # other weights take longer
        lengths=(),  # a speed-up is read from losses
        random_columns=(),
        cost_ratio=1.0,
        **counts,
    )


def sizes() -> dict[str, Size]:
    """All sizes by name, made anew. T5 itself was tuned for 2^18 steps: for that set steps."""
    smoke = _small(
        "smoke",
        steps=40,
        step_s=0.004,
        model=TINY,  # too small to learn anything: it tries the machinery
        data={"pairs": 2000},
        bo_trials=4,
        startup_trials=2,
        reaches=REACHES[1:3],
        eta_trials=0,
        confirmations=1,
        claimed=1,
        targets=(),
    )
    quick = _small(
        "quick",
        steps=240,
        step_s=0.0095,
        model={},
        data={},
        bo_trials=10,
        startup_trials=3,
        reaches=REACHES,
        eta_trials=0,
        confirmations=6,
        claimed=6,
        targets=(70.0, 80.0, 85.0),
    )
    laptop = _small(
        "laptop",
        steps=400,
        step_s=0.0095,
        model={},
        data={},
        bo_trials=50,
        startup_trials=5,
        reaches=REACHES,
        eta_trials=0,
        confirmations=6,
        claimed=10,
        targets=(80.0, 85.0, 90.0),
    )
    return {size.name: size for size in (smoke, quick, laptop)}
