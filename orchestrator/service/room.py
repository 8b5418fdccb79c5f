"""How many trials of a study run at once on the hosts that there are, and which hosts does one take?"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.backends.placement import in_all, node_of, words_of
from orchestrator.ledger.records import HostRow, HostState
from orchestrator.study.resources import Resources


def room_on(resources: Resources, rows: Sequence[HostRow], *, workers: int) -> tuple[int, str]:
    """The number, 1 at least, and a sentence where a trial takes several hosts or several are there. `rows`:
    as the leader saw them last; without any it is this machine alone, with so many workers."""
    nodes = [
        node_of(row)
        for row in sorted(rows, key=lambda row: row.name)
        if row.places and row.state is not HostState.GONE
    ]
    if not nodes and resources.hosts == 1:
        return workers, ""
    takes = f"Each trial takes {resources.words}"
    if not nodes:
        return 1, (
            f"{takes}, and no hosts are known here. Ask a service that hosts have joined (--server): it says "
            f"how many trials run at once."
        )
    there = words_of(nodes)
    number = in_all(nodes, resources)
    if not number:
        return 1, f"{takes}, and none such fits on the hosts that are there: {there}."
    if len(nodes) == 1:
        return number, ""
    return number, f"{takes}; {number} at once on {len(nodes)} hosts: {there}."
