"""Does `orch trial logs` show what a trial printed, follow it to its end, and stop quietly?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.cli import output as terminal
from orchestrator.cli import trial as commands
from orchestrator.ledger import Store
from orchestrator.runs import output
from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import Journal
from orchestrator.runs.output import OUTPUT
from tests.faults.world import World, created, small_study, world
from tests.orchestrator.conftest import Orch
from trainer.protocol import Outcome

TRIAL = "small.base.0.0"


@pytest.fixture
def there(ledger: Callable[[], Store], home: Path) -> World:
    """A study of one trial in the ledger of this home, whose runs lie in this home."""
    home.mkdir()
    made = world(home / "runs", store=ledger(), slots=1)
    created(made, small_study(arms=[{"name": "base", "method": "fixed"}], claim=None))
    return made


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "runs" / "s1" / "s1.base.0.0" / "attempt-1"


@pytest.fixture
def ended(there: World) -> World:
    there.drive(there.engine(), "s1")
    there.store.release()
    return there


def _printed(out: str) -> list[str]:
    """What is shown of the output, without reports and ends."""
    lines = out.splitlines()
    begins = lines.index("attempt 1  output") + 1
    return lines[begins : next(i for i in range(begins, len(lines)) if lines[i].startswith("attempt 1  "))]


def test_output_is_shown_between_reports_and_end_without_colours(
    orch: Orch, ended: World, folder: Path
) -> None:
    (folder / OUTPUT).write_bytes(b"\x1b[31mred\x1b[0m\n10%\r100%\n\ta\x07\xff\nno end")
    said = orch("trial", "logs", TRIAL)
    assert said.code == 0
    assert said.out.splitlines()[0].startswith("attempt 1     0:00  step      0  started")
    assert said.out.splitlines()[-1] == "attempt 1  completed"
    assert _printed(said.out) == ["red", "100%", "        a\ufffd", "no end"]


def test_a_part_of_it_is_shown(orch: Orch, ended: World, folder: Path) -> None:
    (folder / OUTPUT).write_text("one\ntwo\nthree\n")
    only = orch("trial", "logs", TRIAL, "--only", "output", "--tail", "2")
    assert only.out.splitlines() == ["attempt 1  output", "two", "three", "attempt 1  completed"]
    reports = orch("trial", "logs", TRIAL, "--only", "reports", "--tail", "1").out.splitlines()
    assert len(reports) == 2
    assert "  checkpoint " in reports[0]
    assert orch("trial", "logs", TRIAL, "--attempt", "2").code == terminal.NOT_FOUND


def test_dropped_bytes_are_a_line(
    orch: Orch, ended: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "NEWEST_BYTES", 100)
    monkeypatch.setattr(output, "HEAD_BYTES", 6)
    (folder / OUTPUT).write_text("first\n" + "x" * 500 + "\nlast\n")
    output.shorten(folder)
    assert _printed(orch("trial", "logs", TRIAL).out) == [
        "first",
        "… 406 bytes dropped …",
        "x" * 94,
        "last",
    ]


def test_json_has_reports_and_output(orch: Orch, ended: World, folder: Path) -> None:
    (folder / OUTPUT).write_text("one\n")
    told = orch("trial", "logs", TRIAL, "--json").json
    part = {"attempt": 1, "start": 0, "next": 4, "end": 4, "dropped": 0, "text": "one\n"}
    assert (told["trial_id"], told["output"]) == ("s1.base.0.0", [part])
    assert told["reports"][0]["kind"] == "started"
    said = orch("trial", "logs", TRIAL, "--json", "--follow")
    assert said.code == terminal.USAGE
    assert "Leave out --follow, or --json." in said.json["error"]["problems"][0]


def test_follow_shows_what_is_printed_until_the_trial_ends(
    orch: Orch, there: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = there.engine()
    while not there.store.live_attempts("s1"):
        there.step(engine)
    pieces = ["one\ntw", "o\n50%\r", "100%\r\n", "the end"]

    def meanwhile(_: float) -> None:
        with (folder / OUTPUT).open("a") as file:
            file.write(pieces.pop(0))
        if not pieces:
            there.drive(engine, "s1")

    monkeypatch.setattr(commands.time, "sleep", meanwhile)
    said = orch("trial", "logs", TRIAL, "-f")
    assert said.code == 0
    assert _printed_lines(said.out) == ["one", "two", "100%", "the end"]
    assert said.out.splitlines()[-1] == "attempt 1  completed"
    assert "  checkpoint " in said.out


def _printed_lines(out: str) -> list[str]:
    return [line for line in out.splitlines() if not line.startswith("attempt 1")]


def test_ctrl_c_ends_following_quietly(orch: Orch, there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = there.engine()
    while not there.store.live_attempts("s1"):
        there.step(engine)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.time, "sleep", interrupted)
    said = orch("trial", "logs", TRIAL, "-f")
    assert (said.code, said.err) == (terminal.INTERRUPTED, "")


def test_show_lists_the_files_that_the_outcome_named(orch: Orch, ended: World, folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"12345")
    Journal(folder).end(Ended("outcome", outcome=Outcome("completed", files=("model.pt",))))
    said = orch("trial", "show", TRIAL)
    assert said.out.splitlines()[-1] == f"artifact  model.pt  5 bytes  {folder}/model.pt"
    (told,) = orch("trial", "show", TRIAL, "--json").json["artifacts"]
    assert told == {"name": "model.pt", "bytes": 5, "where": f"{folder}/model.pt"}


def test_each_attempt_has_its_own_part_and_the_newest_says_its_traceback_once(
    orch: Orch, ledger: Callable[[], Store], home: Path, folder: Path
) -> None:
    home.mkdir()
    there = world(home / "runs", store=ledger(), slots=1, faults=(Fault("*", 1, "die", after_reports=2),))
    base = {**small_study().base, "rehearsal": {"fail_at_step": 30}}
    created(there, small_study(arms=[{"name": "base", "method": "fixed"}], claim=None, base=base))
    there.drive(there.engine(), "s1")
    there.store.release()
    second = folder.with_name("attempt-2")
    (folder / OUTPUT).write_text("of the first\n")
    traceback = there.store.attempts("s1.base.0.0")[1].traceback
    (second / OUTPUT).write_text(f"of the second\n{traceback}")
    said = orch("trial", "logs", TRIAL, "--only", "output").out.splitlines()
    assert said[:4] == ["attempt 1  output", "of the first", "attempt 2  output", "of the second"]
    assert said[-2].startswith("attempt 1  lost  ")
    assert said[-1].startswith("attempt 2  failed  RuntimeError")
    assert said.count("Traceback (most recent call last):") == 1
    (second / OUTPUT).unlink()
    said = orch("trial", "logs", TRIAL, "--attempt", "2").out.splitlines()
    assert said.count("Traceback (most recent call last):") == 1
    assert "of the first" not in said
