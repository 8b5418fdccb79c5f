"""The command line while a study runs: alone, beside a leader, interrupted; then its trials and exports."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import output, progress
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.service import drive
from orchestrator.service.creation import ask
from tests.faults.world import small_study, world
from tests.orchestrator.conftest import Orch


# -- running ----------------------------------------------------------------------------------------------
def test_a_study_runs_in_the_foreground_and_ends_with_one_object(
    orch: Orch, spec: str, machines: dict[int, Any]
) -> None:
    said = orch("study", "create", spec, "--json")
    assert said.code == 0
    assert (said.json["status"], said.json["ended"], said.json["created"]) == ("completed", 8, True)
    assert said.err.startswith("Does the machinery work?\n")
    lines = [line for line in said.err.splitlines() if "runs ended" in line]
    assert 1 <= len(lines) <= 10  # one each tenth of the study
    assert "8 of 8 runs ended, 0 runs running, best loss " in lines[-1]
    again = orch("study", "create", spec)
    assert again.code == 0
    assert re.match(r"• Completed    small    8 runs, \S+ \S+ of compute time\n", again.out)
    verbose = orch("study", "create", spec, "--verbose")
    assert "small: completed, 8 of 8 runs ended (6 search, 2 confirm)" in verbose.out


def test_another_spec_under_a_name_in_use_is_refused_and_says_what_differs(orch: Orch, spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    said = orch("study", "create", spec, "--set", "steps=50", "--replicates", "2")
    assert said.code == output.TAKEN
    first, second = said.err.splitlines()[-2:]
    assert first.startswith("orch: A study named 'small' exists already (id ")
    assert second == "Its spec differs from yours in: base, replicates."


def test_one_ctrl_c_pauses_and_an_equal_create_goes_on_to_the_right_count(
    orch: Orch, ledger: Callable[[], Store], spec: str, machines: dict[int, Any]
) -> None:
    machines[3] = lambda: os.kill(os.getpid(), signal.SIGINT)
    said = orch("study", "create", spec, "--json")
    assert said.code == output.INTERRUPTED
    assert said.json["status"] == "paused"
    assert said.err.endswith("Paused. Resume with: orch study resume small\n")
    store = ledger()
    assert store.live_attempts() == []
    store.close()
    machines.clear()
    again = orch("study", "create", spec, "--json")
    assert again.code == 0
    assert (again.json["attached"], again.json["ended"]) == (True, 8)
    assert "is paused; resuming it." in again.err


def test_a_study_that_is_drained_ends_the_process_that_runs_it(
    orch: Orch, ledger: Callable[[], Store], spec: str, machines: dict[int, Any]
) -> None:
    store = ledger()

    def drain() -> None:
        ask(store, store.study("small"), "drain", {}, clock=SystemClock())

    machines[3] = drain
    said = orch("study", "create", spec)
    assert said.code == output.REFUSED
    assert "small: drained" in said.out
    assert said.err.endswith("Drained. Resume with: orch study resume small\n")
    assert store.live_attempts() == []
    assert {trial.state for trial in store.trials(store.study("small").study_id)} == {TrialState.COMPLETED}
    store.close()
    machines.clear()
    again = orch("study", "create", spec, "--json")
    assert again.code == 0
    assert (again.json["attached"], again.json["ended"]) == (True, 8)
    assert "is drained; resuming it." in again.err


def test_sigterm_pauses_as_ctrl_c_does(orch: Orch, spec: str, machines: dict[int, Any]) -> None:
    machines[3] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    said = orch("study", "create", spec)
    assert said.code == output.INTERRUPTED
    assert "small: paused" in said.out


def test_a_second_ctrl_c_leaves_at_once(orch: Orch, home: Path, spec: str, machines: dict[int, Any]) -> None:
    machines[3] = machines[4] = lambda: os.kill(os.getpid(), signal.SIGINT)
    said = orch("study", "create", spec)
    assert said.code == output.INTERRUPTED
    assert "Stopped. No progress lost. Resume with: orch study resume small" in said.err
    machines.clear()
    assert orch("study", "resume", "small", "--json").json["ended"] == 8


def test_ctrl_c_does_as_before_once_a_study_has_ended(
    orch: Orch, spec: str, machines: dict[int, Any]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    orch("study", "create", spec)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_study_without_a_valid_result_ends_with_exit_code_7(
    orch: Orch, spec: str, machines: dict[int, Any]
) -> None:
    said = orch("study", "create", spec, "--set", 'rehearsal={"nan_at_step": 1}', "--json")
    assert said.code == output.NO_RESULT
    assert said.json["no_valid_result"] is True
    assert said.json["failure"] == "No run completed (6 diverged, 2 were stopped or not started)."


def test_a_study_in_which_every_run_failed_ends_with_the_one_reason_and_nothing_else(
    orch: Orch, home: Path, spec: str, machines: dict[int, Any]
) -> None:
    said = orch("study", "create", spec, "--set", 'rehearsal={"fail_at_step": 20}')
    assert said.code == output.NO_RESULT
    reason = "RuntimeError: The rehearsal was told to fail at step 20."
    first, report = said.out.splitlines()
    assert first == f"✗ small: no run completed (6 failed, 2 were stopped or not started): {reason}"
    page = Path(report.removeprefix("Report: ")).read_text()
    assert f"No run completed (6 failed, 2 were stopped or not started): {reason.removesuffix('.')}" in page
    assert "Verdict" not in page
    assert "answer-table" not in page.split("</style>")[1]
    logs, retry, change = said.err.splitlines()[-3:]
    assert logs == "Log of a failed run: orch trial logs small.base.0.0"
    assert retry.endswith("orch trial retry small.base.0.0, then orch study resume small")
    assert change.endswith("or under this one after: orch study delete small")
    assert "fail at step 20" in orch("trial", "logs", "small.base.0.0").out
    again = orch("study", "create", spec, "--set", 'rehearsal={"fail_at_step": 20}', "--json")
    assert again.code == output.NO_RESULT
    assert (again.json["verdict"], again.json["table"]) == (None, None)
    assert again.json["failure"].endswith(reason)
    for verb in ("verdict", "table"):
        told = orch("study", verb, "small")
        assert told.code == output.NO_RESULT
        assert reason in told.out + told.err
    assert "no run completed" in orch("study", "show", "small").out


def test_an_arm_that_failed_alike_is_one_remark_where_others_completed(
    orch: Orch, tmp_path: Path, machines: dict[int, Any]
) -> None:
    path = tmp_path / "half.json"
    arm = {"name": "broken", "method": "fixed", "trials": 5, "config": {"rehearsal": {"fail_at_step": 20}}}
    whole = small_study(name="half", arms=[{"name": "base", "method": "fixed"}, arm])
    path.write_text(json.dumps(whole.model_dump(mode="json")))
    said = orch("study", "create", str(path))
    assert said.code == 0
    assert said.err.splitlines()[-1] == (
        "Not all runs of broken were started. The first 3 runs of broken failed for the same reason: "
        "RuntimeError: The rehearsal was told to fail at step 20."
    )
    (report,) = (line for line in said.out.splitlines() if line.startswith("  Report"))
    assert "arm stopped" in Path(report.split()[-1]).read_text()


def test_a_trial_that_fits_nowhere_is_refused(
    orch: Orch, spec: str, machines: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.backends.simulated import SimulatedBackend

    monkeypatch.setattr(SimulatedBackend, "slots", lambda self, resources: 0)
    said = orch("study", "create", spec)
    assert said.code == output.USAGE
    assert "No worker here can hold a trial of small: it needs 1 cpus." in said.err


def _led_elsewhere(ledger: Callable[[], Store], tmp_path: Path, begin: threading.Event) -> threading.Thread:
    """Another process, played by a thread with a ledger of its own, that runs everything once told to."""
    other = ledger()
    place = world(tmp_path / "elsewhere", store=other)
    engine = place.engine(who="another")
    assert other.lead("another") is not None

    def run() -> None:
        begin.wait(10)
        while other.studies({StudyState.RUNNING}):
            place.step(engine)
        other.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("verb", ["watch", "create"])
def test_a_study_that_another_process_runs_is_followed_to_its_end(
    orch: Orch,
    ledger: Callable[[], Store],
    spec: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    orch("study", "create", spec, "--no-run")
    begin = threading.Event()
    thread = _led_elsewhere(ledger, tmp_path, begin)
    follow = drive.follow

    def followed(*args: Any, **kwargs: Any) -> Any:
        begin.set()
        return follow(*args, **kwargs)

    monkeypatch.setattr(drive, "follow", followed)
    said = orch("study", verb, "small" if verb == "watch" else spec, "--json")
    thread.join(10)
    assert said.code == 0
    assert (said.json["status"], said.json["ended"]) == ("completed", 8)


@pytest.fixture
def leader(orch: Orch, ledger: Callable[[], Store], spec: str) -> Iterator[Store]:
    """Another process, played by a ledger of its own, that leads and does nothing."""
    orch("study", "create", spec, "--no-run")
    leader = ledger()
    assert leader.lead("another") is not None
    yield leader
    leader.close()


@pytest.fixture
def at_each_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Do something whenever the study is looked at."""

    def arrange(act: Callable[[], None]) -> None:
        look = progress.Progress.look

        def looked(eye: progress.Progress) -> progress.Scene:
            act()
            return look(eye)

        monkeypatch.setattr(drive, "WATCH_S", 0.0)
        monkeypatch.setattr(progress.Progress, "look", looked)

    return arrange


