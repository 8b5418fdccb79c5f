"""Do gangs take whole TPU slices of a real Ray, and let go of them? Its nodes only say they have some."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.backends.crew import Crew
from orchestrator.backends.nodes import LOOK_AGAIN_S
from orchestrator.backends.ray import RayBackend
from orchestrator.backends.slot import Slot
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import StudyState, study_of
from orchestrator.runs.contract import Launch
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.resources import Resources
from tests.faults.world import small_study
from tests.orchestrator.backends.test_gangs import LONG, SHORT, Heard, given, launches, leaves_nothing, until
from tests.orchestrator.backends.tpu_cluster import TpuCluster, tpu_cluster

# Ray's cluster utility forks, and a test before this one may have loaded JAX.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
V3 = Resources(tpu_type="v3-16", tpu_chips=4, hosts=2)
V6E = Resources(tpu_type="v6e-16", tpu_chips=4, hosts=4)
SLICES = {"slice-a": ("v3-16", (1, 0)), "slice-b": ("v3-16", (0, 1)), "slice-c": ("v3-16", (1,))}
ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
OF_FOUR = {"slice-f": ("v6e-16", (2, 0, 3, 1))}


@pytest.fixture(scope="module", params=[SLICES], ids=["v3-16"])
def cluster(request: pytest.FixtureRequest) -> Iterator[TpuCluster]:
    with tpu_cluster(request.param) as made:
        yield made


@pytest.fixture
def backend(cluster: TpuCluster) -> Iterator[RayBackend]:
    made = cluster.connected()
    # What the test before has given back Ray tells a moment later.
    until(lambda: not any(view.others for view in _looked(made).hosts()))
    yield made
    made.close(end_workers=True)
    leaves_nothing(cluster.connected())


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Launch]:
    return launches(request.node.name, tmp_path, V3)


def slot_of(backend: RayBackend, job: Launch) -> Slot:
    slot = backend._holder(job.key)
    assert slot is not None
    return slot


def slice_of(backend: RayBackend, cluster: TpuCluster, job: Launch) -> str:
    """The one slice that this gang is on; each of its processes is a child of the right host's Ray."""
    members = [node_id for node_id, _ in slot_of(backend, job).places]
    at = {cluster.id_of(*place): place for place in cluster.nodes}
    names, numbers = zip(*[at[node_id] for node_id in members], strict=True)
    assert len(set(names)) == 1
    assert list(numbers) == list(range(len(members)))
    for index in range(len(members)):
        pid = int(Path(job.folder, f"begun-{index}").read_text().split()[0])
        assert psutil.Process(pid).ppid() == cluster.raylet_of(names[0], index)
    return str(names[0])


def settled(backend: RayBackend, job: Launch) -> None:
    """It was told to end; its slice is free again."""
    backend.kill(job.key, "no longer wanted")
    Heard(backend, job).ended()
    backend.forget(job.key)


def test_gangs_have_whole_slices_in_the_order_of_the_hosts_and_hold_their_heads(
    backend: RayBackend, launch: Callable[..., Launch], cluster: TpuCluster
) -> None:
    from ray.util.placement_group import placement_group_table

    assert [backend.slots(V3), backend.free(V3)] == [2, 2]
    assert backend.slots(Resources(tpu_chips=4)) == 0  # no host of a slice is anything by itself
    assert backend.room().endswith("slices: slice-a (v3-16), slice-b (v3-16), slice-c (v3-16, lacks host 0)")
    jobs = [launch("one", LONG), launch("two", LONG)]
    for job in jobs:
        given(backend, job).at_work()
    assert {slice_of(backend, cluster, job) for job in jobs} == {"slice-a", "slice-b"}
    bundles = [each["bundles"] for each in placement_group_table().values() if each["state"] == "CREATED"]
    assert [[each[0], each[1]] for each in bundles] == 2 * [
        [{"CPU": 1, "TPU": 4, "TPU-v3-16-head": 1}, {"CPU": 1, "TPU": 4}]
    ]
    assert backend.free(V3) == 0
    assert not backend.submit(launch("three", SHORT))
    small = given(backend, launch("small", SHORT, resources=Resources()))  # beside them, on CPUs
    assert small.ended().outcome.status == "completed"
    backend.forget(small.job.key)
    settled(backend, jobs[0])
    assert backend.free(V3) == 1
    settled(backend, jobs[1])


