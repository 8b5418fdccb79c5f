"""`orch serve`: what a team runs once for everybody. The API, the pages and the engine in one process."""

from __future__ import annotations

import click

from orchestrator.cli import foreground, needs
from orchestrator.cli.output import DONE, note, say
from orchestrator.cli.spec_options import workers_option
from orchestrator.ground.settings import from_environment


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port; 0 picks a free one.",
)
@click.option("--engine-only", is_flag=True, help="Run studies without the HTTP server.")
@click.option("--api-only", is_flag=True, help="Serve HTTP only; another process runs the studies.")
@click.option(
    "--open",
    "open_",
    is_flag=True,
    help="Allow access from this machine without a token, as long as no token exists.",
)
@workers_option
def command(host: str, port: int, engine_only: bool, api_only: bool, open_: bool, workers: int | None) -> int:
    """Start the server: REST API, web page, and study runner.

    It prints a one-time sign-in link for a browser; `orch token link` prints another. The command line on
    this machine signs in with the key in ORCH_HOME; everyone else needs a token (orch token create). Use
    --host 0.0.0.0 to allow other machines. Ctrl-C or SIGTERM stops the server; trials continue in their
    workers, and the next `orch serve` picks them up.
    """
    needs.require("run", *(() if engine_only else ("report",)))
    from orchestrator.server.process import Address, link_command, serve

    if engine_only and api_only:
        raise click.UsageError("--engine-only and --api-only leave nothing to do. Give one of them.")
    if engine_only and open_:
        raise click.UsageError(
            "--engine-only starts no HTTP server, so --open has no effect. Leave one of them out."
        )

    def ready(url: str) -> None:
        if url:
            say(url)
        if "?key=" in url:
            note("Open this link in a browser: it signs you in. It works once, within 10 minutes. Another:")
            note(f"  {link_command(url.partition('/login')[0])}")
        note("Stop it with Ctrl-C.")

    settings = from_environment()
    with foreground.opened(settings) as store:
        serve(
            settings,
            store,
            address=None if engine_only else Address(host, port),
            engine=not api_only,
            open_=open_,
            workers=workers,
            say=note,
            ready=ready,
        )
    return DONE