def test_ctrl_c_beside_a_leader_ends_the_watching_and_nothing_else(
    orch: Orch, spec: str, leader: Store, at_each_look: Callable[[Callable[[], None]], None]
) -> None:
    at_each_look(lambda: os.kill(os.getpid(), signal.SIGINT))
    said = orch("study", "create", spec)
    assert said.code == output.INTERRUPTED
    assert "Another process runs small." in said.err
    assert leader.open_wishes() == []


# -- trials and exports -----------------------------------------------------------------------------------
def test_a_failed_trial_tells_its_traceback_and_is_tried_again(
    orch: Orch, spec: str, machines: dict[int, Any]
) -> None:
    orch("study", "create", spec, "--set", 'rehearsal={"fail_at_step": 25}')
    shown = orch("trial", "show", "small.base.0.0")
    assert "base.0.0: failed. RuntimeError" in shown.out
    logs = orch("trial", "logs", "small.base.0.0", "--follow")
    assert logs.out.splitlines()[0].startswith("attempt 1     0:00  step      0  started")
    assert "eval        loss " in logs.out
    assert "RuntimeError: The rehearsal was told to fail at step 25." in logs.out.splitlines()[-1]
    assert orch("trial", "logs", "small.base.0.0", "--attempt", "2").code == output.NOT_FOUND
    retried = orch("trial", "retry", "small.base.0.0", "--json")
    assert retried.json["state"] == "waiting"
    assert orch("trial", "retry", "small.grid.0.9").code == output.NOT_FOUND
    assert orch("trial", "show", "small").code == output.NOT_FOUND
    assert orch("trial", "show", "small.base.0.0", "--json").json["attempts"][0]["state"] == "failed"