def test_the_next_trial_finds_the_slice_warm(backend: RayBackend, launch: Callable[..., Launch]) -> None:
    heard = []
    for trial in ("one", "two"):
        heard.append(given(backend, launch(trial, SHORT)))
        assert heard[-1].ended().outcome.status == "completed"
        backend.forget(heard[-1].job.key)
    assert heard[0].pids() == heard[1].pids()


@pytest.mark.fault(46, real=True)
def test_a_head_that_somebody_else_holds_keeps_its_slice_out(
    backend: RayBackend, launch: Callable[..., Launch], cluster: TpuCluster
) -> None:
    """As a program does that asks Ray for a slice in Ray's own way."""
    from ray.util.placement_group import placement_group, remove_placement_group

    theirs = placement_group(
        [{"TPU-v3-16-head": 1}], bundle_label_selector=[{"ray.io/tpu-slice-name": "slice-a"}]
    )
    try:
        theirs_alone = [{"TPU-v3-16-head": 1}]
        until(lambda: [v.others for v in _looked(backend).hosts() if v.others] == theirs_alone)
        assert backend.free(V3) == 1
        heard = given(backend, launch("one", LONG)).at_work()
        assert slice_of(backend, cluster, heard.job) == "slice-b"
        assert backend.free(V3) == 0
        settled(backend, heard.job)
    finally:
        remove_placement_group(theirs)
    until(lambda: _looked(backend).free(V3) == 2)


def _looked(backend: RayBackend) -> RayBackend:
    """Ray's nodes as they are now, not a moment ago."""
    crew: Crew = backend._crew
    crew.nodes.look(again=True)
    return backend


@pytest.mark.fault(46, real=True)
def test_two_studies_that_want_the_one_slice_that_is_left_take_turns(
    backend: RayBackend, cluster: TpuCluster, tmp_path: Path
) -> None:
    from ray.util.placement_group import placement_group, remove_placement_group

    theirs = placement_group(
        [{"TPU-v3-16-head": 1}], bundle_label_selector=[{"ray.io/tpu-slice-name": "slice-b"}]
    )
    try:
        until(lambda: _looked(backend).free(V3) == 1)
        store, clock, said = MemoryLedger(), SystemClock(), set()
        arms = [{"name": "random", "method": "random", "trials": 4, "space": [ALPHA]}]
        asked = V3.model_dump()
        for name in ("one", "two"):
            create(store, small_study(name=name, arms=arms, resources=asked), clock=clock)
        engine = Engine(store, backend, clock=clock, storage=Storage(tmp_path), who="test")

        def ended() -> bool:
            if engine.tick().idle:
                backend.await_news(0.05)
            studies = store.studies()
            said.update(study.waits for study in studies)
            return all(study.state is StudyState.COMPLETED for study in studies)

        until(ended)
    finally:
        remove_placement_group(theirs)
    attempts = [
        a for s in store.studies() for t in store.trials(s.study_id) for a in store.attempts(t.trial_id)
    ]
    order = [study_of(a.trial_id) for a in sorted(attempts, key=lambda a: a.started_at)]
    assert len(order) == 8  # one each: none was lost
    assert all(abs(2 * order[:n].count(order[0]) - n) <= 2 for n in range(8))
    assert (
        "It waits for a whole v3-16 slice; slice-a is at work, the head of slice-b is held by others, "
        "slice-c lacks host 0."
    ) in said


