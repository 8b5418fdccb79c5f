"""Does a command say the same of a service as of the ledger here? Both are asked, and compared."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.cli import opening, output
from orchestrator.client import Client
from tests.orchestrator.client.conftest import ROOT, Server, slow, spec
from tests.orchestrator.conftest import Said

Orch = Callable[..., Said]
CLAIM = {"text": "Random beats the base.", "challenger": "random", "incumbent": "base"}
QUESTION = "Does the machinery work?"
CELLS = [  # whose report has a matrix
    {"name": row, "method": "fixed", "trials": 1, "fresh_seeds": True, "row": row, "column": "a", **more}
    for row, more in (("plain", {}), ("higher", {"config": {"optimizer": {"alpha": 1.6}}}))
]


@pytest.fixture
def orch(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Orch:
    """`orch`, on the ledger that the service keeps; with `--server` as if it were elsewhere."""
    for name in ("ORCH_LEDGER", "ORCH_URL", "ORCH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCH_WORKERS", "2")

    def run(*arguments: str, remote: bool = False) -> Said:
        monkeypatch.setenv("ORCH_HOME", str(tmp_path / "elsewhere" if remote else server.home))
        if remote:
            monkeypatch.setenv("ORCH_TOKEN", server.key)
        code = cli.run([*arguments, "--server", server.url] if remote else arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture(scope="module", autouse=True)
def studies(server: Server) -> None:
    """One that ended with a claim, one whose only trial failed, one that is paused."""
    failing = {**spec("failing")["base"], "rehearsal": {"fail_at_step": 10}}
    arms = [{"name": "base", "method": "fixed", "trials": 1}]
    with Client(server.url, token=server.key) as client:
        client.create(spec=spec("claimed", claim=CLAIM, question=QUESTION))
        client.create(spec=spec("failing", base=failing, arms=arms, claim=None))
        client.create(spec=spec("cells", arms=CELLS, claim=None))
        client.create(spec=slow("paused"))
        for name in ("claimed", "failing", "cells"):
            assert client.wait(name, timeout_s=120)["status"] == "completed"
        client.pause("paused")
        assert client.wait("paused", timeout_s=60)["status"] == "paused"


# -- what is only read: byte for byte --------------------------------------------------------------------
READS = [
    ("study", "list"),
    ("study", "list", "--json"),
    ("study", "show", "claimed"),
    ("study", "show", "claimed", "--json"),
    ("study", "show", "paused"),
    ("study", "show", "nothing"),
    ("study", "show", "no such name", "--json"),
    ("study", "watch", "claimed", "--json"),
    ("study", "watch", "paused"),
    ("study", "verdict", "claimed"),
    ("study", "verdict", "claimed", "--json"),
    ("study", "table", "claimed"),
    ("study", "table", "claimed", "--json"),
    ("study", "table", "claimed", "--format", "latex"),
    ("study", "table", "failing", "--format", "csv"),
    ("study", "table", "claimed", "--metric", "dev_loss", "--format", "md"),
    ("study", "table", "claimed", "--metric", "bleu"),
    ("study", "plan", "bo-vs-guided", "--size", "paper", "--json"),
    ("study", "plan", "eta-sweep", "--size", "smoke", "--slots", "3", "--replicates", "2"),
    ("study", "plan", "eta-sweep", "--refuse-above", "0"),
    ("study", "plan", "eta-sweep", "--set", "model.size=huge"),
    ("trial", "show", "claimed.random.0.1"),
    ("trial", "show", "claimed.random.0.1", "--json"),
    ("trial", "show", "failing.base.0.0"),
    ("trial", "show", "claimed.random.0.9"),
    ("trial", "show", "claimed"),
    ("trial", "logs", "claimed.random.0.1"),
    ("trial", "logs", "failing.base.0.0", "--attempt", "1", "--follow"),
    ("trial", "logs", "failing.base.0.0", "--attempt", "9"),
    ("schedule", "export", "claimed.base.0.0"),
]


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_a_command_says_the_same_of_a_service_as_of_the_ledger(words: tuple[str, ...], orch: Orch) -> None:
    here, there = orch(*words), orch(*words, remote=True)
    assert there.code == here.code
    assert there.err == here.err
    if "--json" in words and here.code == 0:
        assert {**there.json, "report": ""} == {**here.json, "report": ""}
    else:
        assert _told(there.out) == _told(here.out)


def _told(out: str) -> str:
    """The report of a study that ended lies in a folder here, and at an address there; a checkpoint lies
    below the folder of runs, which a service elsewhere does not name."""
    return re.sub(r"(checkpoint  )\S+/runs/", r"\1", re.sub(r"Report: \S+", "Report: somewhere", out))


@pytest.mark.parametrize(("name", "count"), [("claimed", 7), ("cells", 8)])
def test_a_report_is_the_same_files(orch: Orch, tmp_path: Path, name: str, count: int) -> None:
    here = orch("study", "report", name, "--out", str(tmp_path / "here"), "--slots", "3")
    there = orch("study", "report", name, "--out", str(tmp_path / "there"), "--slots", "3", remote=True)
    assert (here.code, there.code) == (0, 0)
    assert there.err == here.err
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == files
    assert len(files) == count
    for file in files:
        assert (tmp_path / "there" / file).read_text() == (tmp_path / "here" / file).read_text(), file


# -- what changes something: on twins --------------------------------------------------------------------
def _twins(
    orch: Orch, pair: str, file: Path, *, spec: Callable[[str], dict[str, object]], no_run: bool = True
) -> list[Said]:
    said = []
    for name, remote in ((f"{pair}-a", False), (f"{pair}-b", True)):
        file.write_text(json.dumps(spec(name)))
        said.append(orch("study", "create", str(file), *(["--no-run"] if no_run else []), remote=remote))
    return said


def _same(here: Said, there: Said) -> None:
    assert there.code == here.code, there.err
    assert re.sub("twin-b", "twin-a", there.out) == here.out


def test_a_study_is_steered_alike(orch: Orch, tmp_path: Path, client: Client) -> None:
    made = _twins(orch, "twin", tmp_path / "spec.json", spec=slow)
    assert [each.code for each in made] == [0, 0]
    for words in (
        ("pause", "{}"),
        ("resume", "{}"),
        ("resume", "{}", "--no-run"),
        ("extend", "{}", "--arm", "random", "--trials", "2"),
        ("extend", "{}", "--arm", "nothing", "--trials", "2"),
        ("extend", "{}", "--arm", "random", "--seeds", "1"),
        ("cancel", "{}"),
        ("drain", "{}"),
        ("resume", "{}"),
        ("delete", "{}"),  # nobody can be asked
    ):
        here = orch("study", *(word.format("twin-a") for word in words))
        there = orch("study", *(word.format("twin-b") for word in words), remote=True)
        _same(here, there)
    for name in ("twin-a", "twin-b"):
        assert client.wait(name, timeout_s=60)["status"] == "cancelled"
    deleted = [
        orch("study", "delete", name, "--yes", remote=remote)
        for name, remote in (("twin-a", 0), ("twin-b", 1))
    ]
    _same(*deleted)
    assert deleted[0].out == "The study twin-a is deleted.\n"
    gone = [orch("study", "delete", "twin-a", "--yes", "--json", remote=remote) for remote in (False, True)]
    assert gone[0] == gone[1]
    assert gone[0].code == output.NOT_FOUND


def test_trials_are_listed_alike(orch: Orch) -> None:
    for words in (
        ("claimed",),
        ("claimed", "--json"),
        ("claimed", "--arm", "grid"),
        ("claimed", "--arm", "x"),
        ("claimed", "--state", "completed", "--arm", "base"),
        ("claimed", "--state", "failed"),
    ):
        here, there = (orch("trial", "list", *words, remote=remote) for remote in (False, True))
        assert there == here
    assert orch("trial", "show", "claimed.base.0.7", remote=True).err.startswith(
        "orch: claimed has no trial 'base.0.7'. Did you mean 'claimed.base.0.0'?"
    )


def test_a_failed_trial_is_retried_and_another_is_refused_alike(orch: Orch, client: Client) -> None:
    said = orch("trial", "retry", "failing.base.0.0", remote=True)
    assert said.code == 0
    assert re.fullmatch(r"The trial \w+\.base\.0\.0 is (waiting|running|failed)\.\n", said.out)
    client.wait("failing", timeout_s=60)
    words = ("trial", "retry", "claimed.base.0.0")
    here, there = orch(*words), orch(*words, remote=True)
    assert (there.code, there.err) == (here.code, here.err)
    assert here.code == output.REFUSED


def test_a_name_in_use_is_refused_alike_and_says_what_differs(orch: Orch, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec("claimed", claim=CLAIM)))
    here, there = (orch("study", "create", str(file), "--json", remote=remote) for remote in (False, True))
    assert there.code == here.code == output.TAKEN
    assert there.json == here.json
    assert there.json["error"]["problems"][-1] == "Its spec differs from yours in: question."


def test_a_created_study_is_followed_to_its_table(orch: Orch, tmp_path: Path) -> None:
    def lasting(name: str) -> dict[str, object]:  # a second a run
        return spec(name, claim=CLAIM, base={**spec(name)["base"], "rehearsal": {"seconds_per_step": 0.5}})

    here, there = _twins(orch, "pair", tmp_path / "spec.json", spec=lasting, no_run=False)
    assert here.code == there.code == 0
    for said in (here, there):
        assert "8 of 8 runs ended, 0 runs running, best loss " in said.err.splitlines()[-1]
    heads = [said.out.splitlines()[0].split(", ")[0] for said in (here, there)]
    assert heads[0].replace("pair-a", "pair-b") == heads[1]
    assert "• Undecided    pair-b    8 runs" in there.out
    assert re.search(r"Report  http://127\.0\.0\.1:\d+/api/v1/studies/\w+/report\n", there.out)
    again = orch("study", "create", str(tmp_path / "spec.json"), "--json", remote=True)
    assert (again.json["attached"], again.json["ended"]) == (True, 8)
    for name, remote in (("pair-a", False), ("pair-b", True)):
        gone = orch("study", "delete", name, "--yes", "--json", remote=remote).json
        assert (gone["study"], gone["trials"], gone["attempts"], gone["deleted"]) == (name, 8, 8, True)


def test_ctrl_c_leaves_the_study_running_on_the_server_and_says_so(
    server: Server, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(slow("left")))
    following = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "study", "create", str(file), "--server", server.url],
        cwd=ROOT,
        env={**os.environ, "ORCH_HOME": str(tmp_path / "home"), "ORCH_TOKEN": server.key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stderr is not None
        while not following.stderr.readline().startswith("Following left at "):
            assert following.poll() is None
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=60)
    finally:
        following.kill()
        following.communicate()
    assert following.returncode == output.INTERRUPTED
    assert f"left goes on at {server.url}. Follow it again: orch study watch left." in err
    assert client.study("left")["status"] == "running"
    client.cancel("left")


def test_what_only_this_machine_has_is_refused_or_left_alone(orch: Orch, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec("mine")))
    said = orch("study", "create", str(file), "--workers", "3", remote=True)
    assert said.code == output.USAGE
    assert "--workers is about this machine" in said.err


def test_a_server_that_is_not_there_is_a_sentence_within_three_seconds(
    orch: Orch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 <= opening.REFUSED_S <= 3
    monkeypatch.setattr(opening, "REFUSED_S", 0.0)
    monkeypatch.setenv("ORCH_URL", "http://127.0.0.1:9")
    said = orch("study", "list", "--json")
    assert said.code == output.UNREACHABLE
    assert said.json["error"]["kind"] == "service-unreachable"
    assert said.json["error"]["problems"] == [
        "The service at http://127.0.0.1:9 cannot be reached: Connection refused. Check the address, "
        "or start the service there: orch serve"
    ]
    assert said.err == ""
