"""Do the commands of docs/deployment.md for several hosts run as they are written?"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster, words_of
from tests.hosts.machines import ROOT, Machine, Network, until
from tests.hosts.test_foreign_cluster import ADMITTED, Foreign

pytestmark = pytest.mark.hosts
PAGE = (ROOT / "docs" / "deployment.md").read_text()
NAMED = "https://studies.example.org"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # with `orch` on it


def blocks(title: str) -> list[str]:
    section = PAGE.split(f"### {title}\n")[1].split("\n#")[0]
    return re.findall(r"```\n(.*?)```", section, re.S)


def shell(cluster: Cluster, machine: Machine, script: str, **env: str) -> str:
    """As a person there pastes it."""
    done = machine.run("bash", "-ec", script, env={**cluster.env, "PATH": PATH, **env})
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def alone(net: Network, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(net, tmp_path, f"{len(net.machines)}", joined=False)
    yield made
    made.close()


def test_two_machines(alone: Cluster) -> None:
    first, second = blocks("Two machines")
    serve, token = first.splitlines()
    assert serve == "orch serve --host 0.0.0.0 --port 8000"  # as the test has started it
    secret = re.search(r"orch_\S+", shell(alone, alone.a, token))
    assert secret is not None
    here = second.replace(f"join {NAMED}", f"join {alone.url} --insecure").replace(NAMED, alone.url)
    join, hosts, down = here.splitlines()
    shell(alone, alone.b, join, ORCH_TOKEN=secret[0])
    until(lambda: alone.b.name in shell(alone, alone.b, hosts, ORCH_TOKEN=secret[0]), within_s=30)
    shell(alone, alone.b, down, ORCH_TOKEN=secret[0])
    until(lambda: alone.host(alone.b)["state"] == "gone", within_s=60)


def test_slurm(alone: Cluster, tmp_path: Path) -> None:
    """`srun` stands in for Slurm's: it runs the command on B, and passes SIGTERM on."""
    (block,) = blocks("Slurm")
    serve, join = block.splitlines()
    assert serve == "orch serve --host 0.0.0.0 --port 8000 &"
    script = join.replace("srun ", "exec ").replace("$(hostname)", alone.a.address)
    env = {**alone.env, "PATH": PATH, "SLURM_STEP_ID": "0", "ORCH_TOKEN": alone.key}
    step = alone.b.start("bash", "-ec", script, env=env)
    until(lambda: alone.host(alone.b)["state"] == "in use", within_s=30)
    assert step.poll() is None  # it stays
    (pid,) = (pid for pid in alone.b.pids("python") if b"\0join\0" in words_of(pid))
    os.kill(pid, 15)
    assert step.wait(60) == 0
    until(lambda: alone.host(alone.b)["state"] == "gone", within_s=60)


def test_a_cluster_that_is_there(net: Network, tmp_path: Path) -> None:
    foreign = Foreign(net)
    person = net.machine(f"person{len(net.machines)}")
    try:
        (block,) = blocks("A Ray cluster that is there")
        storage = tmp_path / "shared"
        script = block.replace("10.0.0.5:6379", foreign.address).replace("/shared/orch", str(storage))
        env = {"ORCH_HOME": str(tmp_path / "home"), "PATH": PATH, **ADMITTED}
        done = person.run("bash", "-ec", script, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (storage / "runs").is_dir() or any(storage.iterdir())
        down = person.run("bash", "-ec", f"export ORCH_RAY={foreign.address}; orch down", env=env)
        assert down.returncode == 0, down.stderr
        until(lambda: not foreign.node.pids("ray::Worker"), within_s=30)
    finally:
        person.end()
        foreign.close()
