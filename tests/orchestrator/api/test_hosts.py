"""Are hosts listed, drained and used again over HTTP, by those who may?"""

from __future__ import annotations

import pytest

from orchestrator.ledger.records import Role
from orchestrator.runs import shared
from orchestrator.testing.ledger_rows import host, of_slice
from tests.orchestrator.api.conftest import Make, Service

HOSTS = "/api/v1/hosts"
SEEN = [("a", 0), ("a", 1), ("b", 0)]


@pytest.fixture
def with_hosts(service: Service) -> Service:
    service.led = False
    epoch = service.store.lead("leader")
    assert epoch is not None
    service.store.see_hosts(epoch, [host("worker-1"), host("worker-2"), host("leader", places=0)])
    return service


def test_hosts_that_run_trials_are_listed_with_what_runs_there(with_hosts: Service) -> None:
    said = with_hosts.ask("GET", HOSTS)
    assert said.status == 200
    first, second = said.json["items"]
    assert first == {
        "name": "worker-1",
        "address": "10.0.0.1",
        "state": "in use",
        "since": 50.0,
        "reason": "",
        "places": 2,
        "has": {"CPU": 2.0},
        "at_work": [],
        "locks": True,
        "slice": "",
        "tpu_type": "",
        "tpu_host": None,
    }
    assert second["name"] == "worker-2"


def test_a_host_is_drained_and_used_again_by_an_admin_alone(with_hosts: Service) -> None:
    for role in (Role.READ, Role.RUN):
        ask = with_hosts.ask.by(with_hosts.token(role))
        assert ask("GET", HOSTS).status == 200
        assert ask("POST", f"{HOSTS}/worker-2/drain").status == 403
        assert ask("POST", f"{HOSTS}/worker-2/use").status == 403
    ada = with_hosts.ask.by(with_hosts.token(Role.ADMIN, name="ada"))
    drained = ada("POST", f"{HOSTS}/worker-2/drain")
    assert drained.status == 200
    assert (drained.json["state"], drained.json["reason"]) == ("drained", "ada wants it empty.")
    assert [row.drained_by for row in with_hosts.store.hosts()] == ["", "", "ada"]
    assert ada("POST", f"{HOSTS}/worker-2/use").json["state"] == "in use"
    assert [row.drained_by for row in with_hosts.store.hosts()] == ["", "", ""]


def test_a_host_that_nobody_has_seen_is_a_sentence(with_hosts: Service) -> None:
    said = with_hosts.ask("POST", f"{HOSTS}/worker1/drain")
    assert said.status == 404
    assert said.json["detail"].startswith("There is no host 'worker1'. Did you mean 'worker-1'?")


def test_what_a_host_needs_to_join_is_told_to_an_admin_once_workers_run(make: Make) -> None:
    service = make()
    assert service.ask.by(service.token(Role.RUN))("GET", "/api/v1/cluster").status == 403
    said = service.ask("GET", "/api/v1/cluster")
    assert said.status == 503
    assert said.json["detail"].startswith("No workers run here yet")


def test_whether_a_host_s_lock_is_seen_is_told_with_its_file(with_hosts: Service) -> None:
    runs, asked = with_hosts.parts.settings.runs, "/api/v1/cluster/storage"
    answer = shared.answer(runs, shared.word_of(runs))
    with shared.held(runs, answer):
        assert with_hosts.ask("POST", asked, {"name": answer}).json == {"shared": True, "locks": True}
    answer = shared.answer(runs, shared.word_of(runs))
    assert with_hosts.ask("POST", asked, {"name": answer}).json == {"shared": True, "locks": False}
    shared.note_locks(runs, "worker-2", reach=False)
    assert [host["locks"] for host in with_hosts.ask("GET", HOSTS).json["items"]] == [True, False]


def test_a_file_that_a_host_has_not_written_is_told(make: Make) -> None:
    service = make()
    said = service.ask("POST", "/api/v1/cluster/storage", {"name": "0" * 32})
    assert said.status == 409
    assert "Mount the disk of the server's ORCH_HOME on the host" in said.json["detail"]
    wrong = service.ask("POST", "/api/v1/cluster/storage", {"name": "../key"})
    assert wrong.status == 422


def test_slices_of_tpus_are_listed_whole_or_with_what_they_lack(service: Service) -> None:
    service.led = False
    epoch = service.store.lead("leader")
    assert epoch is not None
    rows = [host(f"{name}{i}", has={"CPU": 8.0, "TPU": 4.0}, labels=of_slice(name, i)) for name, i in SEEN]
    service.store.see_hosts(epoch, rows)
    said = service.ask("GET", HOSTS)
    assert said.status == 200
    assert said.json["slices"] == [
        {"name": "a", "tpu_type": "v3-16", "hosts": ["a0", "a1"], "reason": ""},
        {"name": "b", "tpu_type": "v3-16", "hosts": ["b0"], "reason": "lacks host 1"},
    ]
    assert [(each["slice"], each["tpu_type"], each["tpu_host"]) for each in said.json["items"]] == [
        ("a", "v3-16", 0),
        ("a", "v3-16", 1),
        ("b", "v3-16", 0),
    ]
