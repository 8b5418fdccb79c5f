"""How is a benchmark's result told? One object for scripts, one table for people."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Result:
    """`ratios` are what is claimed; `figures` what they were made of; `wants` the targets."""

    benchmark: str
    ratios: Mapping[str, float]
    figures: Mapping[str, Any]
    wants: Mapping[str, str]
    environment: Mapping[str, Any]


def result(
    benchmark: str, *, ratios: Mapping[str, float], figures: Mapping[str, Any], wants: Mapping[str, str]
) -> Result:
    return Result(benchmark, ratios, figures, wants, environment())


def environment() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or None,
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("jax", "optax", "ray", "optuna", "sqlalchemy")},
    }


def spread(samples: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(samples), "least": min(samples), "most": max(samples)}


def table(done: Result) -> str:
    """Markdown that a person can read and RESULTS.md can hold."""
    lines = ["| key | measured | want |", "|---|---|---|"]
    for key, value in done.ratios.items():
        lines.append(f"| {key} | {value:.4g} | {done.wants.get(key, '')} |")
    for key, value in done.figures.items():
        shown = json.dumps(value, default=lambda v: round(v, 5))
        lines.append(
            f"| {key} | {_rounded(value) if isinstance(value, dict) else shown} | {done.wants.get(key, '')} |"
        )
    return "\n".join(lines)


def _rounded(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_rounded(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show(done: Result, argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=f"The {done.benchmark} benchmark.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.parse_args(argv).json:
        print(json.dumps(asdict(done)))
    else:
        print(table(done))
