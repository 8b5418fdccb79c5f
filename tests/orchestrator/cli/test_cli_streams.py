"""The command line in a hostile place: streams that are closed or full, homes that are odd, no command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import output
from tests.orchestrator.conftest import Orch

ROOT = Path(__file__).parents[3]
ORCH = f"{sys.executable} -m orchestrator.cli"


def _shell(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env={**os.environ, "ORCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    assert _shell(f"{ORCH} study list --json >&-", tmp_path).stderr == ""
    done = _shell(f"{ORCH} study plan bo-vs-guided --json <&- 2>&-", tmp_path)
    assert (done.returncode, json.loads(done.stdout)["search"]["runs"]) == (0, 55)
    assert _shell(f"{ORCH} study show nothing <&- >&- 2>&-", tmp_path).returncode == output.NOT_FOUND


def test_a_result_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    for command in ("study list --json", "study show nothing --json", "study plan bo-vs-guided --json"):
        done = _shell(f"{ORCH} {command} > /dev/full", tmp_path)
        assert done.returncode == output.UNEXPECTED
        assert done.stderr.endswith("orch: The result could not be written: No space left on device.\n")
        assert "Traceback" not in done.stderr


def test_what_is_said_beside_the_result_may_get_lost(tmp_path: Path) -> None:
    done = _shell(f"{ORCH} study plan bo-vs-guided --json 2> /dev/full", tmp_path)
    assert (done.returncode, json.loads(done.stdout)["search"]["runs"]) == (0, 55)
    assert (
        _shell(f"{ORCH} rehearse bo-vs-guided --size smoke --search random 2>&1 | head -1", tmp_path).stderr
        == ""
    )


def test_without_a_command_the_help_is_shown(orch: Orch) -> None:
    for words in ((), ("study",)):
        said = orch(*words)
        assert (said.code, said.out) == (output.USAGE, "")
        assert said.err.startswith(f"Usage: {' '.join(('orch', *words))} [OPTIONS] COMMAND")
        assert "\n\nCommands:\n" in said.err.replace("\n  ", "\n")


def test_a_name_too_long_for_a_file_is_a_sentence(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    said = orch("study", "plan", "n" * 10_000 + ".json")
    assert (said.code, said.err[:26]) == (output.USAGE, "orch: There is no file 'nn")
    monkeypatch.setenv("ORCH_HOME", "/" + "h" * 5_000)
    said = orch("study", "list", "--json")
    assert said.json["error"]["kind"] == "bad-spec"
    (sentence,) = said.json["error"]["problems"]
    assert sentence.startswith("ORCH_HOME is /hhh")
    assert sentence.endswith("hhh, which cannot be looked at (File name too long). Name another folder.")


def test_a_deleted_folder_is_a_sentence(orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert orch("study", "plan", "bo-vs-guided").code == 0  # ORCH_HOME says where, so nothing is amiss
    monkeypatch.delenv("ORCH_HOME")
    said = orch("study", "list")
    assert said.code == output.USAGE
    assert said.err == (
        "orch: The folder that this was called in has been deleted. Go to another, or set ORCH_HOME.\n"
    )


def test_a_study_that_cannot_run_makes_no_ledger(orch: Orch, home: Path, spec: str) -> None:
    said = orch("study", "create", spec, "--set", "optimizer.alhpa=1")
    assert said.code == output.USAGE
    assert not home.exists()


def test_a_limit_that_is_no_number_is_refused(orch: Orch) -> None:
    said = orch("study", "plan", "bo-vs-guided", "--size", "paper", "--refuse-above", "nan")
    assert said.code == output.USAGE
    assert "--refuse-above is nan. Allowed is a number of at least 0." in said.err


def test_of_thousands_of_problems_twenty_are_shown_and_all_are_told_with_json(
    orch: Orch, spec: str, tmp_path: Path
) -> None:
    upside_down = {"path": "optimizer.alpha", "low": 2, "high": 1}
    arms = [{"name": f"a{i}", "method": "random", "space": [upside_down]} for i in range(50)]
    Path(spec).write_text(json.dumps({**json.loads(Path(spec).read_text()), "arms": arms}))
    assert orch("study", "plan", spec).err.splitlines()[-2:] == [
        "optimizer.alpha: the range is upside down: low 2 is not below high 1. Swap them.",
        "And 30 more problems.",
    ]
    assert len(orch("study", "plan", spec, "--json").json["error"]["problems"]) == 50


def test_a_home_where_the_daemon_cannot_write_is_a_sentence(orch: Orch, home: Path, spec: str) -> None:
    home.mkdir()
    (home / "ray").write_text("a file in the way")
    said = orch("study", "create", spec)
    assert said.code == output.UNREACHABLE
    assert "orch: The Ray daemon could not be started: [Errno 20] Not a directory:" in said.err
