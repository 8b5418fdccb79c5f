"""`orch serve`: what a team runs once for everybody. The API, the pages and the engine in one process."""

from __future__ import annotations

import click

from orchestrator.cli import foreground
from orchestrator.cli.output import DONE, note, say
from orchestrator.cli.spec_options import workers_option
from orchestrator.ground.settings import from_environment


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free."
)
@click.option("--engine-only", is_flag=True, help="Run studies, and answer nobody.")
@click.option("--api-only", is_flag=True, help="Answer, and leave the studies to another process to run.")
@click.option(
    "--open", "open_", is_flag=True, help="Ask nobody on this machine for a token, as long as there is none."
)
@workers_option
def command(host: str, port: int, engine_only: bool, api_only: bool, open_: bool, workers: int | None) -> int:
    """Serve everybody: run all studies of the ledger, and answer over HTTP.

    It prints a link that signs a browser in, once; `orch token link` prints another. The command line on this
    machine signs in by itself, with the key in ORCH_HOME; everybody else needs a token (orch token create).
    Other machines can reach it with --host 0.0.0.0. Ctrl-C or SIGTERM ends it; trials go on in their workers,
    and the next `orch serve` goes on with them.
    """
    from orchestrator.server.process import Address, link_command, serve

    if engine_only and api_only:
        raise click.UsageError("--engine-only and --api-only leave nothing to do. Give one of them.")
    if engine_only and open_:
        raise click.UsageError(
            "--engine-only answers nobody, so --open opens nothing. Leave one of them out."
        )

    def ready(url: str) -> None:
        if url:
            say(url)
        if "?key=" in url:
            note("Open this link in a browser: it signs you in. It works once, within 10 minutes. Another:")
            note(f"  {link_command(url.partition('/login')[0])}")
        note("Ctrl-C ends it.")

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
