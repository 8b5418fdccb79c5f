"""One study on one host, on two, and on two of which one is killed in the middle: the same answer each time.

`make demo-hosts`, as root: two machines made of namespaces, `orch serve` on one, `orch join` on the other,
`bo-vs-guided --size smoke` through HTTP. It prints on which host each attempt ran, and ends with exit code 1
where an answer differs, cost columns aside.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.dashboards.answers import without_costs
from tests.hosts.cluster import Cluster
from tests.hosts.machines import Network, lacking, network, until

STUDY = "bo-vs-guided-smoke"
WITHIN_S = 900.0


def main() -> int:
    if why := lacking():
        print(f"Skipped: {why}.")
        return 0
    with network() as net, tempfile.TemporaryDirectory(prefix="orch-demo-") as folder:
        alone, _ = _run(net, Path(folder) / "one", hosts=1)
        both, places = _run(net, Path(folder) / "two", hosts=2)
        killed, places_killed = _run(net, Path(folder) / "killed", hosts=2, kill=True)
    print(f"Two hosts: attempts by host {dict(places)}.")
    print(f"Two hosts, one killed: attempts by host {dict(places_killed)}.")
    same = {"two hosts": both == alone, "two hosts, one killed": killed == alone}
    for name, equal in same.items():
        print(f"The answer of {name} {'equals' if equal else 'DIFFERS FROM'} that of one host, costs aside.")
    for name, answer in (("two", both), ("killed", killed)):
        for where in _differences(alone, answer):
            print(f"{name}: {where}")
    used = len(places) == 2 and len(places_killed) == 2
    return 0 if all(same.values()) and used else 1


def _run(net: Network, home: Path, *, hosts: int, kill: bool = False) -> tuple[Any, Counter[str]]:
    home.mkdir()
    cluster = Cluster(net, home, f"{len(net.machines)}", joined=hosts > 1)
    try:
        begun = time.monotonic()
        created = cluster.orch(
            cluster.a,
            "study",
            "create",
            "bo-vs-guided",
            "--size",
            "smoke",
            "--server",
            cluster.url,
            "--no-run",
        )
        assert created.returncode == 0, created.stderr
        if kill:
            until(lambda: cluster.ask(f"/studies/{STUDY}")["ended"] >= 3, within_s=WITHIN_S)
            until(lambda: cluster.host(cluster.b)["at_work"], within_s=WITHIN_S)
            cluster.b.end()
            print(f"{home.name}: killed {cluster.b.name} after {time.monotonic() - begun:.0f} s.")
        until(lambda: cluster.ask(f"/studies/{STUDY}")["status"] == "completed", within_s=WITHIN_S)
        print(f"{home.name}: completed in {time.monotonic() - begun:.0f} s.", flush=True)
        tried = [attempt for each in cluster.tried(STUDY).values() for attempt in each]
        places = Counter(str(attempt["provenance"].get("host", "not begun")) for attempt in tried)
        answer = without_costs(cluster.ask(f"/studies/{STUDY}/report?format=json"))
        answer.pop("slots", None)
        answer.get("versions", {}).pop("babel", None)  # of the process that made the text
        return answer, places
    finally:
        cluster.close()


def _differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """Where two answers differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(name), other.get(name), f"{at}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{at}[{i}]")
    elif one != other:
        yield f"{at[1:]} is {one!r:.80} on one host, {other!r:.80} there"


if __name__ == "__main__":
    sys.exit(main())
