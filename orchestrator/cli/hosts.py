"""`orch hosts`, `orch hosts drain NAME`, `orch hosts use NAME`: the machines that run trials."""

from __future__ import annotations

import click

from orchestrator.cli.opening import opened, server_option
from orchestrator.cli.output import DONE, counted, note, print_json, say, table, terminal_width
from orchestrator.cli.spec_options import as_json_option
from orchestrator.readings.hosts import HostLine, slices, to_dict
from orchestrator.runs.shared import no_locks


@click.group(invoke_without_command=True)
@server_option
@as_json_option
@click.pass_context
def command(context: click.Context, server: str | None, as_json: bool) -> int:
    """List the hosts that run trials: what each has, what runs there, and which are not used and why; of
    TPUs of several hosts which slices are whole.

    More hosts join with `orch join URL`. Drain one before you take it away or restart it: its trials save and
    go on elsewhere.

    \b
    orch hosts
    orch hosts drain worker-2
    orch hosts use worker-2
    """
    if context.invoked_subcommand is not None:
        context.obj = server
        return DONE
    with opened(server) as site:
        found, leads = site.hosts(), site.leads()
    if as_json:
        of_tpu = [to_dict(each) for each in slices(found)]
        print_json({"led": leads, "hosts": [to_dict(line) for line in found], "slices": of_tpu})
        return DONE
    if not leads:
        note("No process runs studies now." + (" The last one saw these hosts." if found else ""))
    if found:
        header = ("host", "state", "has", "at work", "reason")
        say(*table(header, [_cells(line) for line in found], spare=("reason",), width=terminal_width()))
    if of_slices := slices(found):
        rows = [(each.name, each.tpu_type, ", ".join(each.hosts), each.state) for each in of_slices]
        say("", *table(("slice", "type", "hosts", "state"), rows, spare=("hosts",), width=terminal_width()))
    if said := no_locks([line.name for line in found if not line.locks]):
        note(said)
    return DONE


@command.command()
@click.argument("name")
@server_option
@as_json_option
@click.pass_context
def drain(context: click.Context, name: str, server: str | None, as_json: bool) -> int:
    """Empty a host: nothing more begins there, and its trials save and go on elsewhere."""
    return _ask(server or context.obj, name, as_json=as_json, drain=True)


@command.command()
@click.argument("name")
@server_option
@as_json_option
@click.pass_context
def use(context: click.Context, name: str, server: str | None, as_json: bool) -> int:
    """Use a drained host again."""
    return _ask(server or context.obj, name, as_json=as_json, drain=False)


def _ask(server: str | None, name: str, *, as_json: bool, drain: bool) -> int:
    with opened(server) as site:
        line = site.drain_host(name) if drain else site.use_host(name)
    if as_json:
        print_json(to_dict(line))
        return DONE
    if not drain:
        say(f"{name} is used again.")
        return DONE
    runs = counted(len(line.at_work), "trial")
    say(
        f"{name} is draining: {runs} there save and go on elsewhere."
        if line.at_work
        else f"{name} is drained."
    )
    note(f"To use it again: orch hosts use {name}")
    return DONE


def _cells(line: HostLine) -> tuple[str, ...]:
    return line.name, str(line.state), line.words, f"{len(line.at_work)} of {line.places}", line.reason
