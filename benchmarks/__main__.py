"""Run the short benchmarks and append what they measured to RESULTS.md; the long ones are run by hand."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import their_t5
from benchmarks.measuring import Result, table

HERE = Path(__file__).parent
NOT_BENCHMARKS = {
    "__init__",
    "__main__",
    "finetune_sides",
    "measuring",
    "members",
    "noop",
    "quick_trials",
    "same_runs",
    "study_run",
    "their_t5",
    "tune_script",
}
# These take many minutes, and are run by hand.
LONG = {
    "reached_bleu",
    "cluster",
    "gangs",
    "same_spec",
    "whole_study",
    "estimator_ablation",
    "api_load",
    "install_size",
}
PASSED_OVER = "{script} is passed over: it needs {names}, not installed here (the extra bench-decode)."


def short() -> list[str]:
    return sorted(p.stem for p in HERE.glob("*.py") if p.stem not in NOT_BENCHMARKS | LONG)


def main() -> int:
    failed = []
    for script in short():
        lacking = their_t5.absent(script)
        if lacking:
            print(PASSED_OVER.format(script=script, names=" and ".join(lacking)), file=sys.stderr)
            continue
        print(f"{script} …", file=sys.stderr, flush=True)
        # A process each: one benchmark's imports and memory are not another's.
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{script}", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            failed.append(script)
            continue
        told = Result(**json.loads(done.stdout))
        text = table(told)
        print(text)
        with (HERE / "RESULTS.md").open("a") as file:
            env = told.environment
            file.write(
                f"\n## {script}, {datetime.date.today()}\n\nCommit {env['commit']}, {env['machine']}, "
                f"{env['cores']} cores, Python {env['python']}, "
                f"{', '.join(f'{k} {v}' for k, v in env['packages'].items())}.\n\n{text}\n"
            )
    if failed:
        print(f"These failed: {', '.join(failed)}.", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
