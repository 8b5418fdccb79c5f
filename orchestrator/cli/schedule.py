"""`orch schedule export`: take a learned schedule elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.completion import trials
from orchestrator.cli.opening import opened, server_option
from orchestrator.cli.output import DONE, say
from orchestrator.ground.errors import BadSpec
from orchestrator.runs import schedules


@click.group()
def command() -> None:
    """Export learned schedules, to replay them in another run or in your own training loop."""


@command.command()
@click.argument("trial_id", metavar="TRIAL", shell_complete=trials)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The JSON file (default: schedule.json)."
)
@server_option
def export(trial_id: str, out: Path | None, server: str | None) -> int:
    """Write a trial's hyperparameters at each step, as JSON and as an optax schedule.

    A spec replays it with schedule.name set to that file: the learned curve, frozen, at a plain run's cost.
    """
    with opened(server) as site:
        row = site.trial(trial_id)
        curves = site.schedule(row)
    out = (out or Path("schedule.json")).absolute()
    try:
        written = schedules.write(curves, out, trial=row.trial_id, config=row.config)
    except OSError as problem:
        raise BadSpec(f"{out} cannot be written: {problem.strerror}. Name another with --out.") from problem
    steps = len(curves["multiplier"])
    say(f"{steps:,} steps of {', '.join(curves)}.", *(f"  {path}" for path in written))
    say(f"Replay it: --set schedule.name={out}")
    return DONE
