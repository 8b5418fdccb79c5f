"""Do the processes of a gang come, speak and go as one? Two nodes of one Ray here."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon, joined
from orchestrator.backends.ray import RayBackend
from orchestrator.runs.contract import Launch, Progress
from orchestrator.study.resources import Resources
from trainer.protocol import Reply

PATIENCE_S = 120.0
TWO = Resources(hosts=2)
SHORT, LONG = {"steps": 20}, {"steps": 100_000}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A's Ray with two CPUs, and B, which has joined it with two."""
    a, b = (tmp_path_factory.mktemp(name) for name in ("a", "b"))
    try:
        joined.join(b, daemon.start(a, cpus=2), cpus=2, token=daemon.token_path(a).read_text())
        yield a, b
    finally:
        daemon.stop(b)
        daemon.stop(a)


def connected(homes: tuple[Path, Path]) -> RayBackend:
    return RayBackend(daemon.find(homes[0]) or "", token_path=daemon.token_path(homes[0]))


@pytest.fixture
def backend(homes: tuple[Path, Path]) -> Iterator[RayBackend]:
    made = connected(homes)
    yield made
    made.close(end_workers=True)
    leaves_nothing(connected(homes))


def leaves_nothing(again: RayBackend) -> None:
    """A test before it has ended all actors and placement groups."""
    try:
        until(lambda: not again.actors() and not again.groups())
    finally:
        again.close(end_workers=True)


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Launch]:
    return launches(request.node.name, tmp_path, TWO)


def launches(test: str, folder: Path, resources: Resources) -> Callable[..., Launch]:
    """Makes attempts of the test's own trials."""

    def make(trial: str, config: dict[str, Any], **more: Any) -> Launch:
        asked = {"attempt": 1, "resources": resources, **more}
        return Launch(
            f"{test}.{trial}", entrypoint="tests.orchestrator.backends.gang_runs", config=config,
            shape_key="same", folder=str(folder / trial / f"attempt-{asked['attempt']}"), **asked,
        )  # fmt: skip

    return make


def until(done: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := done()):
        assert time.monotonic() < deadline, f"not so after {within_s} s"
        threading.Event().wait(0.05)
    return found


class Heard:
    """What an attempt has said so far, asked as the engine asks."""

    def __init__(self, backend: RayBackend, job: Launch) -> None:
        self.backend, self.job = backend, job
        self.events: list[Any] = []
        self.last = Progress(known=True)

    def poll(self) -> Heard:
        self.last = self.backend.poll({self.job.key: len(self.events)})[self.job.key]
        self.events += self.last.events
        assert [event.sequence for event in self.events] == list(range(1, len(self.events) + 1))
        return self

    def ended(self) -> Any:
        until(lambda: self.poll().last.ended is not None)
        return self.last.ended

    def at_work(self) -> Heard:
        until(lambda: len(self.poll().events) > 3)
        return self

    def pids(self) -> list[int]:
        files = [Path(self.job.folder, f"begun-{index}") for index in (0, 1)]
        return [int(file.read_text().split()[0]) for file in files]

    def answers(self) -> list[list[str]]:
        return [Path(self.job.folder, f"heard-{i}").read_text().splitlines() for i in (0, 1)]


def given(backend: RayBackend, job: Launch) -> Heard:
    assert backend.submit(job)
    return Heard(backend, job)


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_gang_has_a_process_on_each_host_and_only_the_first_one_is_recorded(
    backend: RayBackend, launch: Callable[..., Launch], homes: tuple[Path, Path]
) -> None:
    assert [backend.slots(Resources(hosts=n)) for n in (1, 2, 3)] == [4, 2, 0]
    heard = given(backend, launch("one", SHORT))
    assert backend.free(Resources()) == 2
    assert heard.ended().outcome.status == "completed"
    train = [event.step for event in heard.events if event.kind == "train"]
    assert train == list(range(1, 21))
    places = [len(set(heard.pids()) & set(daemon.processes(home))) for home in homes]
    assert places == [1, 1]
    one, other = heard.answers()
    assert one == other


