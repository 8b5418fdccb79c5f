"""Is a trial on several hosts the trial that it would be on one, whatever becomes of a host? Real Ray, a node
a machine, the real trainer and the rehearsal."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from studies import catalog, parts
from tests.hosts.cluster import Cluster
from tests.hosts.machines import Machine, Network, until
from tests.hosts.test_hosts_and_faults import settled

pytestmark = pytest.mark.hosts
TWO = {"cpus": 1, "hosts": 2}
STEPS, INTERVAL = 60, 20
SEED = int(os.environ.get("ORCH_GANGS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    **{
        name: {"guidance": {"learn": ["alpha", "beta1"], "eta": 0.01, "estimator": name}}
        for name in ("next-batch", "lagged", "held-out")
    },
}


@pytest.fixture
def three(net: Network, tmp_path: Path, programs: Path) -> Iterator[tuple[Cluster, Machine]]:
    """A serves, B and C have joined."""
    made = Cluster(net, tmp_path, f"{len(net.machines)}", programs=programs)
    third = net.machine(f"c{len(net.machines)}")
    made.join(third)
    yield made, third
    third.end()
    made.close()


def trained(name: str, mesh: Mapping[str, int], *, steps: int = STEPS, **more: Any) -> dict[str, Any]:
    base = {
        **parts.sizes()["smoke"].base,
        "steps": steps,
        "eval_every_steps": INTERVAL,
        "checkpoint_every_steps": INTERVAL,
        "score": {"dev_sentences": 8},
        "mesh": dict(mesh),
    }
    arms = [{"name": arm, "method": "fixed", "trials": 1, "config": config} for arm, config in ARMS.items()]
    given = {"base": base, "arms": arms, "objective": {"metric": "dev_loss"}, "keep": "all", **more}
    return {"name": name, "entrypoint": "trainer.run", **given}


def created(cluster: Cluster, spec: Mapping[str, Any]) -> str:
    return str(cluster.ask("/studies", {"spec": spec})["study_id"])


def losses(cluster: Cluster, trial: str) -> dict[int, float]:
    curve = cluster.ask(f"/trials/{trial}/trajectories?name=train_loss")["curves"][0]
    return dict(zip(curve["steps"], curve["values"], strict=True))


def by_arm(cluster: Cluster, study: str) -> dict[str, str]:
    return {t["arm"]: t["trial_id"] for t in cluster.ask(f"/studies/{study}/trials")["items"]}


def none_left(cluster: Cluster, *machines: Machine) -> None:
    """I6: once its service is gone and `orch down` was said, no worker is there."""
    for each in machines:
        assert cluster.orch(each, "down").returncode == 0
    cluster.signal(signal.SIGTERM)
    assert cluster.orch(cluster.a, "down").returncode == 0
    for each in (cluster.a, *machines):
        assert not each.pids("ray::")


def test_every_estimator_s_losses_are_those_of_one_host(cluster: Cluster) -> None:
    alone = created(cluster, trained("alone", {}))
    meshes = {"data": ARMS, "fsdp": {"base", "held-out"}}
    together = {}
    for axis, arms in meshes.items():
        spec = trained(axis, {axis: 2}, resources=TWO)
        spec["arms"] = [arm for arm in spec["arms"] if arm["name"] in arms]
        together[axis] = created(cluster, spec)
    cluster.done(alone, within_s=900)
    single = by_arm(cluster, alone)
    for axis, study in together.items():
        tried = cluster.done(study, within_s=900)
        settled(cluster, study)
        for arm, trial in by_arm(cluster, study).items():
            assert len(tried[trial]) == 1, [(each["state"], each["reason"]) for each in tried[trial]]
            [attempt] = tried[trial]
            assert sorted(attempt["provenance"]["hosts"]) == [cluster.a.name, cluster.b.name]
            one, two = losses(cluster, single[arm]), losses(cluster, trial)
            assert one.keys() == two.keys()
            off = {step: abs(one[step] - two[step]) for step in one}
            early, late = max(off[step] for step in off if step <= 20), off[max(off)]
            print(f"{axis}, {arm}: {early:.1e} in the first 20 steps, {late:.1e} at the end")
            assert early <= 1e-5
            assert late <= 1e-3


@pytest.mark.slow
def test_the_main_study_comes_to_the_same_verdict(cluster: Cluster) -> None:
    spec = catalog.get("bo-vs-guided", "smoke").model_dump(mode="json", exclude_defaults=True)
    found = []
    for name, changes in (("alone", {}), ("together", {"mesh": {"data": 2}})):
        resources = TWO if changes else {"cpus": 1}
        made = {**spec, "name": name, "base": {**spec["base"], **changes}, "resources": resources}
        study = created(cluster, made)
        cluster.done(study, within_s=1800)
        settled(cluster, study)
        verdict = cluster.ask(f"/studies/{study}/verdict")
        values = cluster.ask(f"/trials/{by_arm(cluster, study)['base']}")["values"]
        found.append((verdict["verdict"]["answer"], values["dev_loss"]))
    print(found)
    assert found[0][0] == found[1][0]
    assert abs(found[0][1] - found[1][1]) <= 1e-3


@pytest.mark.fault(38, real=True)
def test_the_service_is_killed_while_a_gang_comes_together(cluster: Cluster) -> None:
    rng = random.Random(SEED)
    print(f"ORCH_GANGS_SEED={SEED}")
    study = cluster.study("killed", trials=4, steps=400, resources=TWO)
    for _ in range(6):
        time.sleep(rng.random() * 3)  # the fault itself comes at a random moment
        cluster.signal(signal.SIGKILL)
        cluster.serve()
    tried = cluster.done(study, within_s=400)
    settled(cluster, study)
    assert all(attempts[-1]["state"] == "completed" for attempts in tried.values())
    none_left(cluster, cluster.b)


@pytest.mark.fault(40, real=True)
@pytest.mark.parametrize("cut_s", [10, 90])
def test_a_link_between_two_processes_is_cut(cluster: Cluster, cut_s: int) -> None:
    spec = trained("cut", {"data": 2}, steps=1500, resources=TWO, retries={"hang_after_s": 40})
    spec["arms"] = spec["arms"][:1]
    study = created(cluster, spec)
    [trial] = cluster.begun(study, 1)
    cluster.b.cut()
    time.sleep(cut_s)  # the fault itself takes so long
    cluster.b.mend()
    tried = cluster.done(study, within_s=900)[trial]
    settled(cluster, study)
    print([(each["state"], each["reason"]) for each in tried])
    assert tried[-1]["state"] == "completed"
    if cut_s == 90:
        assert tried[0]["state"] == "lost"
        assert f"on {cluster.b.name}: " in tried[0]["reason"]


@pytest.mark.fault(40, real=True)
def test_one_that_is_stopped_is_named_by_the_watchdog(cluster: Cluster) -> None:
    study = cluster.study("stopped", trials=1, steps=3000, resources=TWO, retries={"hang_after_s": 15})
    [trial] = cluster.begun(study, 1)
    hosts = cluster.tried(study)[trial][0]["provenance"]["hosts"]
    second = {each.name: each for each in (cluster.a, cluster.b)}[hosts[1]]
    for pid in second.pids("ray::Worker"):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: cluster.tried(study)[trial][0]["state"] == "lost", within_s=120)
    assert f"Process 1 of 2, on {second.name}: " in cluster.tried(study)[trial][0]["reason"]
    assert cluster.done(study, within_s=400)[trial][-1]["state"] == "completed"
    settled(cluster, study)


@pytest.mark.fault(41, real=True)
def test_a_member_whose_disk_is_full_is_named(three: tuple[Cluster, Machine]) -> None:
    cluster, third = three
    spec = trained("full", {"fsdp": 2}, steps=1500, resources=TWO, retries={"attempts": 5})
    spec["arms"] = spec["arms"][:1]
    study = created(cluster, spec)
    [trial] = cluster.begun(study, 1)
    hosts = cluster.tried(study)[trial][0]["provenance"]["hosts"]
    full = {each.name: each for each in (cluster.a, cluster.b, third)}[hosts[1]]
    runs = cluster.home / "runs"
    full.sh(f"mount --bind {runs} {runs}; mount -o remount,ro,bind {runs}")
    tried = cluster.done(study, within_s=900)[trial]
    full.sh(f"umount {runs}")
    settled(cluster, study)
    print([(each["state"], each["reason"]) for each in tried])
    assert tried[-1]["state"] == "completed"
    assert f"Process 1 of 2, on {full.name}: " in tried[0]["reason"]


@pytest.mark.fault(43, real=True)
def test_more_hosts_than_there_are_and_two_studies_that_want_the_same(cluster: Cluster) -> None:
    study = cluster.study("three", trials=1, steps=100, resources={"cpus": 1, "hosts": 3})
    until(lambda: "asks for 3 hosts, each with 1 CPU" in cluster.ready()["unrunnable"].get(study, ""))
    cluster.ask(f"/studies/{study}/cancel", {})
    wants = [
        cluster.study(f"wants-{i}", trials=3, steps=200, resources={"cpus": 2, "hosts": 2}) for i in (0, 1)
    ]
    began = []
    for each in wants:
        for attempts in cluster.done(each, within_s=400).values():
            assert [a["state"] for a in attempts] == ["completed"]
            began.append((attempts[0]["started_at"], each))
        settled(cluster, each)
    turns = [study for _, study in sorted(began)]
    assert all(abs(turns[:n].count(wants[0]) - turns[:n].count(wants[1])) <= 2 for n in range(7))
    none_left(cluster, cluster.b)
