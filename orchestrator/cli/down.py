"""`orch down`: end the workers of this ORCH_HOME. Studies are not touched, and go on when resumed."""

from __future__ import annotations

import click

from orchestrator import service
from orchestrator.cli import foreground
from orchestrator.cli.showing import DONE, say
from orchestrator.errors import MoveRefused
from orchestrator.settings import from_environment


@click.command("down")
@click.option("--force", is_flag=True, help="Also while another process runs studies on them.")
def command(force: bool) -> int:
    """End the workers (the embedded Ray) on this machine."""
    from orchestrator.backends import daemon

    settings = from_environment()
    if daemon.find(settings.home) is None:
        daemon.stop(settings.home)  # what is left of one that died
        say(f"No workers run for {settings.home}.")
        return DONE
    with foreground.opened(settings, writing=False) as store:
        if not force and store.lead(service.whoami()) is None:
            raise MoveRefused(
                f"Another process runs studies on the workers of {settings.home}. Pause them first "
                f"(orch study pause NAME), or end the workers all the same with --force: what runs then goes "
                f"on from its checkpoint."
            )
        cut = len(store.live_attempts())
        daemon.stop(settings.home)
    say(f"The workers of {settings.home} are ended." + (f" {cut} runs were cut short." if cut else ""))
    return DONE
