"""Are the processes of a gang answered alike, and is only the first one written down?"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.contract import AttemptKey, Launch, Progress
from orchestrator.runs.folders import JOURNAL, read_journal
from orchestrator.runs.worker import Worker
from trainer.protocol import Place, Reply

LONG = {"seed": 1, "steps": 4000, "eval_every_steps": 10, "checkpoint_every_steps": 20}
PACED = {**LONG, "rehearsal": {"pace_s": 0.005}}


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Launch]:
    def make(config: dict[str, Any], entrypoint: str = "orchestrator.rehearsal") -> Launch:
        return Launch("a", 1, entrypoint, config, "shape", str(tmp_path / "a" / "attempt-1"))

    return make


def begun(launch: Launch) -> tuple[Worker, Worker]:
    first, second = Worker(host="a"), Worker(host="b")
    assert second.begin(launch, Place(1, 2, "a:1"), first)
    assert first.begin(launch, Place(0, 2, "a:1"))
    return first, second


def ended(worker: Worker, key: AttemptKey) -> Progress:
    while (progress := worker.poll(key, after=0, wait_s=0.2)).ended is None:
        pass
    return progress


def steps(worker: Worker, key: AttemptKey, number: int) -> None:
    while worker.poll(key, after=0, wait_s=0.05).reports < number:
        pass


def statuses(*told: Progress) -> list[str]:
    return [each.ended.outcome.status for each in told if each.ended and each.ended.outcome]


def test_the_first_one_s_reports_are_recorded_and_the_others_are_counted(
    launch: Callable[..., Launch],
) -> None:
    job = launch({**LONG, "steps": 40})
    first, second = begun(job)
    one, two = ended(first, job.key), ended(second, job.key)
    assert one.reports == two.reports == len([e for e in one.events if e.kind not in ("started", "loaded")])
    assert two.events == ()
    assert read_journal(job.folder, *job.key) == (one.events, one.ended)


@pytest.mark.parametrize("told", [Reply.STOP, Reply.SAVE_AND_STOP])
def test_a_verdict_ends_both_at_one_report(launch: Callable[..., Launch], told: Reply) -> None:
    job = launch(PACED)
    first, second = begun(job)
    steps(first, job.key, 5)
    first.say(job.key, told)
    one, two = ended(first, job.key), ended(second, job.key)
    assert one.reports == two.reports
    status = "stopped" if told is Reply.STOP else "preempted"
    assert [each.ended.outcome.status for each in (one, two) if each.ended and each.ended.outcome] == [
        status
    ] * 2


def test_what_one_hears_of_its_machine_reaches_all(launch: Callable[..., Launch]) -> None:
    job = launch(PACED)
    first, second = begun(job)
    steps(second, job.key, 5)
    second.leave()
    one, two = ended(first, job.key), ended(second, job.key)
    assert one.reports == two.reports
    assert statuses(one, two) == ["preempted"] * 2
    assert not second.begin(Launch("b", 1, "orchestrator.rehearsal", LONG, "shape", job.folder))


def test_one_of_machines_that_leaves_waits_until_the_others_were_answered(
    launch: Callable[..., Launch],
) -> None:
    job = launch(PACED)
    first, second = begun(job)
    steps(second, job.key, 5)
    leaving = threading.Thread(target=first.preempt)
    leaving.start()
    assert ended(second, job.key).ended
    assert ended(first, job.key).ended
    leaving.join(30)
    assert not leaving.is_alive()


def test_a_first_one_that_is_gone_is_a_reason_to_stop(launch: Callable[..., Launch]) -> None:
    class Gone:
        def reply(self, key: AttemptKey, number: int) -> Reply:
            raise ConnectionError

        def leave(self) -> None: ...

    job, alone = launch(PACED), Worker(host="b")
    assert alone.begin(job, Place(1, 2, "a:1"), Gone())
    outcome = ended(alone, job.key).ended
    assert outcome is not None
    assert outcome.outcome is not None
    assert outcome.outcome.status == "stopped"
    assert not Path(job.folder, JOURNAL).exists()


def test_a_failure_in_a_gang_is_not_for_its_first_one_to_write_down(
    launch: Callable[..., Launch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come of what befell another: a leader that reads it later would take it for the code's."""
    (tmp_path / "raising_in_gang.py").write_text(
        "def run(config, reporter, workdir, place):\n    raise ValueError('closed')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    job, first = launch({}, "raising_in_gang"), Worker(host="a")
    assert first.begin(job, Place(0, 2, "a:1"))
    told = ended(first, job.key)
    assert told.ended is not None
    assert told.ended.how == "raised"
    assert read_journal(job.folder, *job.key)[1] is None
    lines = Path(job.folder, JOURNAL).read_text().splitlines()
    assert [list(json.loads(line)) for line in lines][-1] != ["ended"]
