"""How are `orch train`, `translate` and `data` answered? By the trainer, in a process of its own.

The orchestrator loads no accelerator stack; so the trainer's own command lines read the arguments.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import click

from orchestrator.settings import from_environment

ALL = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def run(module: str, arguments: Sequence[str]) -> int:
    """Its exit code. Ctrl-C reaches it directly, and it is waited for: it saves before it ends."""
    environment = {**os.environ, "ORCH_HOME": str(from_environment().home)}
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def to(name: str, module: str, about: str) -> click.Command:
    """A command that hands all of its arguments to a module of the trainer."""

    @click.command(name, context_settings=ALL, help=about)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> int:
        return run(module, arguments)

    return command
