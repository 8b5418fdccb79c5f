"""Does a trial on TPUs of several hosts get one whole slice, and is told why it waits for one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.accelerators import tpu as rays
from ray._private.resource_and_label_spec import ResourceAndLabelSpec
from ray.util import tpu as rays_slices

from orchestrator.backends.gangs import LABEL, bundles_on, selectors_of
from orchestrator.backends.nodes import Nodes
from orchestrator.backends.placement import Need, Node, in_all, need, needs, open_to
from orchestrator.backends.ray_private import Listed
from orchestrator.backends.slices import SLICE, TYPE, WORKER, slices, told
from orchestrator.engine.hosts import LOOK_S
from orchestrator.engine.waits import reason_to_wait
from orchestrator.ledger.records import HostRow, HostState, StudyState
from orchestrator.readings import hosts as readings
from orchestrator.service.room import room_on
from orchestrator.study.resources import Resources
from orchestrator.study.tpu import parse
from orchestrator.testing.ledger_rows import host
from tests.faults import invariants
from tests.faults.world import created, small_study, world

V3 = Resources(cpus=8, tpu_type="v3-16", tpu_chips=4, hosts=2)
HEAD = "TPU-v3-16-head"


def hosts_of(name: str, kind: str = "v3-16", ids: Sequence[int] = (0, 1), **more: Any) -> list[Node]:
    """Hosts of a slice as Ray lists them: named by slice and place."""
    made = []
    for number in ids:
        labels = {SLICE: name, TYPE: kind, WORKER: str(number), "ray.io/tpu-topology": "2x4"}
        has: dict[str, float] = {"CPU": 96, "TPU": parse(kind).chips_a_host, name: 1}
        has |= {f"TPU-{kind}-head": 1} if number == 0 else {}
        called = f"{name}{number}"
        made.append(replace(Node(called, called, has, labels=labels), **more))
    return made


def open_ones(nodes: Sequence[Node], held: dict[str, list[Need]], *asked: Resources) -> set[str]:
    """The hosts that are open to the last one, after the others, which wait longer."""
    return {name for name, free in open_to(nodes, held, asked[-1], asked[:-1]).items() if free}


def at_work(nodes: Sequence[Node], resources: Resources = V3) -> dict[str, list[Need]]:
    return {node.node_id: [held] for node, held in zip(nodes, needs(resources, list(nodes)), strict=True)}


A, B = hosts_of("slice-a"), hosts_of("slice-b")
PLAIN = Node("plain", "plain", {"CPU": 96})


def test_a_slice_is_whole_with_each_of_its_hosts_once_and_all_their_chips() -> None:
    half = hosts_of("slice-c", ids=[0])
    twice = [*hosts_of("slice-d"), replace(hosts_of("slice-d")[1], node_id="new")]
    few = [hosts_of("slice-e")[0], replace(hosts_of("slice-e")[1], has={"CPU": 96, "TPU": 2})]
    leaves = [hosts_of("slice-f")[0], replace(hosts_of("slice-f")[1], draining=True)]
    odd = hosts_of("slice-g", ids=[0, 1, 2])
    four = hosts_of("slice-h", "v6e-16", ids=[3, 1])
    found = slices([*A, PLAIN, *half, *twice, *few, *leaves, *odd, *four])
    assert {each.name: each.lacks for each in found} == {
        "slice-a": "",
        "slice-c": "lacks host 1",
        "slice-d": "has host 1 twice",
        "slice-e": "has 2 of 4 chips on host 1",
        "slice-f": "is about to lose host 1",
        "slice-g": "has a host 2, and a v3-16 is 2 hosts of 4 chips",
        "slice-h": "lacks hosts 0 and 2",
    }
    assert told([*A, *half]) == "slice-a (v3-16), slice-c (v3-16, lacks host 1)"


def test_hosts_come_in_libtpus_order_also_beyond_nine() -> None:
    nodes = hosts_of("s", "v6e-64", ids=[10, 2, 15, 0, 9, 1, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14])
    (found,) = slices(nodes)
    assert [node.node_id for node in found.nodes] == [f"s{number}" for number in range(16)]
    assert found.lacks == ""


def test_a_trial_takes_whole_slices_and_never_two_halves() -> None:
    assert in_all([*A, *B], V3) == 2
    assert in_all([A[0], B[1]], V3) == 0
    assert open_ones([*A, *B], {}, V3) == {"slice-a0", "slice-a1", "slice-b0", "slice-b1"}
    assert open_ones([*A, *B], at_work(A), V3) == {"slice-b0", "slice-b1"}
    busy = {"slice-a0": [need(Resources(cpus=90))], "slice-b1": [need(Resources(cpus=90))]}
    assert open_ones([*A, *B], busy, V3) == set()
    assert open_ones([A[0], B[1]], {}, V3) == set()


def test_a_slice_that_drains_counts_among_all_and_is_not_open() -> None:
    leaves = [replace(A[0], draining=True), A[1]]
    assert in_all([*leaves, *B], V3) == 2
    assert open_ones([*leaves, *B], {}, V3) == {"slice-b0", "slice-b1"}
    assert open_ones([A[1], *B], {}, V3) == {"slice-b0", "slice-b1"}  # as the crew sees it


@pytest.mark.fault(44)
def test_a_slice_whose_new_host_stands_beside_the_old_one_is_taken_once_that_has_gone() -> None:
    new = replace(A[1], node_id="new", name="new")
    assert in_all([*A, new], V3) == 1
    assert open_ones([*A, new], {}, V3) == set()
    assert open_ones([A[0], new], {}, V3) == {"slice-a0", "new"}


@pytest.mark.fault(46)
def test_the_first_host_holds_the_head_and_who_else_holds_it_has_the_slice() -> None:
    assert [HEAD in held for held in needs(V3, A)] == [True, False]
    taken = [replace(A[0], others={HEAD: 1}), A[1]]
    assert open_ones([*taken, *B], {}, V3) == {"slice-b0", "slice-b1"}
    assert in_all([*taken, *B], V3) == 2  # a plan is of all that there is
    no_head = [replace(A[0], has={"CPU": 96, "TPU": 4}), A[1]]  # as a ledger tells it
    assert open_ones(no_head, {}, V3) == {"slice-a0", "slice-a1"}


def test_what_others_hold_of_a_head_is_seen_beside_what_is_ours() -> None:
    has = {"CPU": 8.0, "TPU": 4.0, HEAD: 1.0, "slice-a": 1.0}
    left = {"CPU": 0.0, "TPU": 0.0, HEAD: 0.0, "slice-a": 1.0}
    labels = A[0].labels
    for ours, others in (([], {"CPU": 8, "TPU": 4, HEAD: 1}), ([need(V3, first=True)], {})):
        listed = [Listed("a0", "a0", "10.0.0.1", has, labels, left=left)]
        nodes = Nodes(lambda listed=listed: listed, here="", most_here=None, ours=lambda _, ours=ours: ours)  # type: ignore[misc]
        nodes.look(again=True)
        assert nodes.look(again=True)["a0"].others == others


def test_a_study_that_waits_keeps_one_slice_and_not_halves_of_two() -> None:
    held = {"slice-a0": [need(Resources(cpus=90))], "slice-b0": [need(Resources(cpus=90))] * 2}
    small = Resources(cpus=4)
    assert open_ones([*A, *B, PLAIN], held, V3, small) == {"slice-b1", "plain"}
    assert open_ones([*A, PLAIN], {}, V3, V3) == set()  # the one that waits longer begins there
    assert open_ones([*A, *B], {}, V3, V3) == {"slice-b0", "slice-b1"}
    assert open_ones([*A, *B], at_work(A), V3, V3) == set()
    broken = [A[0], PLAIN]
    assert open_ones(broken, {}, V3, small) == {"slice-a0", "plain"}  # who can get none keeps nobody out


def test_a_part_of_a_slice_is_nobodys_and_cpus_are_everybodys() -> None:
    v3_8, v6e_8 = hosts_of("one", "v3-8", ids=[0]), hosts_of("two", "v6e-8", ids=[0])
    unlabelled, strange = Node("u", "u", {"CPU": 8, "TPU": 4}), hosts_of("z", "v3-16")[0]
    strange = replace(strange, node_id="s", labels={SLICE: "z", TYPE: "v99-16", WORKER: "0"})
    there = [*A, *v3_8, *v6e_8, unlabelled, strange]
    chips = Resources(tpu_chips=4)
    assert open_ones(there, {}, chips) == {"one0", "two0", "u"}
    assert open_ones(there, {}, Resources(tpu_chips=4, tpu_type="v3-8")) == {"one0"}
    assert open_ones(there, {}, Resources(tpu_chips=2, tpu_type="v6e-8")) == {"two0"}
    assert open_ones(there, {}, Resources()) == {node.node_id for node in there}
    assert in_all(there, Resources(tpu_chips=2, tpu_type="v6e-8")) == 4  # several trials share a host's chips
    assert in_all(there, Resources(tpu_chips=2)) == 2 + 4 + 2
    before = Resources.model_validate({"tpu_chips": 4, "tpu_type": "v3-16"}, context="stored")
    assert in_all(there, before) == 0  # half a slice, which is refused today


@given(
    ids=st.lists(st.sampled_from([(name, number) for name in "abc" for number in (0, 1)]), unique=True),
    busy=st.sets(st.sampled_from(["a0", "a1", "b0", "b1", "c0", "c1"])),
    leaving=st.sets(st.sampled_from(["a0", "b1"])),
    ahead=st.integers(0, 3),
)
def test_whatever_is_there_as_many_begin_as_slices_are_whole_and_idle(
    ids: list[tuple[str, int]], busy: set[str], leaving: set[str], ahead: int
) -> None:
    nodes = [
        replace(node, draining=node.node_id in leaving)
        for name, number in ids
        for node in hosts_of(name, ids=[number])
    ]
    held = {name: [need(V3)] for name in busy}
    free = {
        name
        for name in "abc"
        if {(name, 0), (name, 1)} <= set(ids) and not {f"{name}0", f"{name}1"} & (busy | leaving)
    }
    found = open_ones(nodes, held, *[V3] * ahead, V3)
    assert len(found) == 2 * max(0, len(free) - ahead)
    assert found <= {f"{name}{number}" for name in free for number in (0, 1)}
    assert {name[:-1] for name in found if name.endswith("0")} == {name[:-1] for name in found}


@pytest.mark.parametrize("kind", ["v3-16", "v6e-16", "tpu7x-16"])
def test_hosts_as_ray_itself_labels_them_are_a_slice(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Google's variables say what they are."""
    tpu = parse(kind.replace("tpu", "v"))
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", kind)
    monkeypatch.setenv("TPU_NAME", "slice-a")
    monkeypatch.setenv("TPU_TOPOLOGY", "2x2x2")
    nodes = []
    for number in range(tpu.hosts):
        monkeypatch.setenv("TPU_WORKER_ID", str(number))
        told = ResourceAndLabelSpec(
            num_cpus=8, resources={"TPU": 4}, labels={"orch": "x"}, memory=10**9, object_store_memory=10**8
        )
        told.resolve(is_head=False, node_ip_address="127.0.0.1")
        nodes.append(Node(str(number), f"h{number}", told.to_resource_dict(), labels=told.labels or {}))
    (found,) = slices(nodes[::-1])
    assert (found.name, found.tpu, found.lacks) == ("slice-a", tpu, "")
    assert list(found.nodes) == nodes
    wanted = Resources(tpu_type=tpu.name, tpu_chips=4, hosts=tpu.hosts)
    assert [tpu.head in held for held in needs(wanted, nodes)] == [True] + [False] * (tpu.hosts - 1)
    assert open_ones(nodes, {}, wanted) == {node.node_id for node in nodes}


