"""Where do the studies of a command line live? In the ledger here, or with `--server` at a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import click

from orchestrator.cli import foreground
from orchestrator.cli.output import note
from orchestrator.ground.settings import from_environment

if TYPE_CHECKING:
    from orchestrator.cli.local import LocalSite
    from orchestrator.cli.remote import RemoteSite

Site: TypeAlias = "LocalSite | RemoteSite"

server_option = click.option(
    "--server",
    envvar="ORCH_URL",
    metavar="URL",
    help="Use this server (orch serve) instead of the local ledger (default: ORCH_URL). Token: ORCH_TOKEN.",
)

REFUSED_S = 2.5  # how long somebody who only looks waits for a service that takes no connection


@contextmanager
def opened(server: str | None) -> Iterator[Site]:
    """The site that a command line names."""
    settings = from_environment()
    if server:
        from orchestrator.cli.remote import RemoteSite
        from orchestrator.client import Client

        with Client(server, refused_s=REFUSED_S, tell=note) as client:
            yield RemoteSite(settings, client)
        return
    from orchestrator.cli.local import LocalSite

    with ExitStack() as ledgers:
        yield LocalSite(
            settings,
            lambda writing: ledgers.enter_context(foreground.opened(settings, writing=writing)),
        )
