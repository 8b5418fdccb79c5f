"""What becomes of a study when a host, a link, the head or a disk goes? Real Ray, one node a machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from orchestrator.ledger import open_ledger
from tests.faults import invariants
from tests.hosts.cluster import Cluster
from tests.hosts.machines import until

pytestmark = pytest.mark.hosts
INTERVAL = 20  # steps between two checkpoints of the rehearsal
STEPS = 1500


def settled(cluster: Cluster, study: str) -> None:
    """I1 to I5 and I7's half that a ledger holds; the service may go on."""
    store = open_ledger(f"sqlite:///{cluster.home / 'ledger.db'}")
    try:
        invariants.check(store, study)
    finally:
        store.close()


@pytest.mark.fault(28, real=True)
@pytest.mark.parametrize("every", [INTERVAL, 1], ids=["in mid-step", "in a save"])
def test_a_host_that_is_gone_loses_at_most_the_steps_since_a_checkpoint(cluster: Cluster, every: int) -> None:
    """Where each step saves and none takes any time, most kills fall into a save."""
    pace = {"pace_s": 0.02} if every > 1 else {"pace_s": 0.0}
    study = cluster.study("gone", steps=STEPS if every > 1 else 15 * STEPS, every=every, rehearsal=pace)
    places = cluster.begun(study, 4)
    on_b = [trial for trial, host in places.items() if host == cluster.b.name]
    assert len(on_b) == 2
    ended = time.monotonic()
    cluster.b.end()
    until(lambda: all(len(cluster.tried(study)[trial]) == 2 for trial in on_b), within_s=90)
    print(f"a host is gone: attempt 2 after {time.monotonic() - ended:.1f} s")
    tried = cluster.done(study)
    settled(cluster, study)
    for trial, attempts in tried.items():
        if trial in on_b:
            assert [a["state"] for a in attempts] == ["lost", "completed"]
            assert attempts[1]["provenance"]["host"] == cluster.a.name
            assert attempts[1]["resumed_from"]
            steps = sum(a["clocks"]["steps"] for a in attempts)
            wanted = STEPS if every > 1 else 15 * STEPS
            assert wanted <= steps <= wanted + every
        else:
            assert [a["state"] for a in attempts] == ["completed"]


@pytest.mark.fault(29, real=True)
@pytest.mark.parametrize("cut_s", [10, 90])
def test_a_link_that_is_cut_and_mended(cluster: Cluster, cut_s: int) -> None:
    study = cluster.study("cut", trials=2, steps=2000 if cut_s == 10 else 6000)
    places = cluster.begun(study, 2)
    on_b = [trial for trial, host in places.items() if host == cluster.b.name]
    assert len(on_b) == 1
    cluster.b.cut()
    _sleep(cut_s)
    cluster.b.mend()
    if cut_s == 90:
        until(lambda: cluster.host(cluster.b)["state"] == "in use", within_s=90)
        more = cluster.study("more", trials=4, steps=200)
        assert cluster.b.name in {
            attempts[0]["provenance"]["host"] for attempts in cluster.done(more, within_s=400).values()
        }
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    for trial in on_b:
        states = [a["state"] for a in tried[trial]]
        assert states == (["completed"] if cut_s == 10 else ["lost", "completed"]), tried[trial]
        assert tried[trial][-1]["provenance"]["host"] == (cluster.b if cut_s == 10 else cluster.a).name


@pytest.mark.fault(30, real=True)
@pytest.mark.parametrize("away_s", [5, 60])
def test_the_head_dies_and_comes_back(cluster: Cluster, away_s: int) -> None:
    """With the service, as when its machine is restarted; B's trials train on and are found again."""
    study = cluster.study("headless", steps=2000 if away_s == 5 else 5000)
    places = cluster.begun(study, 4)
    on_b = [trial for trial, host in places.items() if host == cluster.b.name]
    for title in ("python", "gcs_server", "raylet", "ray::"):
        for pid in cluster.a.pids(title):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    cluster.process.wait(30)
    _sleep(away_s)
    cluster.serve()
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    for trial, attempts in tried.items():
        states = [a["state"] for a in attempts]
        assert states == (["completed"] if trial in on_b else ["lost", "completed"]), attempts


