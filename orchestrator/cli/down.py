"""`orch down`: end the workers of this ORCH_HOME. Studies are not touched, and go on when resumed."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

import click

from orchestrator.cli import foreground
from orchestrator.cli.output import DONE, note, say
from orchestrator.ground.errors import MoveRefused, OrchError
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.service import host

LEAVES_WITHIN_S = 120.0  # what trials are given to save, where others lead


@click.command("down")
@click.option(
    "--force",
    is_flag=True,
    help="Stop them even if another process runs studies on them or the ledger cannot be read.",
)
def command(force: bool) -> int:
    """Stop the workers (the embedded Ray) on this machine.

    On a host that has joined a server, its trials save first and go on on other hosts.
    """
    from orchestrator.backends import daemon, joined

    settings = from_environment()
    none = f"No workers run for {settings.home} on this machine."
    if daemon.find(settings.home) is None and not daemon.folder(settings.home).exists():
        say(none)
        return DONE
    if settings.ray is None and joined.is_kept(settings.home) and not force:
        return leave(settings)
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
                if settings.ray is not None:  # they run on other machines, where nobody else ends them
                    host.end_workers(settings, store)
            except OrchError:  # with force, also where the ledger is broken or away
                if not force:
                    raise
            daemon.stop(settings.home)
    say(f"Stopped the workers of {settings.home}." + (f" {cut} runs were cut short." if cut else ""))
    return DONE


def leave(settings: Settings) -> int:
    """This machine runs another's trials: they save first."""
    from orchestrator.backends import daemon, joined

    at_work = joined.at_work(settings.home)
    if at_work:
        note(f"Waiting for {at_work} worker{'s' * (at_work != 1)} to save (Ctrl-C ends nothing).")
    saved = joined.leave(settings.home, within_s=LEAVES_WITHIN_S)
    daemon.stop(settings.home)
    late = f" After {LEAVES_WITHIN_S:.0f} s some had not saved: their trials go on from their checkpoints."
    say(f"Stopped the workers of {settings.home}.{'' if saved else late}")
    return DONE


def _in_use(settings: Settings) -> MoveRefused:
    return MoveRefused(
        f"Another process runs studies on the workers of {settings.home}. Pause them first (orch study pause "
        f"NAME, with the ORCH_LEDGER of that process), or end the workers anyway with --force: running "
        f"trials then continue from their checkpoints."
    )
