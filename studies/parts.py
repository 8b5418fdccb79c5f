"""Which sizes, start points and ranges do the studies share?

Spaces are part of the answer: whoever doubts a result looks here first. The paper ("Simple and Effective
Gradient-Based Tuning of Sequence-to-Sequence Models") states its start points, not its ranges; ours hold
its start points and the best values that it reports (β1 .73) well inside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study.resources import Resources
from orchestrator.study.spec import Parameter, RowRole

ENTRYPOINT = "trainer.run"
METRIC = "dev_loss"
ALPHA = Parameter(path="optimizer.alpha", low=0.1, high=10.0, scale="log")
BETA1 = Parameter(path="optimizer.beta1", low=0.1, high=0.99, scale="logit")
# What is learned or searched; of the paper's Table 1 the rows.
COLUMNS: tuple[tuple[RowRole, tuple[Parameter, ...]], ...] = (
    ("alpha", (ALPHA,)),
    ("beta1", (BETA1,)),
    ("alpha+beta1", (ALPHA, BETA1)),
)
PAIRS = ("de-en", "en-de", "fi-en", "en-fi", "lt-en", "en-lt")

# Under a gradient of one sign Adam moves a raw value by about η̂ a step, so what carries over between run
# lengths is the reach η̂ · steps. The paper's η̂ of 3e-5 over 160,000 steps reaches 4.8.
REACH = 4.8
REACHES = (1.0, 2.2, REACH, 10.0)  # a decade, in four
REACH_RANGE = (0.1, 30.0)

# Of the paper's peak learning rate, in short runs: the best default by the rule of the study default-rate,
# at quick and at laptop. The paper's own is several times too low for them, and would be easy to beat.
RATE_FACTOR = 2
# Steps of a run that is saved at its end alone: at most a minute on a core, sooner done again than all runs
# have saved. One that is paused or whose machine is taken saves all the same.
SAVED_ONCE = 3_000
TARGETS = (1, 0.5, 0.25)  # of the default's dev loss
LENGTHS = (1.15, 1.3, 1.7)  # of plain training, over the base run's

# What a step of guided training costs over a plain one, as measured on the packed rows that studies train on:
# in plans, and wherever plain training is given the same time. The figures move with the trainer. The paper's
# table implies 1.52 for held-out: 43.2 h for 4 runs against 7.1 h for one.
OVER_PLAIN: Mapping[str, float] = {"off": 1.0, "held-out": 2.0, "next-batch": 1.19, "lagged": 1.08}


@dataclass(frozen=True)
class Size:
    """How large a study is: the runs, how long each trains, and what it is expected to cost."""

    name: str
    base: dict[str, Any]  # the config that all arms share
    bo_trials: int
    startup_trials: int
    reaches: tuple[float, ...]
    eta_trials: int
    confirmations: int  # fresh seeds for each chosen configuration
    claimed: int  # … and for the two that the claim compares: six pairs can reach p < 0.05
    lengths: tuple[float, ...]  # of plain training, over the base run's: what is a lower loss worth in steps?
    random_columns: tuple[str, ...]  # where random search is given BO's budget
    estimators: tuple[str, ...]  # of the one-run rows: what a user would really run
    hours: Mapping[str, float]  # of one run, by estimator; "bo" where static runs differ from "off"
    resources: Resources
    hang_after_s: float  # well above the time between two evaluations of a guided run
    cost_ratio: float  # of the claim: guided cost over BO's
    targets: tuple[float, ...]  # dev losses: what does it cost to reach them?

    @property
    def steps(self) -> int:
        return int(self.base["steps"])

    def eta(self, reach: float) -> float:
        """The meta learning rate of a reach, in six digits: a spec is read by people too."""
        return float(f"{reach / self.steps:.6g}")


def _small(
    name: str, *, steps: int, step_s: float, model: dict[str, Any], data: Any, default: float, **counts: Any
) -> Size:
    """A size for two cores of a laptop. A run also loads, evaluates and translates: `fixed_s`. `default` is
    the mean dev loss of the default configuration in the study default-rate: the targets come of it."""
    warmup_steps, fixed_s = steps // 10, 0.8
    base = {
        **cadence(steps),
        "data": {"source": "cldr", "pair": "de-en", "level": "phrases", **data},
        "model": model,
        "optimizer": _optimizer(RATE_FACTOR * papers_rate(warmup_steps)),
        "schedule": {"name": "inverse-sqrt", "warmup_steps": warmup_steps},
        "batch": {"sentences": 32, "buckets": 0},  # packed, as the paper's: half the time of padded rows
        "guidance": {"estimator": "off", "learn": [], "eta": float(f"{REACH / steps:.6g}")},
    }
    hours = {way: (steps * step_s * over + fixed_s) / 3600 for way, over in OVER_PLAIN.items()}
    return Size(
        name=name,
        base=base,
        estimators=("next-batch", "lagged"),
        hours=hours,
        resources=Resources(cpus=1),
        hang_after_s=600,
        lengths=LENGTHS[1:2] if name == "smoke" else LENGTHS,
        targets=tuple(float(f"{default * part:.3g}") for part in TARGETS),
        **counts,
    )


def _paper() -> Size:
    """Appendix C and D, and the hours of Table 2: 7.1, 708 / 100, 43.2 / 4 and 1,100 / 100 a run."""
    steps = 160_000
    base = {
        "steps": steps,
        "eval_every_steps": 16_000,
        "checkpoint_every_steps": 16_000,
        "data": {"source": "wmt19", "pair": "de-en", "level": "sentences"},
        "model": {"size": "paper-nmt", "dtype": "bfloat16"},
        "optimizer": _optimizer(0.4),
        "schedule": {"name": "inverse-sqrt", "warmup_steps": 4_000},
        "batch": {"sentences": 2_304},  # "~2,300", and sixteen devices divide it
        "guidance": {"estimator": "off", "learn": [], "eta": float(f"{REACH / steps:.6g}")},
        "mesh": {"data": 16},  # each chip of a v3 is two devices of JAX
    }
    return Size(
        name="paper",
        base=base,
        bo_trials=100,
        startup_trials=5,
        reaches=REACHES,
        eta_trials=100,
        confirmations=3,
        claimed=6,
        random_columns=tuple(column for column, _ in COLUMNS),
        estimators=(),
        hours={"off": 7.1, "bo": 7.08, "held-out": 10.8, "eta": 11.0},
        # "TPUv3 with 16 cores": 8 chips, on two hosts of 4.
        resources=Resources(cpus=8, tpu_type="v3-16", tpu_chips=4, hosts=2),
        lengths=LENGTHS,
        hang_after_s=4 * 3600,  # an evaluation is due every 43 minutes, every 65 when guided
        cost_ratio=0.1,
        targets=(),  # no default run has been made at this size
    )


def cadence(steps: int) -> dict[str, int]:
    """Four evaluations a run, and as many checkpoints, or one where a run is short."""
    quarter = steps // 4
    saved = steps if steps <= SAVED_ONCE else quarter
    return {"steps": steps, "eval_every_steps": quarter, "checkpoint_every_steps": saved}


def papers_rate(warmup_steps: int) -> float:
    """The learning rate that peaks under this warm-up where the paper's 0.4 does after its 4,000 steps."""
    return 0.4 * math.sqrt(warmup_steps / 4000)


