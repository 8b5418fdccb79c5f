"""How is an audit run at a terminal?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer import audit
from trainer.audit.config import SECTION
from trainer.protocol import Place, Reply, Report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m trainer.audit", description=audit.__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a JSON file with a training run's config")
    parser.add_argument("--out", type=Path, default=Path("audit"), help="the folder for results (./audit)")
    arguments = parser.parse_args(argv)
    try:
        given = json.loads(arguments.config.read_text())
        if not isinstance(given, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as problem:
        return _refused([f"{arguments.config} cannot be read ({problem}). Name a JSON file with a config."])
    if problems := audit.check(given):
        return _refused(problems)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        outcome = audit.run(given, _said, arguments.out.absolute(), Place())
    except ValueError as error:  # DataError, CheckpointError: sentences
        return _refused(str(error).splitlines())
    print(f"{outcome.status}; {', '.join(outcome.files)} in {arguments.out}. {outcome.reason}".rstrip())
    return 0 if outcome.status == "completed" else 1


def _refused(sentences: Sequence[str]) -> int:
    for sentence in sentences:
        print(f"orch: {sentence}", file=sys.stderr)
    return 2


def _said(report: Report) -> Reply:
    """One line for each thing that was found."""
    for name, value in report.values.items():
        if name.startswith(f"{SECTION}/"):
            print(f"step {report.step:>7,}  {name:<32} {value:+.4g}", flush=True)
    return Reply.GO


if __name__ == "__main__":
    sys.exit(main())