def test_the_next_trial_finds_the_processes_joined(
    backend: RayBackend, launch: Callable[..., Launch]
) -> None:
    first = given(backend, launch("one", SHORT))
    first.ended()
    backend.forget(first.job.key)
    second = given(backend, launch("two", SHORT))
    second.ended()
    assert second.pids() == first.pids()
    words = [Path(heard.job.folder, "begun-0").read_text() for heard in (first, second)]
    assert words[0] == words[1]  # the coordinator too
    backend.forget(second.job.key)
    single = given(backend, launch("alone", LONG, resources=Resources(cpus=2)))
    single.at_work()  # an idle gang makes way
    assert gone(first.pids())


@pytest.mark.fault(37, real=True)
@pytest.mark.parametrize("which", [0, 1])
def test_one_that_is_killed_takes_the_others_along_and_the_attempt_is_lost(
    backend: RayBackend, launch: Callable[..., Launch], which: int
) -> None:
    heard = given(backend, launch("one", LONG))
    until(lambda: any(event.kind == "checkpoint" for event in heard.poll().events))
    pids, at = heard.pids(), time.monotonic()
    os.kill(pids[which], signal.SIGKILL)
    ended = heard.ended()
    print(f"lost after {time.monotonic() - at:.1f} s")
    assert ended.how == "lost"
    assert f"Process {which} of 2, on " in ended.reason
    until(lambda: gone(pids), within_s=10)
    backend.forget(heard.job.key)
    until(lambda: not backend.groups())
    again = given(
        backend,
        launch("one", {"steps": heard.events[-1].step + 30}, attempt=2, resume_from=_newest(heard)),
    )
    assert again.ended().outcome.status == "completed"


def _newest(heard: Heard) -> str:
    return str([event.payload["path"] for event in heard.events if event.kind == "checkpoint"][-1])


@pytest.mark.fault(39, real=True)
def test_what_peers_say_of_one_that_died_is_no_failure(
    backend: RayBackend, launch: Callable[..., Launch]
) -> None:
    heard = given(backend, launch("one", {**LONG, "closed": {"0": 5}, "kills": {"1": 5}}))
    assert heard.ended().how == "lost"
    assert "Process 1 of 2" in heard.last.ended.reason


@pytest.mark.fault(39, real=True)
def test_an_exception_of_one_is_a_failure_with_its_traceback(
    backend: RayBackend, launch: Callable[..., Launch]
) -> None:
    heard = given(backend, launch("one", {**LONG, "raises": {"1": 5}}))
    ended = heard.ended()
    assert (ended.how, "Process 1 of 2" in ended.reason) == ("raised", True)
    assert "ValueError: a bug" in ended.traceback
    assert Path(heard.job.folder, "process-1", "output.log").read_text().strip().endswith("ValueError: a bug")


@pytest.mark.fault(42, real=True)
@pytest.mark.parametrize("which", [0, 1])
def test_sigterm_to_any_of_them_makes_all_save_and_stop_at_one_step(
    backend: RayBackend, launch: Callable[..., Launch], which: int
) -> None:
    heard = given(backend, launch("one", LONG)).at_work()
    os.kill(heard.pids()[which], signal.SIGTERM)
    assert heard.ended().outcome.status == "preempted"
    assert heard.events[-1].kind == "checkpoint"
    one, other = heard.answers()
    assert one == other
    assert one[-1] == f"{heard.events[-1].step} save_and_stop"


def test_a_host_that_is_wanted_empty_makes_all_save_and_stop(
    backend: RayBackend, launch: Callable[..., Launch]
) -> None:
    heard = given(backend, launch("one", LONG)).at_work()
    slot = backend._holder(heard.job.key)
    assert slot is not None
    assert slot.gang is not None
    backend.keep_off({slot.gang.members[1].seen.host: True})
    assert heard.ended().outcome.status == "preempted"
    backend.keep_off({})


