"""Does orch run on a Ray that somebody else has started, and what becomes of a study when its head dies?"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster
from tests.hosts.machines import Machine, Network, until
from tests.hosts.test_hosts_and_faults import settled

pytestmark = pytest.mark.hosts
PORT = 6379
ADMITTED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 40, "RAY_USAGE_STATS_ENABLED": "0"}


class Foreign:
    """A head without CPUs and one node with two, as an administrator starts them."""

    def __init__(self, net: Network) -> None:
        self.head, self.node = (net.machine(f"{name}{len(net.machines)}") for name in ("head", "node"))
        self.address = f"{self.head.address}:{PORT}"
        self.start_head()
        self.start_node()

    def start_head(self) -> None:
        self._ray(self.head, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")

    def start_node(self) -> None:
        self._ray(self.node, f"--address={self.address}", "--num-cpus=2")

    def kill_head(self) -> None:
        for title in ("gcs_server", "raylet", "python", "ray::"):
            for pid in self.head.pids(title):
                os.kill(pid, signal.SIGKILL)

    @staticmethod
    def _ray(machine: Machine, *words: str) -> None:
        own = f"--node-ip-address={machine.address}"
        temp = [f"--temp-dir=/tmp/ray-{machine.name}"] if "--head" in words else []
        ray = ("-c", "from ray.scripts.scripts import main; main()", "start")
        done = machine.run(sys.executable, *ray, own, *temp, *words, env=ADMITTED)
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        for each in (self.node, self.head):
            each.end()


@pytest.fixture
def foreign(net: Network) -> Iterator[Foreign]:
    made = Foreign(net)
    yield made
    made.close()


@pytest.fixture
def cluster(net: Network, foreign: Foreign, tmp_path: Path) -> Iterator[Cluster]:
    home, storage = tmp_path / "home", tmp_path / "storage"
    home.mkdir()
    made = Cluster(
        net, home, f"{len(net.machines)}", joined=False,
        ORCH_RAY=foreign.address, ORCH_STORAGE=str(storage), **ADMITTED,
    )  # fmt: skip
    yield made
    made.close()


def test_trials_run_on_its_hosts_and_down_leaves_no_worker(cluster: Cluster, foreign: Foreign) -> None:
    study = cluster.study("foreign", steps=300)
    tried = cluster.done(study)
    settled(cluster, study)
    assert {a["provenance"]["host"] for attempts in tried.values() for a in attempts} == {foreign.node.name}
    assert [host["name"] for host in cluster.ask("/hosts")["items"]] == [foreign.node.name]
    assert foreign.node.pids("ray::Worker")  # warm ones
    cluster.signal(signal.SIGTERM)
    down = cluster.orch(cluster.a, "down")
    assert down.returncode == 0, down.stderr
    until(lambda: not foreign.node.pids("ray::Worker"), within_s=30)
    assert foreign.node.pids("raylet")  # it is somebody else's


@pytest.mark.fault(30, real=True)
def test_the_leader_outlives_the_head_and_waits_with_a_sentence(cluster: Cluster, foreign: Foreign) -> None:
    """That Ray keeps nothing on disk: what ran is lost with it, and goes on from its checkpoints."""
    study = cluster.study("headless", trials=2, steps=3000)
    cluster.begun(study, 2)
    foreign.kill_head()
    until(lambda: cluster.ready()["engine"] == "waiting", within_s=60)
    assert "Ray" in cluster.ready()["trouble"], cluster.ready()
    time.sleep(20)  # the fault itself takes so long
    assert cluster.process.poll() is None
    for pid in (*foreign.node.pids("raylet"), *foreign.node.pids("ray::")):
        os.kill(pid, signal.SIGKILL)
    foreign.start_head()
    foreign.start_node()
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    for attempts in tried.values():
        assert [a["state"] for a in attempts] == ["lost", "completed"], attempts
        assert attempts[1]["resumed_from"]