@pytest.mark.fault(44, real=True)
def test_a_slice_that_loses_a_host_is_broken_until_another_has_come_in_its_place(
    backend: RayBackend, launch: Callable[..., Launch], cluster: TpuCluster
) -> None:
    jobs = [launch("one", LONG), launch("two", LONG)]
    for job in jobs:
        given(backend, job).at_work()
    (lost,) = [job for job in jobs if slice_of(backend, cluster, job) == "slice-a"]
    old = cluster.id_of("slice-a", 1)
    at = time.monotonic()
    cluster.end("slice-a", 1)
    ended = Heard(backend, lost).ended()
    print(f"lost after {time.monotonic() - at:.1f} s: {ended.reason}")
    assert ended.how == "lost"
    assert "Process 1 of 2, on " in ended.reason
    backend.forget(lost.key)
    until(lambda: _looked(backend).slots(V3) == 1)
    assert backend.free(V3) == 0
    assert "slice-a (v3-16, lacks host 1)" in backend.room()
    again = launch("one", SHORT, attempt=2)
    assert not backend.submit(again)
    cluster.add("slice-a", ids=[1])
    until(lambda: _looked(backend).free(V3) == 1)
    heard = given(backend, again)
    assert old not in [node_id for node_id, _ in slot_of(backend, again).places]
    assert heard.ended().outcome.status == "completed"
    assert [node for node, _ in slot_of(backend, again).places] == [
        cluster.id_of("slice-a", 0), cluster.id_of("slice-a", 1),
    ]  # fmt: skip


@pytest.mark.fault(45, real=True)
def test_a_host_that_is_preempted_makes_the_whole_gang_save_and_stop(
    backend: RayBackend, launch: Callable[..., Launch], cluster: TpuCluster
) -> None:
    """The last one of the file: the host stays as it is."""
    jobs = [launch("one", LONG), launch("two", LONG)]
    heard = [given(backend, job).at_work() for job in jobs]
    (first,) = [each for each in heard if slice_of(backend, cluster, each.job) == "slice-b"]
    cluster.drain("slice-b", 1)

    def over() -> bool:
        backend.hosts()  # as the engine does: what hosts do is heeded there
        threading.Event().wait(LOOK_AGAIN_S / 10)
        return first.poll().last.ended is not None

    until(over)
    assert first.last.ended.outcome.status == "preempted"
    assert first.events[-1].kind == "checkpoint"
    one, other = first.answers()
    assert one == other
    assert one[-1].endswith("save_and_stop")
    backend.forget(first.job.key)
    assert backend.free(V3) == 0
    assert [backend.slots(V3), len(backend.attempts())] == [2, 1]
    assert "slice-b (v3-16, is about to lose host 1)" in backend.room()


@pytest.mark.slow  # another cluster; test_slices.py has its order of sixteen, and the tests above two hosts
@pytest.mark.parametrize("cluster", [OF_FOUR], indirect=True, ids=["v6e-16"])
def test_a_slice_of_four_hosts_has_its_processes_in_order(
    backend: RayBackend, launch: Callable[..., Launch], cluster: TpuCluster
) -> None:
    assert [backend.slots(V6E), backend.slots(V3)] == [1, 0]
    heard = given(backend, launch("one", LONG, resources=V6E)).at_work()
    assert slice_of(backend, cluster, heard.job) == "slice-f"
    assert backend.free(V6E) == 0
    settled(backend, heard.job)


@pytest.mark.parametrize("cluster", [{"slice-e": ("v3-8", (0,))}], indirect=True, ids=["v3-8"])
def test_two_trials_share_the_chips_of_one_host(
    backend: RayBackend, launch: Callable[..., Launch], cluster: TpuCluster
) -> None:
    half = Resources(tpu_type="v3-8", tpu_chips=2)
    assert [backend.slots(half), backend.slots(Resources(tpu_chips=8)), backend.slots(V3)] == [2, 0, 0]
    heard = [given(backend, launch(name, LONG, resources=half)).at_work() for name in ("one", "two")]
    chips = [each.events[0].payload["accelerators"]["TPU"] for each in heard]
    assert sorted(chips[0] + chips[1]) == ["0", "1", "2", "3"]
    assert backend.free(half) == 0
    for each in heard:
        settled(backend, each.job)
