"""How are `orch train`, `translate` and `data` answered? By the trainer, whose process this one becomes.

The orchestrator loads no accelerator stack; so the trainer's own command lines read the arguments. No process
stays between the two: each signal reaches the training, and once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from orchestrator.cli import needs
from orchestrator.ground.settings import from_environment

ALL = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def require(arguments: Sequence[str]) -> None:
    """The trainer's extra, unless help alone is asked for."""
    if not {"-h", "--help"} & set(arguments):
        needs.require("run")


def run(module: str, arguments: Sequence[str]) -> NoReturn:
    """Its exit code is this one's."""
    environment = {**os.environ, "ORCH_HOME": str(from_environment().home)}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)


def to(name: str, module: str, about: str) -> click.Command:
    """A command that hands all of its arguments to a module of the trainer."""

    @click.command(name, context_settings=ALL, help=about)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> NoReturn:
        require(arguments)
        run(module, arguments)

    return command
