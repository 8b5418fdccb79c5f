"""Which sizes, start points and ranges do the studies share?

Spaces are part of the answer: whoever doubts a result looks here first. The paper ("Simple and Effective
Gradient-Based Tuning of Sequence-to-Sequence Models") states its start points, not its ranges; ours hold
its start points and the best values that it reports (β1 .73) well inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.spec import Parameter, Resources

ALPHA = Parameter(path="optimizer.alpha", low=0.1, high=10.0, scale="log")
BETA1 = Parameter(path="optimizer.beta1", low=0.1, high=0.99, scale="logit")
COLUMNS = (("alpha", (ALPHA,)), ("beta1", (BETA1,)), ("alpha+beta1", (ALPHA, BETA1)))

# Under a gradient of one sign Adam moves a raw value by about η̂ a step, so what carries over between run
# lengths is the reach η̂ · steps. The paper's η̂ of 3e-5 over 160,000 steps reaches 4.8.
REACH = 4.8
REACHES = (1.0, 2.2, REACH, 10.0)  # a decade, in four
REACH_RANGE = (0.1, 30.0)

# Measured by the paper (Table 2): 43.2 h for 4 guided runs against 7.1 h for one base run.
GUIDED_OVER_PLAIN = 1.52


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
    plain_hours: float  # one run of the base arm
    bo_hours: float
    guided_hours: float
    eta_hours: float
    resources: Resources
    hang_after_s: float  # well above the time between two evaluations of a guided run
    cost_ratio: float  # of the claim: guided chip-hours over BO's


def _small(name: str, *, steps: int, pace_s: float, **counts: Any) -> Size:
    """A size for two cores of a laptop. A step of the `tiny` model is taken as 16 ms until measured."""
    step_s = 0.016
    plain_hours = steps * step_s / 3600
    guided_hours = plain_hours * GUIDED_OVER_PLAIN
    base = {
        "steps": steps,
        "eval_every_steps": steps // 4,
        "checkpoint_every_steps": steps // 4,
        "data": {"source": "cldr", "pair": "de-en", "level": "phrases"},
        "model": {"size": "tiny"},
        "optimizer": _optimizer(),
        "schedule": {"name": "inverse-sqrt", "warmup_steps": steps // 10},
        "batch": {"sentences": 32},
        "guidance": {"estimator": "off", "learn": [], "eta": eta(REACH, steps=steps)},
        "rehearsal": {"seconds_per_step": step_s, "pace_s": pace_s},
    }
    return Size(
        name=name,
        base=base,
        plain_hours=plain_hours,
        bo_hours=plain_hours,
        guided_hours=guided_hours,
        eta_hours=guided_hours,
        resources=Resources(cpus=1),
        hang_after_s=600,
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
        "model": {"size": "paper-nmt"},
        "optimizer": _optimizer(),
        "schedule": {"name": "inverse-sqrt", "warmup_steps": 4_000},
        "batch": {"sentences": 2_300},
        "guidance": {"estimator": "off", "learn": [], "eta": eta(REACH, steps=steps)},
        "rehearsal": {"seconds_per_step": 7.1 * 3600 / steps, "pace_s": 0.0},
    }
    return Size(
        name="paper",
        base=base,
        bo_trials=100,
        startup_trials=5,
        reaches=REACHES,
        eta_trials=100,
        confirmations=3,
        plain_hours=7.1,
        bo_hours=7.08,
        guided_hours=10.8,
        eta_hours=11.0,
        # "TPUv3 with 16 cores": 8 chips, on two hosts of 4.
        resources=Resources(cpus=8, tpu_type="v3-16", tpu_chips=4, hosts=2),
        hang_after_s=4 * 3600,  # an evaluation is due every 43 minutes, every 65 when guided
        cost_ratio=0.1,
    )


def _optimizer() -> dict[str, Any]:
    """The paper's start points: LAMB's defaults, and α = 1 on a learning rate of 0.4."""
    return {"name": "lamb", "learning_rate": 0.4, "alpha": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6}


def eta(reach: float, *, steps: int) -> float:
    """The meta learning rate of a reach, in six digits: a spec is read by people too."""
    return float(f"{reach / steps:.6g}")


def sizes() -> dict[str, Size]:
    """All sizes by name, made anew: nobody shares a config with anybody."""
    smoke = _small(
        "smoke",
        steps=80,
        pace_s=0.0,
        bo_trials=4,
        startup_trials=2,
        reaches=REACHES[1:3],
        eta_trials=3,
        confirmations=1,
        cost_ratio=1.0,
    )
    quick = _small(
        "quick",
        steps=400,
        pace_s=0.0003,
        bo_trials=8,
        startup_trials=3,
        reaches=REACHES,
        eta_trials=4,
        confirmations=3,
        cost_ratio=1.0,
    )
    laptop = _small(
        "laptop",
        steps=400,
        pace_s=0.0,
        bo_trials=100,
        startup_trials=5,
        reaches=REACHES,
        eta_trials=100,
        confirmations=3,
        cost_ratio=0.1,
    )
    return {size.name: size for size in (smoke, quick, laptop, _paper())}
