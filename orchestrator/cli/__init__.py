"""How does a person at a terminal speak to orch? One file per noun; this one puts them together.

`orch --help` imports none of the nouns: it must answer at once, whatever is installed.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from orchestrator.cli.output import EXIT_CODES, exit_code, note, show_error
from orchestrator.ground.errors import UNEXPECTED, nearest
from orchestrator.ground.release import VERSION

NOUNS = {
    "study": "Create, plan, list, watch and control studies.",
    "trial": "Show a trial, its log and its attempts; retry it.",
    "train": "Train one model in this terminal and print its translations.",
    "translate": "Translate with a finished run or trial.",
    "weights": "Describe a T5 folder of Hugging Face, or export a run as one.",
    "schedule": "Export learned schedules, to replay them.",
    "data": "Describe or prepare a corpus; list who opened test splits.",
    "rehearse": "Run a whole study on a virtual clock, in seconds.",
    "mlflow": "Show what is in MLflow, and write what is missing.",
    "serve": "Start the server: REST API, web page, and study runner.",
    "hosts": "List the machines that run trials; drain one, or use it again.",
    "join": "Make this machine a host of a server: its trials run here too.",
    "token": "Create, list and revoke access tokens; print sign-in links.",
    "ui": "Open the MLflow UI on the mirrored studies.",
    "doctor": "Check the installation.",
    "completion": "Print the completion script of bash, zsh or fish.",
    "down": "Stop the workers on this machine.",
}


class LazyGroup(click.Group):
    """A group that imports a command's file (`orchestrator.cli.<name>`) only when it is used."""

    def __init__(self, *args: Any, nouns: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._nouns = dict(nouns)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._nouns)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._nouns:
            return None
        found: click.Command = importlib.import_module(f"orchestrator.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self._nouns and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{nearest(args[0], self._nouns)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._nouns.items()))


EPILOG = "\n".join(["\b", "Exit codes:", *(f"{code:>3}  {meaning}" for code, meaning in EXIT_CODES)])


@click.group(
    cls=LazyGroup, nouns=NOUNS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(VERSION, prog_name="orch", message="%(prog)s %(version)s")
def orch() -> None:
    """Learn hyperparameters while the model trains, and check the gain against Bayesian optimization.

    Studies are stored under ORCH_HOME (./orch-data) and run on this machine's cores. Start with:
    orch study create bo-vs-guided --size quick

    With --server URL (or ORCH_URL; the token in ORCH_TOKEN), study, trial and schedule use a server instead.
    All other commands, and study export, only use this machine.
    """


def run(arguments: Sequence[str]) -> int:
    """Obey one command line; the answer is the exit code."""
    try:
        code = _obey(arguments)
        sys.stdout.flush()
    except OSError as problem:  # the result cannot be written
        sys.stdout = None  # the interpreter would flush it again, and complain
        if not isinstance(problem, BrokenPipeError):  # `orch … | head`: nobody reads any more
            note(f"orch: The result could not be written: {problem.strerror}.")
        return UNEXPECTED
    return code


def _obey(arguments: Sequence[str]) -> int:
    try:
        code = orch.main(list(arguments), prog_name="orch", standalone_mode=False)
    except BrokenPipeError:
        raise
    except Exception as error:
        show_error(error, as_json="--json" in arguments)
        return exit_code(error)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The console script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open to the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks η̂ is shown its number
    sys.exit(run(sys.argv[1:]))
