"""`orch down`: end the workers of this ORCH_HOME. Studies are not touched, and go on when resumed."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

import click

from orchestrator.cli import foreground
from orchestrator.cli.output import DONE, say
from orchestrator.ground.errors import MoveRefused, OrchError
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.service import host


@click.command("down")
@click.option(
    "--force",
    is_flag=True,
    help="Stop them even if another process runs studies on them or the ledger cannot be read.",
)
def command(force: bool) -> int:
    """Stop the workers (the embedded Ray) on this machine."""
    from orchestrator.backends import daemon

    settings = from_environment()
    none = f"No workers run for {settings.home} on this machine."
    if daemon.find(settings.home) is None and not daemon.folder(settings.home).exists():
        say(none)
        return DONE
    claim = host.claimed(settings)
    if claim is None and not force:
        raise _in_use(settings)
    with claim or nullcontext():
        if daemon.find(settings.home) is None:
            daemon.stop(settings.home)  # what is left of one that died
            say(none)
            return DONE
        cut = 0
        with ExitStack() as held:
            try:
                store = held.enter_context(foreground.opened(settings, writing=False))
                if not force and store.lead(whoami()) is None:
                    raise _in_use(settings)
                cut = len(store.live_attempts())
            except OrchError:  # with force, also where the ledger is broken or away
                if not force:
                    raise
            daemon.stop(settings.home)
    say(f"Stopped the workers of {settings.home}." + (f" {cut} runs were cut short." if cut else ""))
    return DONE


def _in_use(settings: Settings) -> MoveRefused:
    return MoveRefused(
        f"Another process runs studies on the workers of {settings.home}. Pause them first (orch study pause "
        f"NAME, with the ORCH_LEDGER of that process), or end the workers anyway with --force: running "
        f"trials then continue from their checkpoints."
    )