def test_a_verdict_reaches_all_of_them(backend: RayBackend, launch: Callable[..., Launch]) -> None:
    heard = given(backend, launch("one", LONG)).at_work()
    backend.say(heard.job.key, Reply.STOP)
    assert heard.ended().outcome.status == "stopped"
    one, other = heard.answers()
    assert one == other


@pytest.mark.fault(40, real=True)
def test_one_that_stands_still_is_named(backend: RayBackend, launch: Callable[..., Launch]) -> None:
    heard = given(backend, launch("one", LONG)).at_work()
    pid = heard.pids()[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        heard.poll()
        slot = backend._holder(heard.job.key)
        assert slot is not None
        assert slot.gang is not None
        slot.gang.members[1].seen.asked -= 60.0  # a minute has passed
        backend.kill(heard.job.key, "No report for 60 s.")
        ended = heard.ended()
        assert ended.reason.startswith("No report for 60 s. Process 1 of 2, on ")
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.fault(43, real=True)
def test_hosts_that_are_not_free_at_once_are_given_back_in_a_sentence(
    backend: RayBackend, launch: Callable[..., Launch], homes: tuple[Path, Path]
) -> None:
    """Another ledger's workers hold them, and this Ray is said to be ours alone."""
    other = RayBackend(daemon.find(homes[0]) or "", token_path=daemon.token_path(homes[0]), namespace="other")
    try:
        held = [launch(f"held-{i}", LONG, resources=Resources(cpus=2)) for i in range(2)]
        for job in held:
            given(other, job).at_work()
        heard = given(backend, launch("one", SHORT, gather_s=1.0))
        until(lambda: not heard.poll().last.known)
        assert heard.last.waits.startswith("It waits until ")
        assert "given back" in heard.last.waits
        assert backend.groups() == []
        for job in held:
            other.kill(job.key, "no longer wanted")
        again = given(backend, launch("two", SHORT))
        assert again.ended().outcome.status == "completed"
    finally:
        other.close(end_workers=True)


@pytest.mark.fault(38, real=True)
def test_a_new_engine_finds_a_gang_whole_and_goes_on(
    backend: RayBackend, launch: Callable[..., Launch], homes: tuple[Path, Path]
) -> None:
    heard = given(backend, launch("one", {"steps": 150})).at_work()
    pids = heard.pids()
    backend.close(end_workers=False)
    other = connected(homes)
    assert other.attempts() == [heard.job.key]
    assert other.free(Resources()) == 2
    again = Heard(other, heard.job)
    assert again.ended().outcome.status == "completed"
    other.forget(heard.job.key)
    until(lambda: gone(pids), within_s=10)  # of another release, perhaps
    other.close(end_workers=True)


@pytest.mark.fault(38, real=True)
@pytest.mark.parametrize("which", [0, 1])
def test_a_new_engine_ends_a_gang_of_which_one_has_gone(
    backend: RayBackend, launch: Callable[..., Launch], homes: tuple[Path, Path], which: int
) -> None:
    heard = given(backend, launch("one", LONG)).at_work()
    pids = heard.pids()
    backend.close(end_workers=False)
    os.kill(pids[which], signal.SIGKILL)
    until(lambda: gone([pids[which]]))
    other = connected(homes)
    if which == 1:  # the first one has the attempt: how it ended is told
        assert Heard(other, heard.job).ended().how == "lost"
        other.forget(heard.job.key)
    else:
        assert other.attempts() == []
    until(lambda: gone(pids) and not other.groups(), within_s=20)
    other.close(end_workers=True)


@pytest.mark.fault(38, real=True)
def test_a_new_engine_gives_back_what_was_being_gathered(
    backend: RayBackend, launch: Callable[..., Launch], homes: tuple[Path, Path]
) -> None:
    engines = [backend]
    for polls in range(3):  # reserved; its actors on their way; and so on
        heard = given(engines[-1], launch(f"trial-{polls}", LONG))
        for _ in range(polls):
            heard.poll()
        engines[-1].close(end_workers=False)
        engines.append(connected(homes))
        until(lambda: not engines[-1].groups())
    engines[-1].close(end_workers=True)
