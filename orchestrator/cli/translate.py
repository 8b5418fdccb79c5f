"""`orch translate`: what a finished run or trial says."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from orchestrator.cli import foreground, trainer_commands
from orchestrator.ground.settings import from_environment
from orchestrator.ledger import named
from orchestrator.runs.folders import Storage
from trainer.protocol import PARAMS


@click.command("translate", context_settings=trainer_commands.ALL)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> NoReturn:
    """Translate a file or standard input with a finished run or trial."""
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
        raise click.UsageError(
            f"The run or trial comes first, then its options, and the first word is {arguments[0][:60]}. "
            f"Write it like orch translate STUDY.ARM.0.0 --text 'A sentence.'"
        )
    trainer_commands.require(arguments)
    first = [folder_of(argument) for argument in arguments[:1]]
    trainer_commands.run("trainer.terminal.translate", [*first, *arguments[1:]])


def folder_of(argument: str) -> str:
    """The folder of a trial's newest parameters; whatever is no trial is handed on as it is."""
    if argument.startswith("-") or Path(argument).exists():  # - is --help
        return argument
    settings = from_environment()
    with foreground.opened(settings, writing=False) as store:
        row = named(store, argument)
    return str(Storage(settings.runs).latest(row.study_id, row.trial_id, row.attempts, PARAMS))
