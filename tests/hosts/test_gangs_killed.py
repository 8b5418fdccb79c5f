"""Whatever of a gang is killed, and whenever: is the attempt lost at once, and does the next one come to the
same parameters, bit for bit?"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hosts import dwelling
from tests.hosts.cluster import Cluster
from tests.hosts.machines import Machine, Network, until
from tests.hosts.test_gangs import ARMS, SEED, TWO, created, trained
from tests.hosts.test_hosts_and_faults import settled

pytestmark = [pytest.mark.hosts, pytest.mark.fault(37, real=True)]
STAGES = ("joining", "compiling", "training", "saving", "scoring")
WHICH = ("member 0", "another", "host")
WITHIN_S = {"member 0": 10.0, "another": 10.0, "host": 90.0}  # Ray takes half a minute to miss a host


class Hosts:
    """A serves, two more have joined; for all tests here. One that is lost is made up for."""

    def __init__(self, net: Network, home: Path, programs: Path) -> None:
        self.net = net
        self.cluster = Cluster(net, home, f"{len(net.machines)}", programs=programs)
        self.others = [self.cluster.b]
        self.add()
        self._calm: dict[str, Any] = {}  # the parameters of the undisturbed run

    def add(self) -> None:
        machine = self.net.machine(f"c{len(self.net.machines)}")
        self.cluster.join(machine)
        self.others.append(machine)

    def named(self, name: str) -> Machine:
        return next(machine for machine in (self.cluster.a, *self.others) if machine.name == name)

    def lose(self, machine: Machine) -> None:
        machine.end()
        self.others.remove(machine)

    def spec(self, name: str, **more: Any) -> dict[str, Any]:
        arms = [{"name": "base", "method": "fixed", "trials": 1, "config": ARMS["lagged"]}]
        return {**trained(name, {"data": 2}, arms=arms, resources=TWO), **more}

    @property
    def calm(self) -> dict[str, Any]:
        if not self._calm:
            study = created(self.cluster, self.spec("undisturbed"))
            [trial] = self.cluster.done(study, within_s=900)
            self._calm = parameters(self.cluster.home / "runs" / study / trial / "attempt-1")
        return self._calm

    def close(self) -> None:
        for machine in self.others[1:]:
            machine.end()
        self.cluster.close()


@pytest.fixture(scope="module")
def hosts(net: Network, tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Hosts]:
    made = Hosts(net, tmp_path_factory.mktemp("killed"), programs)
    yield made
    made.close()


def parameters(folder: Path) -> dict[str, Any]:
    with np.load(folder / "params.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def killed(hosts: Hosts, stage: str, which: str, seed: str) -> None:
    print(f"ORCH_GANGS_SEED={SEED}: {which} while {stage}")
    cluster, entrypoint = hosts.cluster, f"dwelling_{len(list(hosts.cluster.code.glob('*.py')))}"
    shutil.copyfile(dwelling.__file__, cluster.code / f"{entrypoint}.py")
    (cluster.code / f"{entrypoint}.stage").write_text(stage)
    study = created(cluster, hosts.spec(entrypoint, entrypoint=entrypoint))
    index = 0 if which == "member 0" else 1
    until((cluster.code / f"{entrypoint}.{index}").exists, every_s=0.05)
    time.sleep(random.Random(seed).random() * dwelling.DWELLS_S / 2)  # the kill comes at a random moment
    [trial] = cluster.tried(study)
    names = cluster.tried(study)[trial][0]["provenance"]["hosts"]
    begun = time.monotonic()
    if which == "host":
        lost = next(hosts.named(name) for name in names if name != cluster.a.name)
        hosts.lose(lost)
    else:
        lost = hosts.named(names[index])
        for pid in lost.pids("ray::Worker"):
            os.kill(pid, signal.SIGKILL)
    until(lambda: cluster.tried(study)[trial][0]["state"] == "lost", within_s=WITHIN_S[which])
    print(f"{which} while {stage}: lost after {time.monotonic() - begun:.1f} s")
    assert f"on {lost.name}: " in cluster.tried(study)[trial][0]["reason"]
    if which == "host":
        hosts.add()
    tried = cluster.done(study, within_s=900)[trial]
    settled(cluster, study)
    assert [attempt["state"] for attempt in tried] == ["lost", "completed"]
    assert bool(tried[1]["resumed_from"]) is (stage not in ("joining", "compiling"))
    found = parameters(cluster.home / "runs" / study / trial / "attempt-2")
    assert found.keys() == hosts.calm.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, hosts.calm[name], err_msg=name, strict=True)


@pytest.mark.parametrize("which", WHICH)
def test_what_is_lost_in_training_goes_on_bit_for_bit(hosts: Hosts, which: str) -> None:
    killed(hosts, "training", which, f"{SEED} {which}")


@pytest.mark.parametrize("number", [1, 2])
def test_two_rounds_at_random_moments(hosts: Hosts, number: int) -> None:
    drawn = random.Random(f"{SEED} {number}")
    killed(hosts, drawn.choice(STAGES), drawn.choice(WHICH), f"{SEED} {number}")


@pytest.mark.slow
@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "training"])
def test_a_kill_at_each_stage(hosts: Hosts, stage: str, which: str) -> None:
    killed(hosts, stage, which, f"{SEED} {stage} {which}")