@pytest.mark.fault(33, real=True)
def test_a_host_whose_disk_is_full_is_set_aside_and_taken_back(cluster: Cluster) -> None:
    study = cluster.study("full", trials=12, steps=300, retries={"attempts": 5})
    cluster.begun(study, 4)
    runs = cluster.home / "runs" / study
    cluster.b.sh(f"mount -t tmpfs -o size=4k none {runs}")  # on B alone
    until(lambda: cluster.host(cluster.b)["state"] == "set aside", within_s=120)
    assert "in a row ended here in trouble" in cluster.host(cluster.b)["reason"]
    cluster.b.sh(f"umount {runs}")
    until(lambda: cluster.host(cluster.b)["state"] == "in use", within_s=120)
    cluster.done(study, within_s=400)
    settled(cluster, study)


@pytest.mark.fault(32, real=True)
def test_a_host_where_the_mount_is_read_only_is_set_aside(cluster: Cluster) -> None:
    study = cluster.study("readonly", trials=12, steps=300, retries={"attempts": 5})
    cluster.begun(study, 4)
    runs = cluster.home / "runs"
    cluster.b.sh(f"mount --bind {runs} {runs}; mount -o remount,ro,bind {runs}")
    until(lambda: cluster.host(cluster.b)["state"] == "set aside", within_s=120)
    cluster.b.sh(f"umount {runs}")
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    assert any("Read-only" in a["reason"] or "read-only" in a["reason"] for t in tried.values() for a in t)


@pytest.mark.fault(32, real=True)
def test_a_host_whose_mount_is_away_for_a_minute_is_set_aside_and_taken_back(cluster: Cluster) -> None:
    study = cluster.study("away", trials=12, steps=600, retries={"attempts": 5})
    cluster.begun(study, 4)
    runs = cluster.home / "runs"
    cluster.b.sh(f"mount -t tmpfs -o ro none {runs}")  # on B alone: nothing that was there is, and no room
    until(lambda: cluster.host(cluster.b)["state"] == "set aside", within_s=120)
    _sleep(60)
    cluster.b.sh(f"umount {runs}")
    until(lambda: cluster.host(cluster.b)["state"] == "in use", within_s=120)
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    assert all(attempts[-1]["state"] == "completed" for attempts in tried.values())


@pytest.mark.fault(31, real=True)
@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.0, 3.0])
def test_the_service_is_killed_while_it_hires_and_adopts(cluster: Cluster, after_s: float) -> None:
    study = cluster.study("killed", trials=6, steps=400)
    for _ in range(3):
        _sleep(after_s)
        cluster.signal(signal.SIGKILL)
        cluster.serve()
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    assert all(len(attempts) == 1 for attempts in tried.values()), tried
    assert cluster.orch(cluster.b, "down").returncode == 0
    cluster.signal(signal.SIGTERM)
    assert cluster.orch(cluster.a, "down").returncode == 0
    assert not cluster.b.pids("ray::")
    assert not cluster.a.pids("ray::")


@pytest.mark.fault(36, real=True)
def test_who_cannot_join_is_told_why(cluster: Cluster) -> None:
    wrong = cluster.b.orch(
        "join", cluster.url, "--insecure", env={**cluster.env, "ORCH_TOKEN": "orch_" + "x" * 43}
    )
    assert (wrong.returncode, wrong.stderr) == (3, "orch: Invalid token.\n")
    again = cluster.orch(cluster.b, "join", cluster.url, "--insecure")
    assert (again.returncode, again.stdout.startswith("Joined ")) == (0, True)
    c = cluster.net.machine(f"c{len(cluster.net.machines)}")
    c.cut()
    lost = cluster.orch(c, "join", cluster.url, "--insecure")
    assert lost.returncode == 6, lost.stderr
    c.mend()
    runs = cluster.home / "runs"
    c.sh(f"mount -t tmpfs none {runs}")  # another folder than the server's
    other = cluster.orch(c, "join", cluster.url, "--insecure")
    assert other.returncode == 3
    assert "Mount the disk of the server's ORCH_HOME here" in other.stderr


def _sleep(seconds: float) -> None:
    """The fault itself takes so long."""
    time.sleep(seconds)
