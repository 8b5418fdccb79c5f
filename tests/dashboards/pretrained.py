"""A study of pretraining as `t5-pretraining` has it, with curves that fall as a power of the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import Run

STEPS, EVALUATIONS, KAPPA = 480, 16, 0.3
ETAS = (0.002, 0.0067, 0.02, 0.067)
LUCK = (0.0, 0.004, -0.006, 0.002, -0.003, 0.005)  # of a fresh seed, in logarithms: all rows share it
BASE: Mapping[str, Any] = {
    "steps": STEPS,
    "data": {"source": "prose", "source_tokens": 64},
    "objective": {"name": "random-spans"},
    "model": {"size": "t5-tiny", "dropout": 0.0},
    "optimizer": {"name": "adafactor", "learning_rate": 0.02, "alpha": 1.0, "beta1": 0.9},
    "schedule": {"name": "constant-rsqrt", "warmup_steps": 48},
    "batch": {"sentences": 16},
}
WITHOUT_MOMENTUM = {"optimizer": {"beta1": 0.0}}


def learning(what: str, **more: Any) -> dict[str, Any]:
    return {"guidance": {"estimator": "held-out", "learn": what.split("+"), **more}}


def confirming(arm: Mapping[str, Any], *, trials: int) -> dict[str, Any]:
    own = {"method": "fixed", "after": {"arm": arm["name"]}, "fresh_seeds": True, "phase": "confirm"}
    return {
        "name": f"confirm-{arm['name']}",
        "row": arm["row"],
        "column": arm["column"],
        "trials": trials,
        **own,
    }


def spec(*, seeds: int = 6, others: int = 2, **changes: Any) -> StudySpec:
    """Base; α, and α and β1, over four η̂; BO; β1 static and learned from two values."""
    base = {"name": "base", "method": "fixed", "row": "base", "column": "*", "config": WITHOUT_MOMENTUM}
    space = [{"path": "optimizer.alpha", "low": 0.1, "high": 10.0, "scale": "log"}]
    bo = {"name": "bo-alpha+beta1", "method": "gp", "row": "+ BO", "column": "alpha+beta1", "space": space}
    grid = {"method": "grid", "space": [{"path": "guidance.eta", "values": list(ETAS)}], "trials": len(ETAS)}
    guided = [
        {"name": f"guided-{c}", "row": "guided", "role": "guided", "column": c, "config": learning(c), **grid}
        for c in ("alpha", "alpha+beta1")
    ]
    beta1 = [
        {
            "name": f"{name}-{start:g}".replace(".", "_"),
            "method": "fixed",
            "row": f"{row} .{10 * start:.0f}",
            "column": "beta1",
            "config": {
                **({} if name == "static" else learning("beta1", eta=3e-3)),
                "optimizer": {"beta1": start},
            },
            "trials": others,
            "fresh_seeds": True,
            "phase": "control",
        }
        for start in (0.1, 0.9)
        for name, row in (("static", "plain, β1 ="), ("learned", "guided, β1 from"))
    ]
    arms = [
        base,
        {**bo, "trials": 3, "startup_trials": 2},
        *guided,
        *(confirming(arm, trials=seeds) for arm in (base, bo, guided[1])),
        confirming(guided[0], trials=others),
        *beta1,
    ]
    claim = {
        "text": "At no more than BO's chip-hours, guided has the lower dev loss.",
        "challenger": "guided-alpha+beta1",
        "incumbent": "bo-alpha+beta1",
        "metric": "dev_loss",
        "cost_ratio": 1.0,
    }
    data: dict[str, Any] = {
        "name": "t5-pretraining-quick",
        "entrypoint": "orchestrator.rehearsal",
        "base": BASE,
        "arms": arms,
        "claim": claim,
        "objective": {"metric": "dev_loss", "goal": "minimize", "split": "select"},
    }
    return StudySpec.model_validate({**data, **changes})


def loss(step: float, *, speed: float = 1.0, luck: float = 0.0) -> float:
    """Of a run that does in one step what base does in `speed` of them."""
    return 40.0 * (speed * step) ** -KAPPA * math.exp(luck)


def run(
    *, speed: float = 1.0, luck: float = 0.0, hours: float = 1.0, evaluations: int = EVALUATIONS, **more: Any
) -> Run:
    steps = [STEPS * (i + 1) // evaluations for i in range(evaluations)]
    said = [(step, "eval", {"dev_loss": loss(step, speed=speed, luck=luck)}, {}) for step in steps]
    end = loss(STEPS, speed=speed, luck=luck)
    return Run(end, values={"dev_loss": end, "train_loss": 0.9 * end}, hours=hours, said=said, **more)


def on_seeds(n: int, **how: Any) -> list[Run]:
    return [run(luck=luck, **how) for luck in LUCK[:n]]


def over_etas(*speeds: float, **how: Any) -> list[Run]:
    return [run(speed=s, point={"guidance.eta": eta}, **how) for s, eta in zip(speeds, ETAS, strict=True)]


def results(**changes: list[Run]) -> dict[str, list[Run]]:
    """On α the lowest η̂ alone beats base; β1 makes a difference of under one percent; both together are twice
    as fast as base, and a step of theirs costs one and a half of its own."""
    return {
        "base": [run()],
        "bo-alpha+beta1": [
            run(speed=s, point={"optimizer.alpha": a}) for s, a in ((1.0, 1.0), (1.1, 2.0), (0.7, 4.0))
        ],
        "guided-alpha": over_etas(1.02, 0.9, 0.8, 0.5, hours=1.5),
        "guided-alpha+beta1": over_etas(1.5, 2.0, 1.8, 0.9, hours=1.5),
        "confirm-base": on_seeds(6),
        "confirm-bo-alpha+beta1": on_seeds(6, speed=1.1),
        "confirm-guided-alpha+beta1": on_seeds(6, speed=2.0, hours=1.5),
        "confirm-guided-alpha": on_seeds(2, speed=1.02, hours=1.5),
        "static-0_1": on_seeds(2, speed=1.01),
        "static-0_9": on_seeds(2, speed=0.99),
        "learned-0_1": on_seeds(2, speed=1.02, hours=1.5),
        "learned-0_9": on_seeds(2, speed=1.02, hours=1.5),
        **changes,
    }
