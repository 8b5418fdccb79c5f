"""`orch train`: one model, in this terminal."""

from __future__ import annotations

from typing import NoReturn

import click

from orchestrator.cli import trainer_commands
from orchestrator.cli.translate import folder_of

_INIT = "--init"


@click.command("train", context_settings=trainer_commands.ALL)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> NoReturn:
    """Train one model and print its translations."""
    trainer_commands.require(arguments)
    trainer_commands.run("trainer.run", list(with_folders(arguments)))


def with_folders(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The same with the folder of the trial that `--init` names, where it is no path."""
    found, before = [], ""
    for argument in arguments:
        if before == _INIT:
            argument = _begun(argument)
        elif argument.startswith(f"{_INIT}="):
            argument = f"{_INIT}={_begun(argument.removeprefix(f'{_INIT}='))}"
        found.append(argument)
        before = argument
    return tuple(found)


def _begun(named: str) -> str:
    """Only what is like a trial's name is looked for in the ledger: a folder that is not there is told so."""
    return folder_of(named) if named.count(".") >= 3 and "/" not in named else named
