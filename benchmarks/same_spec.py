"""Is a study as quick as it was, and does it find the same? One spec file on another version and on this one.

Both start cold: a fresh home without text and without compiled programs. One after the other, on a machine
that does nothing else.  python -m benchmarks.same_spec --against ~/orch-before
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measuring import Result, environment, result, table
from benchmarks.study_run import (
    CLOCKS,
    HERE,
    Checkout,
    Parts,
    beyond_training,
    cleared,
    in_slots,
    interruptible,
    study,
)

SPEC = HERE / "benchmarks" / "specs" / "quick-157.json"  # `make study` at fb3eb9d
AGAINST, THIS = "against", "this"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--against", required=True, help="a checkout with a .venv, or an environment's python"
    )
    parser.add_argument("--spec", type=Path, default=SPEC, help="a spec file that both versions accept")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where homes and logs go, and where a measurement goes on that was interrupted "
        "(default: orch-same-spec in the temporary folder)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(argv)
    folder = asked.folder or Path(tempfile.gettempdir()) / "orch-same-spec"
    spec = asked.spec.absolute()
    sides = {AGAINST: Checkout.at(asked.against), THIS: Checkout.here()}
    with interruptible():
        parts = Parts(
            folder.absolute() / "parts.json",
            spec=str(spec),
            workers=asked.workers,
            against=str(sides[AGAINST].python),
            commit=environment()["commit"],
        )
        found = {
            side: parts.measured(
                side,
                functools.partial(_cold, checkout, spec, folder.absolute() / side, asked.workers, side),
            )
            for side, checkout in sides.items()
        }
    done = compared(found[AGAINST], found[THIS], workers=asked.workers)
    if asked.json:
        print(json.dumps(asdict(done)))
    else:
        figures = {key: value for key, value in done.figures.items() if key != "dev_loss"}
        print(table(dataclasses.replace(done, figures=figures)))
        print(f"\n{by_arm(done.figures['dev_loss'])}")
    return 0


def _cold(checkout: Checkout, spec: Path, folder: Path, workers: int, side: str) -> dict[str, Any]:
    home = folder / "home"
    cleared(home)
    return study(checkout, [str(spec)], home=home, workers=workers, name="study", label=side)


def compared(against: Mapping[str, Any], this: Mapping[str, Any], *, workers: int) -> Result:
    if against["spec_hash"] != this["spec_hash"]:
        raise SystemExit(f"The two ran different specs: {against['spec_hash']} and {this['spec_hash']}.")
    sides = {AGAINST: against, THIS: this}
    figures: dict[str, Any] = {"spec_hash": this["spec_hash"]}
    for key in ("wall_s", "study_s", "cpu_s", "verdict", "states", "load_before"):
        figures[key] = {side: of[key] for side, of in sides.items()}
    for clock in CLOCKS:
        figures[clock] = {side: of["clocks"][clock] for side, of in sides.items()}
    figures["beyond_training"] = {
        side: beyond_training(of["clocks"], cpu_s=of["cpu_s"], trials=of["trials"])
        for side, of in sides.items()
    }
    figures["slots_busy"] = {
        side: in_slots(of["clocks"]) / (workers * of["study_s"]) for side, of in sides.items()
    }
    figures["dev_loss"] = {arm: {side: of["arms"][arm] for side, of in sides.items()} for arm in this["arms"]}
    figures["beyond_noise"] = sorted(arm for arm, of in figures["dev_loss"].items() if beyond_noise(**of))
    return result(
        "same_spec",
        ratios={
            "wall": this["wall_s"] / against["wall_s"],
            "study": this["study_s"] / against["study_s"],
            "cpu": this["cpu_s"] / against["cpu_s"],
        },
        figures=figures,
        wants={"wall": "≤ 0.7"},
    )


def beyond_noise(against: Mapping[str, Any], this: Mapping[str, Any]) -> bool:
    """Whether two arms' means are further apart than three standard errors of their seeds. False where there
    is no spread to judge by."""
    if not (against.get("sd") and this.get("sd")):
        return False
    error = math.sqrt(sum(of["sd"] ** 2 / of["runs"] for of in (against, this)))
    return bool(abs(this["mean"] - against["mean"]) > 3 * error)


def by_arm(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """The dev losses of every arm on both sides: mean ± standard deviation of its seeds, or the best."""
    lines = [f"| arm | runs | {AGAINST} | {THIS} |", "|---|---|---|---|"]
    for arm, sides in arms.items():
        runs = sorted({of["runs"] for of in sides.values()})
        told = [_value(sides[side]) for side in (AGAINST, THIS)]
        lines.append(f"| {arm} | {', '.join(map(str, runs))} | {' | '.join(told)} |")
    return "\n".join(lines)


def _value(arm: Mapping[str, Any]) -> str:
    if "best" in arm:
        return f"best {arm['best']:.4f}"
    if "mean" not in arm:
        return "none"
    return f"{arm['mean']:.4f}" + (f" ± {arm['sd']:.4f}" if arm["sd"] is not None else "")


if __name__ == "__main__":
    sys.exit(main())