# -- what Ray's own would ask for ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("topology", "generation", "chips"), [("2x2x2", "v4", 4), ("4x4", "v6e", 4), ("4x4", "v3", 4)]
)
def test_our_group_asks_for_what_rays_slice_placement_groups_ask(
    topology: str, generation: str, chips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def kept(**group: Any) -> dict[str, Any]:
        asked.append(group)
        return group

    class Ready(dict[str, Any]):
        def ready(self) -> str:
            return "ready"

    monkeypatch.setattr(rays, "placement_group", lambda **group: Ready(kept(**group)))
    monkeypatch.setattr(rays_slices, "placement_group", kept)
    monkeypatch.setattr(rays.ray, "wait", lambda refs, timeout: (refs, []))
    monkeypatch.setattr(rays, "fetch_tpu_slice_name_from_pg", lambda group: "slice-a")
    given: Any = rays_slices.SlicePlacementGroup(topology, generation, {"CPU": 8}, strategy="STRICT_SPREAD")
    head, group = asked
    name = rays.infer_tpu_pod_type_from_topology(topology, generation) or ""
    tpu = parse(name)
    resources = Resources(cpus=8, tpu_type=name, tpu_chips=chips, hosts=tpu.hosts)
    nodes = hosts_of("slice-a", name, ids=range(tpu.hosts))
    ours, selectors = bundles_on(nodes, resources), selectors_of(nodes, resources)
    assert [{**ours[0], tpu.head: 0.0}, *ours[1:]] == [
        {**group["bundles"][0], tpu.head: 0},
        *group["bundles"][1:],
    ]
    assert given.num_hosts == tpu.hosts
    assert head["bundles"] == [{tpu.head: ours[0][tpu.head]}]
    assert head["bundle_label_selector"][0].items() <= nodes[0].labels.items()
    for ask, theirs, node in zip(selectors, group["bundle_label_selector"], nodes, strict=True):
        assert ask == {**theirs, LABEL: node.node_id}


# -- what is said ----------------------------------------------------------------------------------------
def rows_of(nodes: Sequence[Node], **states: HostState) -> list[HostRow]:
    return [
        host(
            node.name,
            has={"CPU": 96.0, "TPU": node.has["TPU"]} if "TPU" in node.has else {"CPU": 96.0},
            places=96,
            labels=dict(node.labels),
            state=states.get(node.name.replace("-", "_"), HostState.IN_USE),
        )
        for node in nodes
    ]


def test_why_a_trial_waits_names_each_slice_of_its_type() -> None:
    rows = rows_of([*A, hosts_of("slice-b", ids=[0])[0], *hosts_of("slice-x", "v3-32", ids=[0])])
    assert reason_to_wait(V3, rows, {}) == (
        "It waits for a whole v3-16 slice; slice-a is at work, slice-b lacks host 1."
    )
    rows = rows_of([*A, *B], slice_b1=HostState.SET_ASIDE)
    assert reason_to_wait(V3, rows, {"slice-a0": {HEAD: 1}}) == (
        "It waits for a whole v3-16 slice; the head of slice-a is held by others, host 1 of slice-b is set "
        "aside."
    )
    rows = rows_of([*A, *B], slice_b1=HostState.DRAINING)
    assert reason_to_wait(V3, rows, {"slice-a1": {"TPU": 4}}) == (
        "It waits for a whole v3-16 slice; slice-a is used by others, slice-b is about to lose host 1."
    )


def test_on_one_host_a_trial_waits_for_a_host_of_its_type_alone() -> None:
    one = hosts_of("one", "v3-8", ids=[0])
    wanted = Resources(tpu_type="v3-8", tpu_chips=4)
    assert reason_to_wait(wanted, rows_of([*A, *one]), {}) == (
        "It waits for a host with 1 CPU, 4 TPU chips of a v3-8; 1 is at work."
    )
    assert one[0].words == "one0 (96 CPU, 4 TPU of a v3-8)"


def test_a_plan_says_how_many_run_at_once_on_the_slices_that_there_are() -> None:
    half = hosts_of("slice-c", ids=[0])
    number, said = room_on(V3, rows_of([*A, *B, *half, PLAIN]), workers=2)
    assert number == 2
    takes = "Each trial takes a whole v3-16 slice (2 hosts, each with 8 CPUs, 4 TPU chips)"
    assert said.startswith(f"{takes}; 2 at once on 6 hosts: ")
    assert said.endswith("slices: slice-a (v3-16), slice-b (v3-16), slice-c (v3-16, lacks host 1).")
    number, said = room_on(V3, rows_of([*half, PLAIN]), workers=2)
    assert number == 1
    assert "and none such fits on the hosts that are there: " in said
    assert said.endswith("slices: slice-c (v3-16, lacks host 1).")


def test_slices_are_listed_with_their_hosts_and_why_one_is_broken() -> None:
    rows = rows_of([*A, *B, *hosts_of("slice-c", ids=[1])], slice_b0=HostState.SET_ASIDE)
    found = readings.slices([readings._line(row, [], locks=True) for row in rows])
    assert [(each.name, each.tpu_type, each.hosts, each.state) for each in found] == [
        ("slice-a", "v3-16", ("slice-a0", "slice-a1"), "whole"),
        (
            "slice-b",
            "v3-16",
            ("slice-b0", "slice-b1"),
            "broken: it cannot be used while host 0 is set aside",
        ),
        ("slice-c", "v3-16", ("slice-c1",), "broken: it lacks host 0"),
    ]
    line = readings._line(rows[1], [], locks=True)
    assert line.words == "96 CPUs, 4 TPU chips, host 1 of slice-a (v3-16)"
    (one,) = rows_of(hosts_of("one", "v3-8", ids=[0]))
    assert readings._line(one, [], locks=True).words == "96 CPUs, 4 TPU chips, v3-8"
    assert readings.slices([readings._line(one, [], locks=True)]) == []


# -- studies on them -------------------------------------------------------------------------------------
ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
RANDOM = [{"name": "random", "method": "random", "trials": 6, "space": [ALPHA]}]
HELD = {"cpus": 8, "tpu_type": "v3-16", "tpu_chips": 4, "hosts": 2}


@pytest.mark.fault(46)
def test_two_studies_take_turns_on_one_slice_and_a_broken_one_is_left_alone(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=[*hosts_of("slice-b", ids=[0]), *A])
    for study in ("s1", "s2"):
        created(place, small_study(name=study, arms=RANDOM, resources=HELD), study_id=study)
    engine, said = place.engine(), set()
    while any(place.store.study(study).state is StudyState.RUNNING for study in ("s1", "s2")):
        place.step(engine)
        said |= {place.store.study(study).waits for study in ("s1", "s2")}
    begun = []
    for study in ("s1", "s2"):
        invariants.check(place.store, study)
        for trial in place.store.trials(study):
            (attempt,) = place.store.attempts(trial.trial_id)
            begun.append((attempt.started_at, study))
    order = [study for _, study in sorted(begun)]
    assert len(order) == 12
    assert all(abs(order[:n].count("s1") - order[:n].count("s2")) <= 2 for n in range(12))
    assert "It waits for a whole v3-16 slice; slice-a is at work, slice-b lacks host 1." in said


def test_a_study_without_any_whole_slice_says_what_there_is_and_goes_on_once_it_is_whole(
    tmp_path: Path,
) -> None:
    place = world(tmp_path, hosts=[A[0]])
    created(place, small_study(arms=RANDOM, resources=HELD))
    engine = place.engine()
    why = engine.tick().unrunnable["s1"]
    assert why.startswith(
        "A trial of it asks for a whole v3-16 slice (2 hosts, each with 8 CPUs, 4 TPU chips), and none "
        "such fits: there are slice-a0 (96 CPU, 4 TPU); slices: slice-a (v3-16, lacks host 1)."
    )
    place.backend.nodes.append(A[1])
    place.clock.advance(LOOK_S)
    assert place.drive(engine, "s1").state is StudyState.COMPLETED
