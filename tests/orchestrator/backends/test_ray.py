"""What becomes of attempts when real Ray workers are killed, preempted, or warm for something else?"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.backends.ray import RayBackend
from orchestrator.ground.errors import BackendLost
from orchestrator.ledger.records import Event
from orchestrator.runs.contract import Launch, Progress
from orchestrator.runs.folders import read_journal
from orchestrator.runs.output import everything
from orchestrator.study.resources import Resources
from trainer.protocol import Reply

QUICK = {"seed": 1, "steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 20}
PRINTS = "tests.orchestrator.backends.prints"
PACED = {**QUICK, "steps": 4000, "rehearsal": {"pace_s": 0.002}}


@pytest.fixture
def backend(ray_home: Path) -> Iterator[RayBackend]:
    made = RayBackend(
        daemon.find(ray_home) or "", workers=2, token_path=daemon.token_path(ray_home), pool="faults"
    )
    yield made
    made.close(end_workers=True)


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Launch]:
    def make(
        trial: str = "a", config: dict[str, Any] = QUICK, shape_key: str = "shape", cpus: float = 1
    ) -> Launch:
        folder, trial_id = str(tmp_path / trial / "attempt-1"), f"{request.node.name}.{trial}"
        held = Resources(cpus=cpus)
        return Launch(trial_id, 1, "orchestrator.rehearsal", config, shape_key, folder, resources=held)

    return make


def until(
    backend: RayBackend, launch: Launch, done: Callable[[list[Event], Progress], bool]
) -> tuple[list[Event], Progress]:
    heard: list[Event] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        progress = backend.poll({launch.key: len(heard)})[launch.key]
        heard += progress.events
        if done(heard, progress):
            return heard, progress
        threading.Event().wait(0.005)
    raise AssertionError(f"not there after 60 s; heard {len(heard)} events")


def patiently(backend: RayBackend, launch: Launch) -> None:
    """Until the name of an actor that was just ended is free again."""
    deadline = time.monotonic() + 30
    while not backend.submit(launch):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def finish(backend: RayBackend, launch: Launch) -> tuple[list[Event], Progress]:
    return until(backend, launch, lambda _, p: p.ended is not None)


def pid_of(backend: RayBackend, launch: Launch) -> int:
    return int(until(backend, launch, lambda heard, _: bool(heard))[0][0].payload["pid"])


@pytest.mark.fault(4, real=True)
def test_a_worker_killed_at_a_random_step_is_lost_and_its_slot_serves_on(
    backend: RayBackend, launch: Any
) -> None:
    job = launch("killed", PACED)
    assert backend.submit(job)
    pid = pid_of(backend, job)
    at = random.Random().randrange(3, 30)
    until(backend, job, lambda heard, _: len(heard) >= at)
    os.kill(pid, signal.SIGKILL)
    heard, progress = finish(backend, job)
    assert progress.ended is not None
    assert (progress.ended.how, progress.ended.reason) == (
        "lost",
        "The worker died: ended from outside, out of memory, or crashed.",
    )
    assert heard == list(read_journal(job.folder, *job.key)[0])  # nothing that was said is lost
    assert backend.poll({job.key: 2})[job.key].events == tuple(heard[2:])
    backend.forget(job.key)
    again = [launch("next"), launch("beside")]
    assert all(backend.submit(other) for other in again)
    for other in again:
        assert pid_of(backend, other) != pid
        ended = finish(backend, other)[1].ended
        assert ended is not None
        assert ended.how == "outcome"


@pytest.mark.fault(7, real=True)
def test_sigterm_saves_and_comes_back_as_preempted_though_nobody_polls(
    backend: RayBackend, launch: Any
) -> None:
    job = launch("taken", PACED)
    backend.submit(job)
    pid = pid_of(backend, job)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}"):  # no call reaches the worker's main thread meanwhile
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    heard, progress = finish(backend, job)
    assert progress.ended is not None
    assert progress.ended.outcome is not None
    assert progress.ended.outcome.status == "preempted"
    assert progress.ended.outcome.checkpoint == heard[-1].payload["path"]


def test_a_worker_that_is_warm_for_the_shape_is_preferred(backend: RayBackend, launch: Any) -> None:
    small, large = launch("small", shape_key="small"), launch("large", shape_key="large")
    pids = {}
    for job in (small, large):
        backend.submit(job)
        pids[job.shape_key] = pid_of(backend, job)
        finish(backend, job)
    assert pids["small"] != pids["large"]  # an empty slot before one that is warm for something else
    for job in (small, large):
        backend.forget(job.key)
    for i, shape in enumerate(("large", "small", "large")):
        job = launch(f"again-{i}", shape_key=shape)
        backend.submit(job)
        assert pid_of(backend, job) == pids[shape]
        finish(backend, job)
        backend.forget(job.key)


def test_each_slot_has_a_core_of_its_own_and_one_thread(backend: RayBackend, launch: Any) -> None:
    jobs = [launch("a", PACED), launch("b", PACED)]
    cores = []
    for job in jobs:
        backend.submit(job)
        facts = until(backend, job, lambda heard, _: bool(heard))[0][0].payload
        assert facts["cpus"] == 1
        assert facts["threads"]["OMP_NUM_THREADS"] == "1"
        status = Path(f"/proc/{facts['pid']}/status").read_text()
        cores.append(next(line for line in status.splitlines() if line.startswith("Cpus_allowed_list")))
        backend.say(job.key, Reply.STOP)
    assert len(set(cores)) == min(2, len(os.sched_getaffinity(0)))


def test_a_larger_trial_gets_the_room_that_idle_workers_hold_and_waits_for_busy_ones(
    backend: RayBackend, launch: Any
) -> None:
    small = [launch("a"), launch("b", PACED)]
    for job in small:
        assert backend.submit(job)
    finish(backend, small[0])
    backend.forget(small[0].key)
    large = launch("large", cpus=2)
    assert not backend.submit(large)  # b is at work on one of the two cores
    backend.say(small[1].key, Reply.STOP)
    finish(backend, small[1])
    backend.forget(small[1].key)
    assert backend.submit(large)
    ended = finish(backend, large)[1].ended
    assert ended is not None
    assert ended.how == "outcome"


def test_a_leader_that_comes_back_finds_what_another_began(
    backend: RayBackend, launch: Any, ray_home: Path
) -> None:
    first, second = launch("first"), launch("second", PACED)
    backend.submit(first)
    first_pid = pid_of(backend, first)
    finish(backend, first)
    other = RayBackend(
        daemon.find(ray_home) or "", workers=2, token_path=daemon.token_path(ray_home), pool="faults"
    )
    other.forget(first.key)
    other.submit(second)
    pid = pid_of(other, second)
    backend.renew()
    assert backend.attempts() == [second.key]
    backend.kill(first.key, "its attempt was given up")  # this would have ended the other's worker
    assert pid_of(backend, second) == pid
    backend.say(second.key, Reply.STOP)
    finish(backend, second)
    backend.forget(second.key)
    third = launch("third")  # in a fresh worker: the other's may run the code of another release
    patiently(backend, third)
    assert pid_of(backend, third) not in (pid, first_pid)


def test_an_idle_worker_that_died_or_is_silent_costs_no_attempt(
    backend: RayBackend, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.backends.crew.ASK_S", 0.3)
    jobs = [launch("first"), launch("second"), launch("third")]
    pids = []
    for job in jobs:
        patiently(backend, job)
        pids.append(pid_of(backend, job))
        ended = finish(backend, job)[1].ended
        assert ended is not None
        assert ended.how == "outcome"
        backend.forget(job.key)
        if job is jobs[0]:
            os.kill(pids[0], signal.SIGSTOP)
            assert not backend.submit(jobs[1])
            os.kill(pids[0], signal.SIGCONT)
        elif job is jobs[1]:
            os.kill(pids[0], signal.SIGKILL)
    assert pids[0] == pids[1] != pids[2]


def test_a_smaller_pool_finishes_what_a_larger_one_began(
    backend: RayBackend, launch: Any, ray_home: Path
) -> None:
    jobs = [launch("a", PACED), launch("b", PACED)]
    for job in jobs:
        backend.submit(job)
        pid_of(backend, job)
    backend.close(end_workers=False)
    smaller = RayBackend(
        daemon.find(ray_home) or "", workers=1, token_path=daemon.token_path(ray_home), pool="faults"
    )
    assert set(smaller.attempts()) == {job.key for job in jobs}
    for job in jobs:
        smaller.say(job.key, Reply.STOP)
        finish(smaller, job)
        smaller.forget(job.key)
    assert smaller.submit(launch("c"))
    assert not smaller.submit(launch("d"))
    smaller.close(end_workers=True)


def test_no_actor_is_left_outside_the_pool_and_none_after_its_end(ray_home: Path, launch: Any) -> None:
    address = daemon.find(ray_home) or ""
    pool = RayBackend(address, workers=2, token_path=daemon.token_path(ray_home), pool="counted")
    before = [name for name in pool.actors() if not name.startswith("counted.")]
    job = launch()
    pool.submit(job)
    finish(pool, job)
    (made,) = [name for name in pool.actors() if name not in before]
    assert made.startswith("counted.")
    pool.close(end_workers=True)
    other = RayBackend(address, workers=1, token_path=daemon.token_path(ray_home), pool="other")
    assert other.actors() == before
    other.close(end_workers=True)


def test_what_others_hold_of_that_ray_is_no_room_until_they_have_gone(
    ray_home: Path, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.backends.nodes.LOOK_AGAIN_S", 1.0)
    address, token = daemon.find(ray_home) or "", daemon.token_path(ray_home)
    ours = RayBackend(address, token_path=token, namespace="ours", others=True)
    theirs = RayBackend(address, token_path=token, namespace="theirs")
    long = {**PACED, "steps": 400000}
    deadline = time.monotonic() + 60

    def others(wanted: dict[str, float]) -> None:
        while ours.hosts()[0].others != wanted:
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)

    held, first = launch("held", long), launch("first", long)
    assert theirs.submit(held)
    pid_of(theirs, held)
    others({"CPU": 1.0})
    assert (ours.slots(Resources()), ours.free(Resources())) == (2, 1)
    assert ours.submit(first)
    assert not ours.submit(launch("second"))
    pid_of(ours, first)
    again = RayBackend(address, token_path=token, namespace="ours", others=True)  # it finds the first
    assert (again.attempts(), again.hosts()[0].others) == ([first.key], {"CPU": 1.0})
    again.close(end_workers=False)
    theirs.close(end_workers=True)
    others({})
    assert ours.free(Resources()) == 1
    ours.close(end_workers=True)


@pytest.mark.fault(8, real=True)
def test_a_ray_that_has_gone_is_asked_nothing(ray_home: Path, launch: Any) -> None:
    """A call into it would never end."""
    there = [True]
    address, token = daemon.find(ray_home) or "", daemon.token_path(ray_home)
    made = RayBackend(address, workers=2, token_path=token, pool="gone", alive=lambda: there[0])
    job = launch(config=PACED)
    assert made.submit(job)
    there[0] = False
    for call in (lambda: made.poll({job.key: 0}), lambda: made.submit(launch("b")), made.renew):
        with pytest.raises(BackendLost) as caught:
            call()
        assert str(caught.value) == "The workers' Ray has gone. Studies go on once it is back."
    made.close(end_workers=False)
    RayBackend(address, workers=2, token_path=token, pool="gone").close(end_workers=True)


@pytest.mark.fault(4, real=True)
def test_what_a_worker_prints_is_in_its_attempts_folder_also_after_kill_9(
    backend: RayBackend, launch: Callable[..., Launch]
) -> None:
    first, second = (
        replace(launch(name, {"seed": seed, "waits": seed == 1}), entrypoint=PRINTS)
        for name, seed in (("a", 0), ("b", 1))
    )
    patiently(backend, first)
    finish(backend, first)
    backend.forget(first.key)
    patiently(backend, second)
    until(backend, second, lambda heard, _: len(heard) == 2)
    os.kill(pid_of(backend, second), signal.SIGKILL)
    _, progress = finish(backend, second)
    assert progress.ended is not None
    assert progress.ended.how == "lost"
    for each, seed in ((first, 0), (second, 1)):
        assert "".join(everything(each.folder)).splitlines() == [f"seed {seed}", "of C", "of a child"]