def test_exports_go_to_stdout_or_to_a_file(
    orch: Orch, spec: str, machines: dict[int, Any], tmp_path: Path
) -> None:
    orch("study", "create", spec)
    assert len(orch("study", "export", "small", "--to", "csv").out.splitlines()) == 9
    out = tmp_path / "small.out.json"
    assert orch("study", "export", "small", "--to", "json", "--out", str(out)).out == ""
    assert len(json.loads(out.read_text())["trials"]) == 8
    assert orch("study", "export", "small", "--to", "optuna").code == output.USAGE
    assert orch("study", "export", "nothing", "--to", "csv").code == output.NOT_FOUND


def test_a_study_that_cannot_be_launched_here_ends_with_the_sentence(
    orch: Orch, spec: str, machines: dict[int, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model_of_another.py").write_text(
        "from orchestrator.rehearsal import check, run, shape_key\n"
    )
    data = {**json.loads(Path(spec).read_text()), "entrypoint": "model_of_another"}
    Path(spec).write_text(json.dumps(data))
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path))
        assert orch("study", "create", spec, "--no-run").code == 0
    del sys.modules["model_of_another"]
    said = orch("study", "resume", "small")
    assert said.code == output.USAGE
    assert (
        "orch: The entrypoint 'model_of_another' cannot be imported (No module named 'model_of_another')."
        in said.err
    )


def test_watching_ends_when_the_leader_dies(
    orch: Orch, leader: Store, at_each_look: Callable[[Callable[[], None]], None]
) -> None:
    at_each_look(leader.release)
    said = orch("study", "watch", "small")
    assert said.code == output.REFUSED
    assert said.err.endswith("The process that ran small has gone. Resume with: orch study resume small\n")


def test_an_export_into_a_pipe_leaves_it_a_pipe(
    orch: Orch, spec: str, machines: dict[int, Any], tmp_path: Path
) -> None:
    orch("study", "create", spec)
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert orch("study", "export", "small", "--to", "csv", "--out", str(pipe)).code == 0
    reader.join(10)
    assert pipe.is_fifo()
    assert len(read[0].splitlines()) == 9
    said = orch("study", "export", "small", "--to", "csv", "--out", str(tmp_path / "nowhere" / "x.csv"))
    assert said.code == output.USAGE
    assert f"there is no folder {tmp_path / 'nowhere'}. Make it first." in said.err
