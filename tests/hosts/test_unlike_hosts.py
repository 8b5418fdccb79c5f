"""What becomes of a study where a host has another clock, lacks the training code, or has other code?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs import shared
from tests.hosts.cluster import Cluster
from tests.hosts.machines import Network
from tests.hosts.test_hosts_and_faults import settled

pytestmark = pytest.mark.hosts
AHEAD_S = 3600
CODE = "from orchestrator.rehearsal import check, inherit, learns, run, shape_key\n"


@pytest.fixture
def unjoined(net: Network, tmp_path: Path) -> Any:
    made = Cluster(net, tmp_path, f"{len(net.machines)}", joined=False)
    yield made
    made.close()


@pytest.mark.fault(34, real=True)
def test_a_clock_that_is_an_hour_off_changes_no_cost(unjoined: Cluster, tmp_path: Path) -> None:
    """Of every Python process on B; what Ray itself measures stays right."""
    ahead = tmp_path / "ahead"
    ahead.mkdir()
    (ahead / "sitecustomize.py").write_text(
        f"import time\n_right = time.time\ntime.time = lambda: _right() + {AHEAD_S}\n"
    )
    unjoined.join(unjoined.b, PYTHONPATH=str(ahead))
    study = unjoined.study("ahead", steps=400)
    tried = unjoined.done(study)
    settled(unjoined, study)
    hosts = {attempts[0]["provenance"]["host"] for attempts in tried.values()}
    assert hosts == {unjoined.a.name, unjoined.b.name}
    for attempts in tried.values():
        assert [a["state"] for a in attempts] == ["completed"]
        assert 400 * 0.02 <= attempts[0]["clocks"]["train_s"] < 60
    asked = unjoined.orch(unjoined.a, "doctor", "--cluster")
    assert f"{unjoined.b.name}: Its clock is {AHEAD_S} s ahead." in asked.stderr, asked.stderr


def test_a_host_whose_locks_reach_nobody_is_named_until_they_do(unjoined: Cluster, tmp_path: Path) -> None:
    """On B every lock is granted, as on a disk that keeps locks to the machine that asks."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "sitecustomize.py").write_text("import fcntl\nfcntl.flock = lambda file, how: None\n")
    unjoined.join(unjoined.b, PYTHONPATH=str(alone))
    said = shared.no_locks([unjoined.b.name])
    assert [host["locks"] for host in unjoined.ask("/hosts")["items"]] == [True, False]
    assert said in unjoined.orch(unjoined.a, "hosts").stderr
    (unjoined.home / "runs" / shared.FOLDER / shared.UNLOCKED / unjoined.b.name).unlink()
    asked = unjoined.orch(unjoined.a, "doctor", "--cluster")
    assert asked.returncode == 0, asked.stderr
    assert f"locks: {said}" in asked.stderr
    assert shared.without_locks(unjoined.home / "runs") == {unjoined.b.name}
    unjoined.join(unjoined.b)  # with this disk's own locks, which reach all that mount it
    assert [host["locks"] for host in unjoined.ask("/hosts")["items"]] == [True, True]


@pytest.mark.fault(34, real=True)
@pytest.mark.parametrize("there", ["", f"{CODE.strip()} # other"], ids=["none", "other"])
def test_a_host_without_the_training_code_is_told_and_others_go_on(cluster: Cluster, there: str) -> None:
    file = cluster.code / "my_model.py"
    file.write_text(CODE)
    cluster.b.sh(f"mount -t tmpfs none {cluster.code}")  # on B alone
    if there:
        cluster.b.sh(f"echo '{there}' > {file}")
    study = cluster.study("unlike", trials=6, steps=300, entrypoint="my_model", retries={"attempts": 5})
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    assert {attempts[-1]["provenance"]["host"] for attempts in tried.values()} == {cluster.a.name}
    troubled = [a for attempts in tried.values() for a in attempts[:-1]]
    assert troubled
    assert {a["state"] for a in troubled} == {"preempted"}, troubled  # no failure of the trial
    assert all(f"{cluster.b.name} cannot import my_model" in a["reason"] for a in troubled), troubled
