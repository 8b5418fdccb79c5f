"""What is measured of a whole study, and that a measurement can be interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import study_run
from benchmarks.study_run import Checkout, Parts


def attempt(started_at: float, ended_at: float, **clocks: float) -> dict[str, Any]:
    return {"started_at": started_at, "ended_at": ended_at, "clocks": clocks}


def trial(
    arm: str, value: float | None, *attempts: dict[str, Any], state: str = "completed"
) -> dict[str, Any]:
    return {"arm": arm, "value": value, "state": state, "attempts": list(attempts)}


EXPORT = {
    "spec": {"arms": [{"name": "search"}, {"name": "confirm", "fresh_seeds": True}]},
    "study": {"spec_hash": "abc"},
    "trials": [
        trial("search", 0.5, attempt(10, 11, train_s=1, steps=40), attempt(12, 14, train_s=2, steps=40)),
        trial("search", 0.3, attempt(11, 15, compile_s=3, eval_s=1)),
        trial("search", None, attempt(15, 16, other_s=0.5), state="diverged"),
        trial("confirm", 1.0, attempt(16, 17)),
        trial("confirm", 3.0, attempt(17, 20.5)),
    ],
}


def test_the_clocks_of_all_attempts_are_summed_lost_ones_too() -> None:
    found = study_run.findings(EXPORT)
    assert found["clocks"] == {
        "train_s": 3, "eval_s": 1, "compile_s": 3, "other_s": 0.5, "steps": 80, "tokens": 0,
    }  # fmt: skip
    assert study_run.in_slots(found["clocks"]) == 7.5


def test_a_study_takes_from_its_first_attempt_to_its_last_end() -> None:
    assert study_run.findings(EXPORT)["study_s"] == 10.5


def test_an_arm_on_fresh_seeds_tells_mean_and_spread_and_one_that_searches_its_best() -> None:
    found = study_run.findings(EXPORT)
    assert found["arms"] == {
        "search": {"runs": 2, "best": 0.3},
        "confirm": {"runs": 2, "mean": 2.0, "sd": pytest.approx(2**0.5)},
    }
    assert found["states"] == {"completed": 4, "diverged": 1}


def test_what_a_trial_takes_beyond_training_is_compiling_the_rest_and_the_orchestrating_process() -> None:
    clocks = {"train_s": 481.0, "eval_s": 87.0, "compile_s": 203.0, "other_s": 29.0}
    assert study_run.beyond_training(clocks, cpu_s=117.0, trials=157) == pytest.approx(349 / 157)


def test_a_command_is_timed_by_its_own_cpu_and_not_by_that_of_its_children(tmp_path: Path) -> None:
    burn = "import time; a = time.process_time()\nwhile time.process_time() - a < {}: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn.format(0.3)!r}])"
    took = {
        name: study_run.timed(
            [sys.executable, "-c", code], folder=tmp_path, home=tmp_path / "home", name=name, label=name
        )
        for name, code in {"alone": burn.format(0.3), "child": child}.items()
    }
    assert took["alone"].rc == 0
    assert took["alone"].cpu_s >= 0.3
    assert took["child"].cpu_s < 0.3 <= took["child"].wall_s


def test_ctrl_c_ends_the_command_and_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids, cleaned = [], []

    def interrupted(pid: int) -> bool:
        pids.append(pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(study_run, "_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study_run.timed(
            [sys.executable, "-c", "import signal; signal.pause()"],
            folder=tmp_path,
            home=tmp_path / "home",
            name="waits",
            label="waits",
            on_interrupt=lambda: cleaned.append(True),
        )
    assert cleaned == [True]
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_an_interrupted_measurement_says_how_it_goes_on_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, study_run.interruptible():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_parts_that_were_measured_are_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    Parts(path, size="smoke").measured("ours-cold", lambda: {"wall_s": 7.0})
    again = Parts(path, size="smoke")
    assert again.measured("ours-cold", lambda: pytest.fail("measured again")) == {"wall_s": 7.0}
    assert again.get("ours-warm") is None


def test_parts_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    Parts(path, size="smoke").measured("ours-cold", lambda: {"wall_s": 7.0})
    with pytest.raises(SystemExit, match="holds parts of another measurement"):
        Parts(path, size="quick")


def test_a_warm_home_has_the_programs_and_the_text_and_nothing_else(tmp_path: Path) -> None:
    home, aside = tmp_path / "home", tmp_path / "cold"
    for name in ("programs/one", "data/text", "runs/trial"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (home / "ledger.db").write_text("rows")
    study_run.leave_programs(home, aside)
    assert sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()) == [
        "data/text",
        "programs/one",
    ]
    assert (aside / "ledger.db").read_text() == "rows"


def test_the_home_of_a_measurement_that_was_cut_short_is_moved_aside(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for content in ("first", "second"):
        home.mkdir()
        (home / "ledger.db").write_text(content)
        study_run.cleared(home)
    assert not home.exists()
    assert (tmp_path / "cut-short-1" / "ledger.db").read_text() == "first"
    assert (tmp_path / "cut-short-2" / "ledger.db").read_text() == "second"


def test_settings_of_this_shell_reach_neither_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCH_WORKERS", "RAY_ADDRESS", "MLFLOW_TRACKING_URI", "XLA_FLAGS"):
        monkeypatch.setenv(name, "7")
    found = study_run.environment(tmp_path)
    assert found["ORCH_HOME"] == str(tmp_path)
    assert not {"ORCH_WORKERS", "RAY_ADDRESS", "MLFLOW_TRACKING_URI", "XLA_FLAGS"} & found.keys()
    assert found["PATH"] == os.environ["PATH"]


def test_a_side_is_a_checkout_or_the_python_of_an_environment(tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "orchestrator").mkdir()
    assert Checkout.at(tmp_path) == Checkout(python, tmp_path) == Checkout.at(python)
    assert Checkout.at(sys.executable).python == Path(sys.executable)


def test_a_folder_without_an_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Run make setup in it first"):
        Checkout.at(tmp_path)
    with pytest.raises(SystemExit, match="no Python and no checkout"):
        Checkout.at(tmp_path / "nowhere")


@pytest.mark.parametrize("benchmark", ["same_spec", "whole_study"])
def test_what_can_be_asked_of_it_is_told(benchmark: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--json" in told
    assert "--folder" in told


def test_the_kept_spec_is_read_as_it_was_written() -> None:
    from benchmarks.same_spec import SPEC
    from orchestrator.study.canonical import spec_hash
    from orchestrator.study.spec_files import read_spec

    spec = read_spec(SPEC)
    assert spec_hash(spec) == "bb327620a3c2d070758ae1faa87880bdf5127e6f3304f6678d847b7da0ba1940"
    assert sum(arm.trials for arm in spec.arms) == 157
    assert json.loads(SPEC.read_text())["name"] == spec.name
