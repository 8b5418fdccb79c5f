"""Does the virtual clock let things out when it should, and do faults strike where they are told to?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from orchestrator.backends.simulated import Fault, SimulatedBackend, VirtualClock
from orchestrator.runs.contract import Ended, Launch, Progress
from trainer.protocol import Reply

# Reports: train, eval (10); train, eval, checkpoint (20); train, eval (30); train, eval, checkpoint (40).
CONFIG = {
    "seed": 1, "steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 20,
    "rehearsal": {"seconds_per_step": 1.0},
}  # fmt: skip
COMPILED_S = 10.0  # before the first step
WHOLE_S = COMPILED_S + 40 + 4 * 2  # and four evaluations


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Launch]:
    def make(trial: str = "a", attempt: int = 1, **more: Any) -> Launch:
        folder = str(tmp_path / trial / f"attempt-{attempt}")
        return Launch(trial, attempt, "orchestrator.rehearsal", CONFIG, "shape", folder, **more)

    return make


def begun(job: Launch, *faults: Fault) -> tuple[SimulatedBackend, VirtualClock]:
    clock = VirtualClock()
    backend = SimulatedBackend(clock, slots=1, faults=faults)
    assert backend.submit(job)
    return backend, clock


def look(backend: SimulatedBackend, job: Launch) -> tuple[list[str], Ended | None]:
    progress = backend.poll({job.key: 0})[job.key]
    return [f"{e.kind} {e.step}" for e in progress.events], progress.ended


def test_each_report_comes_when_its_clocks_say(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job)
    assert look(backend, job) == (["started 0"], None)
    clock.advance(COMPILED_S + 9.9)
    assert look(backend, job) == (["started 0"], None)
    clock.advance(0.2)
    assert look(backend, job) == (["started 0", "train 10"], None)
    clock.advance(2)
    assert look(backend, job) == (["started 0", "train 10", "eval 10"], None)
    clock.advance_to(WHOLE_S - 0.1)
    assert look(backend, job)[1] is None
    clock.advance_to(WHOLE_S)
    kinds, ended = look(backend, job)
    assert len(kinds) == 11
    assert ended is not None


def test_the_clock_can_be_taken_from_one_event_to_the_next(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job)
    moments = []
    while (ahead := backend.next_event_at()) is not None:
        clock.advance_to(ahead)
        moments.append(ahead)
        look(backend, job)
    assert moments == [0, 20, 22, 32, 34, 44, 46, 56, 58]
    assert look(backend, job)[1] is not None


def test_a_driver_in_a_hurry_sees_ends_only(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job)
    assert backend.next_event_at(ends_only=True) == WHOLE_S
    clock.advance_to(WHOLE_S)
    assert len(look(backend, job)[0]) == 11
    assert backend.next_event_at(ends_only=True) is None


def test_a_jump_of_the_wall_clock_moves_nothing(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job)
    clock.advance(30)
    before = look(backend, job)
    at = clock.time()
    clock.jump_wall(3600)
    assert clock.time() == at + 3600
    assert look(backend, job) == before
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


@pytest.mark.parametrize(
    ("kind", "ended", "later"),
    [
        ("die", Ended("lost", reason="the worker died"), None),
        ("hang", None, None),
        ("forget", None, Progress(known=False)),
    ],
)
@pytest.mark.parametrize(("reports", "out", "at_s"), [(0, 1, 0.0), (2, 3, 22.0), (5, 6, 34.0)])
def test_a_fault_strikes_after_so_many_reports(
    launch: Any,
    kind: Literal["die", "hang", "forget"],
    ended: Ended | None,
    later: Progress | None,
    reports: int,
    out: int,
    at_s: float,
) -> None:
    job = launch()
    backend, clock = begun(job, Fault("a", 1, kind, reports))
    clock.advance_to(at_s)
    progress = backend.poll({job.key: 0})[job.key]
    if later is not None:
        assert progress == later
        assert backend.attempts() == []
        assert backend.submit(launch("b"))  # its slot is free
        return
    assert len(progress.events) == out
    assert progress.ended == ended
    clock.advance(10_000)
    assert backend.poll({job.key: 0})[job.key] == progress
    assert backend.next_event_at() is None
    backend.kill(job.key, "hung")
    assert backend.poll({job.key: 0})[job.key].ended == (ended or Ended("lost", reason="hung"))


def test_a_dead_run_wrote_nothing_after_its_death(launch: Any) -> None:
    job = launch()
    begun(job, Fault("*", 0, "die", 5))
    assert [p.name for p in Path(job.folder).glob("checkpoint*")] == ["checkpoint-20.json"]


def test_a_fault_of_one_attempt_spares_the_next(launch: Any) -> None:
    first, second = launch(), launch(attempt=2)
    backend, clock = begun(first, Fault("a", 1, "die", 0))
    assert look(backend, first)[1] == Ended("lost", reason="the worker died")
    backend.forget(first.key)
    backend.submit(second)
    clock.advance(WHOLE_S)
    ended = look(backend, second)[1]
    assert ended is not None
    assert ended.how == "outcome"


def test_a_preempted_attempt_saves_and_the_next_ends_as_if_nothing_had_been(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job, Fault("a", 1, "preempt", 3))
    clock.advance(WHOLE_S)
    kinds, ended = look(backend, job)
    assert kinds[4:] == ["eval 20", "checkpoint 20"]
    assert ended is not None
    assert ended.outcome is not None
    assert ended.outcome.status == "preempted"
    backend.forget(job.key)
    second, whole = launch(attempt=2, resume_from=ended.outcome.checkpoint), launch("whole")
    ends = []
    for other in (second, whole):
        backend.submit(other)
        clock.advance(WHOLE_S)
        done = look(backend, other)[1]
        assert done is not None
        assert done.outcome is not None
        ends.append(done.outcome.values)
        backend.forget(other.key)
    assert ends[0] == ends[1]


def test_a_verdict_leaves_what_was_said_and_changes_what_comes(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job)
    clock.advance(25)
    said = look(backend, job)[0]
    backend.say(job.key, Reply.STOP)
    backend.say(job.key, Reply.STOP)
    assert look(backend, job) == (said, None)
    clock.advance(10)
    kinds, ended = look(backend, job)
    assert kinds == [*said, "train 20"]
    assert ended is not None
    assert ended.outcome is not None
    assert ended.outcome.status == "stopped"


def test_a_verdict_can_be_taken_back_before_the_next_report(launch: Any) -> None:
    job = launch()
    backend, clock = begun(job)
    clock.advance(25)
    backend.say(job.key, Reply.STOP)
    backend.say(job.key, Reply.GO)
    clock.advance(WHOLE_S)
    ended = look(backend, job)[1]
    assert ended is not None
    assert ended.outcome is not None
    assert ended.outcome.status == "completed"
