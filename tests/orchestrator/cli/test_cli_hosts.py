"""Are hosts listed, drained and used again at a terminal?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import output
from orchestrator.ledger import Store
from orchestrator.ledger.records import HostState
from orchestrator.runs import shared
from orchestrator.testing.ledger_rows import host, of_slice
from tests.orchestrator.conftest import Orch


@pytest.fixture
def seen(ledger: Callable[[], Store], home: Path) -> Store:
    """Two hosts, as a leader saw them that has ended since."""
    home.mkdir()
    store = ledger()
    aside = host("worker-2", state=HostState.SET_ASIDE, reason="3 attempts in a row ended here in trouble.")
    store.see_hosts(store.lead("leader") or 0, [host("worker-1", has={"CPU": 8.0, "GPU": 1.0}), aside])
    store.release()
    return store


def test_without_any_host_it_says_so(orch: Orch, ledger: Callable[[], Store], home: Path) -> None:
    home.mkdir()
    ledger()
    said = orch("hosts")
    assert (said.code, said.out, said.err) == (0, "", "No process runs studies now.\n")


def test_hosts_are_a_table_with_what_they_have_and_why_they_are_not_used(orch: Orch, seen: Store) -> None:
    said = orch("hosts")
    assert said.code == 0
    header, first, second = said.out.splitlines()
    assert header.split() == ["host", "state", "has", "at", "work", "reason"]
    assert first.split() == ["worker-1", "in", "use", "8", "CPUs,", "1", "GPU", "0", "of", "2"]
    assert "set aside" in second
    assert "3 attempts in a row ended here in trouble." in second
    assert said.err == "No process runs studies now. The last one saw these hosts.\n"
    told = orch("hosts", "--json").json
    assert told["led"] is False
    assert [each["state"] for each in told["hosts"]] == ["in use", "set aside"]


def test_slices_of_tpus_are_a_table_of_their_own(orch: Orch, ledger: Callable[[], Store], home: Path) -> None:
    home.mkdir()
    store, has = ledger(), {"CPU": 8.0, "TPU": 4.0}
    seen = [("a", 0), ("a", 1), ("b", 0)]
    rows = [host(f"{name}{i}", has=has, labels=of_slice(name, i)) for name, i in seen]
    store.see_hosts(store.lead("leader") or 0, rows)
    lines = orch("hosts").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["host", "a0", "a1", "b0", "", "slice", "a", "b"]
    assert "8 CPUs, 4 TPU chips, host 1 of a (v3-16)" in lines[2]
    assert [" ".join(line.split()) for line in lines[5:]] == [
        "slice type hosts state",
        "a v3-16 a0, a1 whole",
        "b v3-16 b0 broken: it lacks host 1",
    ]
    assert orch("hosts", "--json").json["slices"] == [
        {"name": "a", "tpu_type": "v3-16", "hosts": ["a0", "a1"], "reason": ""},
        {"name": "b", "tpu_type": "v3-16", "hosts": ["b0"], "reason": "lacks host 1"},
    ]


@pytest.mark.parametrize(
    ("has", "words"),
    [
        ({"CPU": 8.0, "GPU": 1.0, "GPU_GiB": 139.0}, "8 CPUs, 1 GPU of 139 GiB"),
        ({"CPU": 8.0, "GPU": 8.0, "GPU_GiB": 79.0}, "8 CPUs, 8 GPUs of 79 GiB"),
        ({"CPU": 1.0, "TPU": 4.0, "TPU_GiB": 32.0}, "1 CPU, 4 TPU chips of 32 GiB"),
        ({"CPU": 8.0, "GPU": 2.0}, "8 CPUs, 2 GPUs"),
    ],
)
def test_accelerators_are_told_with_their_memory_where_it_is_known(
    orch: Orch, seen: Store, has: dict[str, float], words: str
) -> None:
    seen.see_hosts(seen.lead("leader") or 0, [host("worker-1", has=has)])
    seen.release()
    row = orch("hosts").out.splitlines()[1]
    assert f" {words}  " in row
    assert orch("hosts", "--json").json["hosts"][0]["has"] == has


def test_a_host_from_which_locks_do_not_reach_others_is_named(orch: Orch, seen: Store, home: Path) -> None:
    shared.note_locks(home / "runs", "worker-2", reach=False)
    assert orch("hosts").err.splitlines()[1] == shared.no_locks(["worker-2"])
    assert [each["locks"] for each in orch("hosts", "--json").json["hosts"]] == [True, False]


def test_a_host_is_drained_and_used_again(orch: Orch, seen: Store) -> None:
    said = orch("hosts", "drain", "worker-1")
    assert (said.code, said.out) == (0, "worker-1 is drained.\n")
    assert said.err == "To use it again: orch hosts use worker-1\n"
    assert seen.hosts()[0].drained_by
    assert orch("hosts", "--json").json["hosts"][0]["state"] == "drained"
    assert orch("hosts", "use", "worker-1").out == "worker-1 is used again.\n"
    assert seen.hosts()[0].drained_by == ""


def test_a_wrong_name_is_put_right(orch: Orch, seen: Store) -> None:
    said = orch("hosts", "drain", "worker1")
    assert said.code == output.NOT_FOUND
    assert said.err == "orch: There is no host 'worker1'. Did you mean 'worker-1'? `orch hosts` shows all.\n"
