"""Which place does a command line name? The ledger here, or with `--server` that of a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

from orchestrator.cli import foreground
from orchestrator.cli.places import Place
from orchestrator.ground.settings import from_environment

server_option = click.option(
    "--server",
    envvar="ORCH_URL",
    metavar="URL",
    help="Ask this service (orch serve), not the ledger here; ORCH_URL. Its token: ORCH_TOKEN.",
)


@contextmanager
def opened(server: str | None) -> Iterator[Place]:
    """The place that a command line names."""
    settings = from_environment()
    if server:
        from orchestrator.cli.remote import There
        from orchestrator.client import Client

        with Client(server) as client:
            yield There(settings, client)
        return
    from orchestrator.cli.local import Here

    with ExitStack() as ledgers:
        yield Here(
            settings,
            lambda writing: ledgers.enter_context(foreground.opened(settings, writing=writing)),
        )
