"""`orch join`: this machine runs trials of another machine's `orch serve`."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import click

from orchestrator.cli import down, needs
from orchestrator.cli.output import DONE, note, say
from orchestrator.cli.spec_options import workers_option
from orchestrator.ground.errors import BadSpec, MoveRefused
from orchestrator.ground.settings import from_environment
from orchestrator.service.signals import Heeded

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command("join")
@click.argument("url")
@workers_option
@click.option(
    "--insecure",
    is_flag=True,
    help="Allow http:// to another machine: your token and Ray's cross the network unencrypted.",
)
@click.option(
    "--stay/--no-stay",
    default=None,
    help="Stay until Ctrl-C or SIGTERM, and leave then (default: under Slurm).",
)
def command(url: str, workers: int | None, insecure: bool, stay: bool | None) -> int:
    """Make this machine a host of the server at URL: its trials run here too.

    It needs a token of the role admin in ORCH_TOKEN, the same Python, Ray and orch as the server, and the
    same ORCH_HOME, mounted at the same path. The workers run in the background until `orch down`.

    \b
    orch join https://studies.example.org
    orch join http://10.0.0.5:8000 --insecure --workers 8
    """
    needs.require("run")
    settings = from_environment()
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not insecure:
        raise BadSpec(
            f"{url} is not encrypted, and the tokens of the server and of its Ray would cross the network as "
            f"they are. Use its https:// address, or add --insecure on a network that you trust."
        )
    from orchestrator.backends import joined
    from orchestrator.client import Client
    from orchestrator.runs import provenance, shared

    with Client(url, refused_s=0.0) as client:
        cluster = client.cluster()
        own = provenance.of_hosts()
        other = [
            f"{name} {theirs}, and this machine has {own[name]}"
            for name, theirs in cluster["versions"].items()
            if own[name] != theirs
        ]
        if other:
            raise MoveRefused(f"{url} runs {'; it runs '.join(other)}. Install the same versions here.")
        runs = Path(cluster["runs"])
        answer = shared.answer(runs, cluster["word"])
        with shared.held(runs, answer):
            locks = client.sees(answer)
        shared.note_locks(runs, socket.gethostname(), reach=locks)
        if not locks:
            note(shared.no_locks([socket.gethostname()]))
    cpus = workers or settings.workers
    stays = "SLURM_STEP_ID" in os.environ if stay is None else stay
    try:
        # From here on: Slurm may end the step while the node is still coming up.
        with Heeded() if stays else nullcontext():
            joined.join(
                settings.home,
                cluster["address"],
                cpus=cpus,
                token=cluster["token"],
                ports=settings.ports,
                stays=stays,
            )
            of = f"Joined {url} with {cpus} worker{'s' * (cpus != 1)}."
            say(f"{of} To leave: {'Ctrl-C' if stays else 'orch down'}")
            if stays:
                joined.keep(settings.home)
    except KeyboardInterrupt:
        if not stays:
            raise
        return down.leave(settings)
    return DONE
