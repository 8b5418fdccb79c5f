"""Does the live page show the hosts, to whom it is to, and what a study waits for?"""

from __future__ import annotations

from pathlib import Path

from orchestrator.ledger.records import HostState, StudyState
from orchestrator.runs import shared
from orchestrator.testing.ledger_rows import host, of_slice
from tests.dashboards.asgi import get
from tests.dashboards.web.test_web import filled, served


def test_several_hosts_have_a_page_of_their_own_and_one_has_none() -> None:
    store = filled(state=StudyState.RUNNING)
    epoch = store.lead("test") or 0
    store.see_hosts(epoch, [host("worker-1")])
    assert 'href="/hosts"' not in get(served(store), "/").text
    aside = host("worker-2", state=HostState.SET_ASIDE, reason="3 attempts <in> a row")
    store.see_hosts(epoch, [host("worker-1"), aside])
    assert 'href="/hosts"' in get(served(store), "/").text
    text = get(served(store), "/hosts").text
    assert "worker-1" in text
    assert "3 attempts &lt;in&gt; a row" in text
    assert "/hosts/worker-1/drain" in text
    assert "/hosts/worker-1/drain" not in get(served(store, role="run"), "/hosts").text
    store.drain_host("worker-1", by="ada")
    text = get(served(store), "/hosts/live").text
    assert "/hosts/worker-1/use" in text
    assert "ada wants it empty." in text


def test_a_host_from_which_locks_do_not_reach_others_is_named(tmp_path: Path) -> None:
    store = filled(state=StudyState.RUNNING)
    store.see_hosts(store.lead("test") or 0, [host("worker-1"), host("worker-2")])
    assert "Locks on" not in get(served(store, runs=tmp_path), "/hosts").text
    shared.note_locks(tmp_path, "worker-2", reach=False)
    assert shared.no_locks(["worker-2"]) in get(served(store, runs=tmp_path), "/hosts").text


def test_slices_of_tpus_are_whole_or_say_what_they_lack() -> None:
    store = filled(state=StudyState.RUNNING)
    has, seen = {"CPU": 8.0, "TPU": 4.0}, [("a", 0), ("a", 1), ("b", 0)]
    rows = [host(f"{name}{i}", has=has, labels=of_slice(name, i)) for name, i in seen]
    store.see_hosts(store.lead("test") or 0, rows)
    text = get(served(store), "/hosts").text
    assert "a0, a1" in text
    assert ">whole<" in text
    assert "broken: it lacks host 1" in text
    store.see_hosts(store.lead("test") or 0, [host("a")])
    assert "TPU slices" not in get(served(store), "/hosts").text


def test_a_study_says_why_it_waits_for_a_host() -> None:
    store = filled(state=StudyState.RUNNING)
    why = "It waits for a host with 4 TPU chips; 2 are draining."
    store.study_waits(store.lead("test") or 0, "s1", why)
    assert why in get(served(store), "/studies/synthetic").text
