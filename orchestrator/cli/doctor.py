"""`orch doctor`: is all that a study needs here?"""

from __future__ import annotations

from dataclasses import asdict

import click

from orchestrator.cli.output import DONE, note, print_json, say, table, terminal_width
from orchestrator.ground.errors import UNEXPECTED


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout.")
@click.option(
    "--cluster",
    is_flag=True,
    help="Ask every host of the workers: versions, code, files both ways, clock, disk.",
)
def command(as_json: bool, cluster: bool) -> int:
    """Check the installation: what is installed, what is missing, and what to do."""
    import os

    from orchestrator.service.doctor import examine, of_hosts

    findings = of_hosts(os.environ) if cluster else examine(os.environ)
    lacking = [f for f in findings if f.needed and not f.ok]
    if as_json:
        print_json({"ok": not lacking, "checks": [asdict(f) for f in findings]})
    else:
        rows = [(_mark(f.ok, f.needed), f.what, f.found, f.purpose) for f in findings]
        say(*table(("", "what", "found", "what for"), rows, spare=("what for",), width=terminal_width()))
        for finding in findings:
            if not finding.ok and finding.advice:
                note(f"{finding.what}: {finding.advice}")
    return UNEXPECTED if lacking else DONE


def _mark(ok: bool, needed: bool) -> str:
    return "ok" if ok else "MISSING" if needed else "absent"
