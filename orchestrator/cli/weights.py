"""`orch weights`: T5 folders of Hugging Face, looked at and written."""

from __future__ import annotations

from typing import NoReturn

import click

from orchestrator.cli import trainer_commands
from orchestrator.cli.translate import folder_of


@click.command("weights", context_settings=trainer_commands.ALL)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> NoReturn:
    """Describe a T5 folder of Hugging Face, or export a run as one."""
    trainer_commands.require(arguments)
    verb, *others = arguments or ("--help",)
    if verb == "export":
        others = [*map(folder_of, others[:1]), *others[1:]]
    trainer_commands.run("trainer.terminal.weights", [verb, *others])
