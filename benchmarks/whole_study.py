"""How long does a whole study take beside a script of the same runs? `bo-vs-guided` against tune_script.py.

Both do the same runs with the same trainer, as many at a time. Cold: empty homes, no compiled programs. Warm:
again, with the programs and the text of the cold one. Four parts, each told when it is ready and kept in
FOLDER/parts.json, so that a measurement that was interrupted goes on with the parts that are missing.

  python -m benchmarks.whole_study --folder /tmp/whole              all four, theirs and ours in turn
  python -m benchmarks.whole_study --folder /tmp/whole --only ours --cold
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import secrets
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
    leave_programs,
    study,
    tell,
    timed,
)

STUDY = "bo-vs-guided"
SIDES, STATES = ("ours", "theirs"), ("cold", "warm")
WANTS = {"vs_script_cold": "≥ 1.3", "vs_script_warm": "≥ 1.2", "beyond_training": "≤ 0.8"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("smoke", "quick"), default="quick")
    parser.add_argument("--only", choices=SIDES, help="one side (default: both)")
    parser.add_argument("--cold", action="store_true", help="the cold parts alone")
    parser.add_argument(
        "--warm", action="store_true", help="the warm parts, and the cold ones they come after"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time")
    parser.add_argument(
        "--folder", type=Path, help="of homes, logs and parts (default: orch-whole-study-SIZE, temporary)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args(argv)
    folder = asked.folder or Path(tempfile.gettempdir()) / f"orch-whole-study-{asked.size}"
    folder = folder.absolute()
    with interruptible():
        parts = Parts(
            folder / "parts.json", size=asked.size, workers=asked.workers, commit=environment()["commit"]
        )
        for name in wanted(asked.only, cold=asked.cold, warm=asked.warm):
            side = name.partition("-")[0]
            measure = functools.partial(
                _part, name, folder=folder / side, size=asked.size, workers=asked.workers
            )
            part = parts.measured(name, measure)
            tell(f"{name}: {part['wall_s']:.1f} s, {_told(part['clocks'])}")
    done = compared({name: part for name in _all() if (part := parts.get(name))}, workers=asked.workers)
    print(json.dumps(asdict(done)) if asked.json else table(done))
    return 0


def wanted(only: str | None, *, cold: bool, warm: bool) -> list[str]:
    """The parts to be measured, in turn; a warm one comes after its cold one."""
    sides = SIDES if only is None else (only,)
    states = ("cold",) if cold and not warm else STATES
    return [f"{side}-{state}" for state in states for side in sides]


def _told(clocks: Mapping[str, float]) -> str:
    return ", ".join(f"{clock} {value:.1f}" for clock, value in clocks.items())


def _all() -> list[str]:
    return wanted(None, cold=True, warm=True)


def _part(name: str, *, folder: Path, size: str, workers: int) -> dict[str, Any]:
    side, _, state = name.partition("-")
    home = folder / "home"
    if state == "cold":
        cleared(home)
        cleared(folder / "cold")
    elif (folder / "cold").exists():  # a warm part was cut short: again from the cold one's programs
        cleared(home)
        (folder / "cold").rename(home)
        leave_programs(home, folder / "cold")
    else:
        leave_programs(home, folder / "cold")
    if side == "ours":
        return study(
            Checkout.here(), [STUDY, "--size", size], home=home, workers=workers, name=state, label=name
        )
    return _script(home, size=size, workers=workers, name=state, label=name)


def _script(home: Path, *, size: str, workers: int, name: str, label: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tune_script", "--size", size, "--home", str(home)]
    token = home.parent / "token"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.write_text(secrets.token_hex(32))
    took = timed(
        [*command, "--workers", str(workers)],
        folder=HERE,
        home=home,
        name=name,
        label=label,
        # Before Ray is imported; else it leaves a token in the user's home.
        given={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"},
    )
    if took.rc:
        raise SystemExit(f"{label}: it ended with {took.rc}; its log is {home.parent / f'{name}.log'}.")
    told = json.loads((home.parent / f"{name}.out").read_text().splitlines()[-1])
    return {**asdict(took), **told}


def compared(parts: Mapping[str, Mapping[str, Any]], *, workers: int) -> Result:
    """What the parts that are there say: theirs over ours."""
    ratios, figures = {}, {}
    for state in STATES:
        ours, theirs = (parts.get(f"{side}-{state}") for side in SIDES)
        if ours and theirs:
            _the_same_runs(ours, theirs)
            ratios[f"vs_script_{state}"] = theirs["wall_s"] / ours["wall_s"]
    if cold := parts.get("ours-cold"):
        ratios["beyond_training"] = _beyond(cold)
    for name, part in parts.items():
        figures[name.replace("-", "_")] = {
            "wall_s": part["wall_s"],
            "cpu_s": part["cpu_s"],
            "beyond_training": _beyond(part),
            "slots_busy": in_slots(part["clocks"]) / (workers * part["wall_s"]),
            **{clock: part["clocks"][clock] for clock in CLOCKS},
            **{key: part[key] for key in ("trials", "processes", "load_before") if key in part},
        }
    return result("whole_study", ratios=ratios, figures=figures, wants=WANTS)


def _beyond(part: Mapping[str, Any]) -> float:
    return beyond_training(part["clocks"], cpu_s=part["cpu_s"], trials=part["trials"])


def _the_same_runs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Runs that diverge stop early, so steps may differ by those; numbers of runs may not."""
    if ours["trials"] != theirs["trials"]:
        raise SystemExit(f"Ours ran {ours['trials']} trials and theirs {theirs['trials']}.")


if __name__ == "__main__":
    sys.exit(main())
