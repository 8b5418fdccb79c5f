"""Do two hosts serve one study? Two nodes of one Ray here, each with a home and processes of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.backends import daemon, joined
from orchestrator.backends.ray import RayBackend
from orchestrator.ground.errors import MoveRefused
from orchestrator.runs.contract import AttemptKey, Launch, Progress
from orchestrator.study.resources import Resources

PATIENCE_S = 120.0
LONG = {
    "seed": 1,
    "steps": 40000,
    "eval_every_steps": 10,
    "checkpoint_every_steps": 20,
    "rehearsal": {"pace_s": 0.002},
}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A's Ray with one CPU, and B, which has joined it with two."""
    a, b = (tmp_path_factory.mktemp(name) for name in ("a", "b"))
    try:
        _join(b, daemon.start(a, cpus=1), a)
        yield a, b
    finally:
        daemon.stop(b)
        daemon.stop(a)


def _join(b: Path, address: str, a: Path) -> None:
    joined.join(b, address, cpus=2, token=daemon.token_path(a).read_text())


@pytest.fixture
def backend(homes: tuple[Path, Path]) -> Iterator[RayBackend]:
    made = RayBackend(daemon.find(homes[0]) or "", token_path=daemon.token_path(homes[0]))
    yield made
    made.close(end_workers=True)


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Launch]:
    def make(trial: str) -> Launch:
        trial_id = f"{request.node.name}.{trial}"
        return Launch(
            trial_id, 1, "orchestrator.rehearsal", LONG, "shape", str(tmp_path / trial / "attempt-1")
        )

    return make


def _until(
    backend: RayBackend, keys: list[AttemptKey], done: Callable[[dict[AttemptKey, Progress]], bool]
) -> dict[AttemptKey, Progress]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = backend.poll(dict.fromkeys(keys, 0))
        if done(found):
            return found
        threading.Event().wait(0.05)
    raise AssertionError(f"not so after {PATIENCE_S} s: {found}")


def test_trials_run_on_every_host_and_none_is_divided(
    backend: RayBackend, launch: Callable[[str], Launch], homes: tuple[Path, Path]
) -> None:
    assert backend.room().startswith("2 hosts: ")
    assert [backend.slots(Resources(cpus=cpus)) for cpus in (1, 2, 3)] == [3, 1, 0]
    jobs = [launch(str(i)) for i in range(3)]
    assert [backend.submit(job) for job in jobs] == [True] * 3
    assert backend.free(Resources()) == 0
    assert not backend.submit(launch("more"))
    found = _until(backend, [job.key for job in jobs], lambda news: all(p.events for p in news.values()))
    pids = {progress.events[0].payload["pid"] for progress in found.values()}
    assert [len(pids & set(daemon.processes(home))) for home in homes] == [1, 2]


def test_what_another_leader_finds_is_on_the_hosts_where_it_runs(
    backend: RayBackend, launch: Callable[[str], Launch], homes: tuple[Path, Path]
) -> None:
    jobs = [launch("a"), launch("b")]
    for job in jobs:
        backend.submit(job)
    _until(backend, [job.key for job in jobs], lambda news: all(p.events for p in news.values()))
    backend.close(end_workers=False)
    other = RayBackend(daemon.find(homes[0]) or "", token_path=daemon.token_path(homes[0]))
    assert set(other.attempts()) == {job.key for job in jobs}
    assert other.free(Resources()) == 1
    assert other.free(Resources(cpus=2)) == 0
    other.close(end_workers=True)


@pytest.mark.fault(4, real=True)
def test_a_host_that_is_gone_loses_its_trials_alone_and_is_used_again_once_it_is_back(
    backend: RayBackend, launch: Callable[[str], Launch], homes: tuple[Path, Path]
) -> None:
    a, b = homes
    jobs = [launch(str(i)) for i in range(3)]
    for job in jobs:
        assert backend.submit(job)
    found = _until(backend, [job.key for job in jobs], lambda news: all(p.events for p in news.values()))
    on_b = {key for key, p in found.items() if p.events[0].payload["pid"] in daemon.processes(b)}
    (daemon.folder(b) / daemon.KEEPS).unlink()  # nobody there joins again
    for pid in daemon.processes(b):
        os.kill(pid, signal.SIGKILL)
    found = _until(backend, sorted(on_b), lambda news: all(p.ended is not None for p in news.values()))
    assert {p.ended.how for p in found.values() if p.ended is not None} == {"lost"}
    for key in on_b:
        backend.forget(key)
    (left,) = set(backend.attempts())
    assert backend.poll({left: 0})[left].ended is None
    deadline = time.monotonic() + PATIENCE_S
    while backend.slots(Resources()) > 1:
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)
    assert backend.free(Resources()) == 0
    _join(b, daemon.find(a) or "", a)
    while backend.free(Resources()) < 2:
        assert time.monotonic() < deadline + PATIENCE_S
        threading.Event().wait(0.2)


def test_a_machine_whose_workers_are_another_rays_joins_none(homes: tuple[Path, Path]) -> None:
    a, b = homes
    address = daemon.find(a) or ""
    assert joined.join(b, address, cpus=2) == address  # a second time changes nothing
    assert joined.join(a, address, cpus=1) == address  # nor does it on the machine of the head
    with pytest.raises(MoveRefused, match=r"a Ray of their own, and so cannot join the Ray at 10\.0\.0\.1:1"):
        joined.join(a, "10.0.0.1:1", cpus=1)
    with pytest.raises(MoveRefused, match=r"joined the Ray at .* cannot join the Ray at 10\.0\.0\.1:1"):
        joined.join(b, "10.0.0.1:1", cpus=1)
