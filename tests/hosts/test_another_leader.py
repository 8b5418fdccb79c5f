"""With PostgreSQL: does a service on another host find the workers when the one that led has gone?"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from orchestrator.ledger import open_ledger
from tests.faults import invariants
from tests.hosts.cluster import Cluster
from tests.hosts.machines import Network, until

pytestmark = pytest.mark.hosts


@pytest.mark.fault(15, real=True)
def test_it_adopts_the_workers_of_all_hosts_and_can_pause_them(
    net: Network, tmp_path: Path, postgres_url: str
) -> None:
    cluster = Cluster(net, tmp_path, f"{len(net.machines)}", ORCH_LEDGER=postgres_url)
    try:
        study = cluster.study("moved", steps=4000)
        cluster.begun(study, 4)
        words = ("serve", "--host", "0.0.0.0", "--port", "8000")
        with (tmp_path / "serve-b.log").open("a") as log:
            other = cluster.b.start(
                sys.executable, "-m", "orchestrator.cli", *words, env=cluster.env, stdout=log, stderr=log
            )
        url, cluster.url = cluster.url, f"http://{cluster.b.address}:8000"
        until(lambda: cluster.ready()["engine"] == "watching")
        cluster.url = url
        cluster.signal(signal.SIGKILL)
        cluster.url = f"http://{cluster.b.address}:8000"
        until(lambda: cluster.ready()["engine"] == "leading", within_s=60)
        cluster.ask(f"/studies/{study}/pause", {})
        until(lambda: cluster.ask(f"/studies/{study}")["status"] == "paused", within_s=60)
        assert {a["state"] for tried in cluster.tried(study).values() for a in tried} == {"preempted"}
        cluster.ask(f"/studies/{study}/resume", {})
        tried = cluster.done(study)
        assert {a["provenance"]["host"] for each in tried.values() for a in each} == {
            cluster.a.name,
            cluster.b.name,
        }
        ledger = open_ledger(postgres_url)
        invariants.check(ledger, study)
        ledger.close()
    finally:
        cluster.close()
        other.wait(30)