def _optimizer(learning_rate: float) -> dict[str, Any]:
    """The paper's start points: LAMB's defaults, and α = 1."""
    rate = float(f"{learning_rate:.3g}")
    return {"name": "lamb", "learning_rate": rate, "alpha": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6}


def sizes() -> dict[str, Size]:
    """All sizes by name, made anew: nobody shares a config with anybody."""
    smoke = _small(
        "smoke",
        steps=40,
        step_s=0.004,
        default=4.83,
        # Too small to learn anything: it tries the machinery.
        model={"size": "tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
        data={"pairs": 2000},
        bo_trials=4,
        startup_trials=2,
        reaches=REACHES[1:3],
        eta_trials=3,
        confirmations=1,
        claimed=1,
        random_columns=("alpha+beta1",),
        cost_ratio=1.0,
    )
    quick = _small(
        "quick",
        steps=240,
        step_s=0.0145,
        default=0.278,
        model={"size": "tiny"},
        data={},
        bo_trials=10,
        startup_trials=3,
        reaches=REACHES,
        eta_trials=4,
        confirmations=2,
        claimed=6,
        random_columns=("alpha+beta1",),
        cost_ratio=1.0,
    )
    laptop = _small(
        "laptop",
        steps=400,
        step_s=0.0145,
        default=0.0892,
        model={"size": "tiny"},
        data={},
        bo_trials=100,
        startup_trials=5,
        reaches=REACHES,
        eta_trials=100,
        confirmations=3,
        claimed=6,
        random_columns=("alpha+beta1",),
        cost_ratio=0.1,
    )
    return {size.name: size for size in (smoke, quick, laptop, _paper())}
