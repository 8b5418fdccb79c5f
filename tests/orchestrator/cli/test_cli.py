"""The command line without workers: what goes to stdout and stderr, exit codes, requests, hostile names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import click
import pytest

from orchestrator import cli
from orchestrator.cli import local, output
from orchestrator.engine.requests import obey_all
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, StudyState
from orchestrator.runs.folders import Storage
from orchestrator.study.overrides import override
from orchestrator.study.spec_files import read_spec
from studies import catalog
from tests.orchestrator.conftest import Orch

ROOT = Path(__file__).parents[3]


# -- reading and planning ---------------------------------------------------------------------------------
def test_help_imports_no_noun_and_tells_the_exit_codes() -> None:
    code = "import sys\nfrom orchestrator.cli import run\nrun(['--help'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    *shown, modules = done.stdout.splitlines()
    assert not {"pydantic", "sqlalchemy", "rich", "orchestrator.cli.study"} & set(modules.split())
    for number, meaning in output.EXIT_CODES:
        assert any(line.split(maxsplit=1) == [str(number), meaning] for line in shown)


def test_sizes_are_those_of_the_catalogue() -> None:
    from orchestrator.cli.spec_options import SIZES

    assert list(SIZES) == catalog.sizes()


def test_plan_tells_the_question_first_and_counts_the_runs(orch: Orch, home: Path) -> None:
    said = orch("study", "plan", "bo-vs-guided", "--size", "paper", "--json")
    assert said.code == 0
    assert said.json["search"]["runs"] == 613
    assert said.err.startswith("Do hyperparameters learned while the model trains")
    assert not home.exists()


def test_a_spec_is_printed_to_be_changed_and_read_back_to_the_same_study(
    orch: Orch, home: Path, tmp_path: Path
) -> None:
    said = orch("study", "spec", "bo-vs-guided", "--name", "mine", "--set", "optimizer.alpha=2")
    assert said.code == 0
    assert not home.exists()
    file = tmp_path / "mine.json"
    file.write_text(said.out)
    expected = override(catalog.get("bo-vs-guided", "quick"), name="mine", sets=["optimizer.alpha=2"])
    assert read_spec(file) == expected.spec
    assert tuple(said.err.splitlines()) == expected.notes
    assert '"retries": {' in said.out
    assert '"attempts"' not in said.out  # which stands at its default


def test_plan_refuses_what_costs_too_much(orch: Orch) -> None:
    said = orch("study", "plan", "bo-vs-guided", "--size", "paper", "--refuse-above", "100")
    assert said.code == output.USAGE
    assert said.out == ""
    assert "Nothing was started: bo-vs-guided-paper is planned at" in said.err


def test_flags_change_the_spec(orch: Orch, spec: str) -> None:
    said = orch("study", "plan", spec, "--trials", "5", "--name", "other", "--slots", "3", "--json")
    assert (said.json["study"], said.json["slots"]) == ("other", 3)
    assert {arm["arm"]: arm["cost"]["runs"] for arm in said.json["arms"]}["random"] == 5


def test_a_misspelt_preset_names_the_nearest(orch: Orch) -> None:
    said = orch("study", "plan", "bo-vs-guidde")
    assert said.code == output.NOT_FOUND
    assert said.err == (
        "orch: There is no study 'bo-vs-guidde'. Did you mean 'bo-vs-guided'? "
        f"Allowed: {', '.join(catalog.names())}.\n"
    )


def test_a_file_that_is_not_there_is_a_sentence(orch: Orch, home: Path) -> None:
    said = orch("study", "create", "nowhere/spec.yaml")
    assert said.code == output.USAGE
    assert said.err == (
        "orch: There is no file 'nowhere/spec.yaml'. Give a spec's path, or a preset's name.\n"
    )
    assert not home.exists()


def test_a_size_does_not_go_with_a_file(orch: Orch, spec: str) -> None:
    said = orch("study", "plan", spec, "--size", "quick")
    assert said.code == output.USAGE
    assert "--size goes with a preset's name" in said.err


def test_an_error_is_one_object_with_json(orch: Orch) -> None:
    said = orch("study", "show", "nothing", "--json")
    assert said.code == output.NOT_FOUND
    assert said.json == {
        "error": {
            "kind": "not-found",
            "problems": ["There is no study 'nothing'. `orch study list` shows all."],
        }
    }
    assert orch("study", "plan", "--json").json["error"]["kind"] == "usage"


def test_a_misspelt_command_names_the_nearest(orch: Orch) -> None:
    said = orch("stduy", "list")
    assert said.code == output.USAGE
    assert "No such command 'stduy'. Did you mean 'study'?" in said.err


def test_what_nobody_foresaw_keeps_its_traceback(orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(catalog, "get", broken)
    said = orch("study", "plan", "bo-vs-guided", "--json")
    assert said.code == output.UNEXPECTED
    assert "Traceback" in said.err
    assert said.json["error"]["kind"] == "unexpected"


def test_a_home_that_cannot_be_written_is_a_sentence(
    orch: Orch, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_HOME", "/proc/orch")
    said = orch("study", "create", spec)
    assert said.code == output.UNREACHABLE
    assert "Name a folder that can be written in ORCH_HOME." in said.err
    assert "Traceback" not in said.err


# -- looking ----------------------------------------------------------------------------------------------
def test_looking_makes_no_ledger(orch: Orch, home: Path) -> None:
    assert orch("study", "list", "--json").json == {"studies": []}
    assert orch("study", "show", "x").code == output.NOT_FOUND
    assert not home.exists()


def test_a_created_study_is_listed_and_shown(orch: Orch, spec: str) -> None:
    made = orch("study", "create", spec, "--no-run", "--json")
    assert (made.code, made.json["created"], made.json["attached"]) == (0, True, False)
    (row,) = orch("study", "list", "--json").json["studies"]
    assert (row["study"], row["status"], row["ended"], row["requested"]) == ("small", "waiting", 0, 8)
    assert row["answer"] is None
    assert orch("study", "list").out.splitlines()[-1].split()[:3] == ["small", "waiting", "–"]
    shown = orch("study", "show", "small")
    assert shown.out.startswith("Does the machinery work?\nsmall: waiting, 0 of 8 runs ended")
    assert orch("study", "show", "small", "--json").json["trials"] == 6


def test_a_name_from_the_ledger_cannot_drive_the_terminal(
    orch: Orch, ledger: Callable[[], Store], home: Path, spec: str
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[red]x[/red]\u202egnp"
    home.mkdir()
    store = ledger()
    row = StudyRow("s1", evil, json.loads(Path(spec).read_text()), "h", StudyState.PAUSED, 1.0, reason=evil)
    store.create_study(row)
    store.close()
    for said in (orch("study", "list"), orch("study", "show", "s1"), orch("study", "list", "--json")):
        assert said.code == 0
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", said.out + said.err)
    assert "\\x1b]0;owned\\x07" in orch("study", "list").out
    assert "[red]x[/red]" in orch("study", "list").out


# -- requests ---------------------------------------------------------------------------------------------
def test_requests_are_obeyed_when_nobody_leads(orch: Orch, spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    assert orch("study", "pause", "small").out == "The study small is paused.\n"
    assert orch("study", "resume", "small", "--no-run", "--json").json["status"] == "waiting"
    drained = orch("study", "drain", "small")
    assert drained.out == "The study small is drained.\n"
    assert drained.err == "Resume with: orch study resume small\n"
    assert orch("study", "resume", "small", "--no-run", "--json").json["status"] == "waiting"
    assert orch("study", "extend", "small", "--arm", "random", "--trials", "2", "--json").json["trials"] == 8
    assert orch("study", "cancel", "small").out == "The study small is cancelled.\n"
    assert "asked to extend random 2: done" in orch("study", "show", "small").out


def test_a_refusal_is_its_sentence_and_exit_code_3(orch: Orch, spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    said = orch("study", "extend", "small", "--arm", "grid", "--trials", "1")
    assert said.code == output.REFUSED
    assert said.err.startswith("orch: grid is a grid: all its points are in it.")
    assert "asked to" not in orch("study", "show", "small").out
    for few in ((), ("--arm", "base"), ("--trials", "1"), ("--arm", "base", "--trials", "1", "--seeds", "1")):
        assert orch("study", "extend", "small", *few).code == output.USAGE
    assert orch("study", "extend", "small", "--seeds", "1").code == output.USAGE  # it has no claim
    orch("study", "cancel", "small")
    assert orch("study", "pause", "small", "--json").json["error"]["kind"] == "refused"
    again = orch("study", "create", spec)
    assert again.code == output.REFUSED
    assert "was cancelled and cannot go on. Choose another name with --name." in again.err


def test_a_leader_that_does_not_answer_is_reported_and_the_request_stands(
    orch: Orch, ledger: Callable[[], Store], spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch("study", "create", spec, "--no-run")
    leader = ledger()
    assert leader.lead("somebody else") is not None
    monkeypatch.setattr(local, "ANSWER_WITHIN_S", 0.2)
    said = orch("study", "pause", "small")
    assert said.code == output.UNREACHABLE
    assert "The request to pause stands" in said.err
    assert [wish.verb for wish in leader.open_wishes()] == ["pause"]
    leader.close()


def test_a_leader_s_answer_is_waited_for(orch: Orch, ledger: Callable[[], Store], spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    leader = ledger()
    epoch = leader.lead("somebody else")
    assert epoch is not None

    def answer() -> None:
        while not (wishes := leader.open_wishes()):
            pass
        leader.answer_wish(epoch, wishes[0].wish_id, "Not today.")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    said = orch("study", "pause", "small")
    thread.join(10)
    assert (said.code, said.err) == (output.REFUSED, "orch: Not today.\n")
    leader.close()


def test_there_is_nothing_to_watch_when_nobody_leads(orch: Orch, spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    said = orch("study", "watch", "small")
    assert said.code == output.REFUSED
    assert "Run it with: orch study resume small" in said.err


# -- delete -----------------------------------------------------------------------------------------------
class Person(StringIO):
    """Somebody at a terminal, who types this."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def cancelled(orch: Orch, spec: str, home: Path) -> Path:
    """The folder of a study that was cancelled."""
    orch("study", "create", spec, "--no-run")
    study_id = orch("study", "cancel", "small", "--json").json["study_id"]
    folder = home / "runs" / study_id
    (folder / "a-trial").mkdir(parents=True)
    return folder


def test_a_deletion_asks_first_and_takes_the_rows_and_the_folders(
    orch: Orch, cancelled: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "reports" / "small").mkdir(parents=True)
    monkeypatch.setattr(sys, "stdin", Person("n\n"))
    said = orch("study", "delete", "small")
    assert (said.code, said.out) == (output.REFUSED, "")
    assert said.err.startswith(f"To be deleted: small at {home}, 0 trials with 0 attempts, their reports")
    assert said.err.endswith("Delete it for good? [y/N]: orch: Nothing was deleted.\n")
    assert cancelled.exists()
    monkeypatch.setattr(sys, "stdin", Person("y\n"))
    said = orch("study", "delete", "small")
    assert (said.code, said.out) == (0, "The study small is deleted.\n")
    assert not cancelled.exists()
    assert (home / "reports" / "small").exists()
    assert orch("study", "delete", "small", "--yes").code == output.NOT_FOUND


def test_where_nobody_can_be_asked_only_a_yes_deletes(
    orch: Orch, cancelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    said = orch("study", "delete", "small")
    assert said.code == output.USAGE
    assert "Deleting cannot be undone, and there is no terminal to ask. Confirm with --yes." in said.err
    assert cancelled.exists()
    told = orch("study", "delete", "small", "--yes", "--json").json
    assert told == {"study": "small", "study_id": cancelled.name, "trials": 0, "attempts": 0, "deleted": True}
    assert not cancelled.exists()
    assert orch("study", "list", "--json").json == {"studies": []}


def test_a_study_that_goes_on_is_not_deleted(orch: Orch, spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    said = orch("study", "delete", "small", "--yes")
    assert (said.code, said.err) == (
        output.REFUSED,
        "orch: The study small has not ended and cannot be deleted. Cancel it first.\n",
    )
    assert orch("study", "show", "small").code == 0


def test_whoever_leads_deletes_with_its_own_folders(
    orch: Orch, ledger: Callable[[], Store], cancelled: Path, tmp_path: Path
) -> None:
    leader = ledger()
    epoch = leader.lead("somebody else")
    assert epoch is not None

    def obey() -> None:
        while not leader.open_wishes():
            pass
        obey_all(leader, epoch, clock=SystemClock(), storage=Storage(tmp_path / "elsewhere"))

    thread = threading.Thread(target=obey, daemon=True)
    thread.start()
    assert orch("study", "delete", "small", "--yes").code == 0
    thread.join(10)
    assert leader.studies() == []
    assert cancelled.exists()
    leader.close()


# -- rehearse, doctor -------------------------------------------------------------------------------------
def test_a_rehearsal_says_that_no_model_was_trained_and_writes_nothing(
    orch: Orch, spec: str, home: Path
) -> None:
    said = orch("rehearse", spec)
    assert said.code == 0
    assert "No model was trained" in said.out
    assert orch("rehearse", spec, "--workers", "3", "--json").json["ended"] == 8
    assert not home.exists()


def test_the_doctor_finds_what_is_here(orch: Orch) -> None:
    said = orch("doctor", "--json")
    assert said.code == 0
    assert said.json["ok"] is True
    found = {check["what"]: check["found"] for check in said.json["checks"]}
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert "ray" in found


def test_the_doctor_says_what_to_do_about_what_is_missing(
    orch: Orch, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ray", "torch"):
        monkeypatch.setitem(sys.modules, module, None)  # what makes an import of it fail
    home.mkdir()
    (home / "ledger.db").write_text("this is no database, and it is long enough to be read as one" * 20)
    said = orch("doctor")
    assert said.code == output.UNEXPECTED
    assert "[run]: Install it: pip install 'orch-studies[run]'\n" in said.err
    assert "[gp]: Install it: pip install 'orch-studies[gp]'\n" in said.err
    assert "ledger: " in said.err
    assert "the file is no SQLite database" in said.err


# -- how things look --------------------------------------------------------------------------------------
def test_a_table_leaves_out_spare_columns_and_aligns_by_cells() -> None:
    rows = [("η̂", "x", "1"), ("ab", "yyyy", "10")]
    assert output.table(("a", "b", "n"), rows, right={"n"}) == [
        "a   b      n",
        "η̂   x      1",
        "ab  yyyy  10",
    ]
    assert output.table(("a", "b", "n"), rows, spare=("b",), width=8) == ["a   n", "η̂   1", "ab  10"]


def test_every_command_and_option_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    context = click.Context(cli.orch)
    missing = []
    for noun in cli.orch.list_commands(context):
        command = cli.orch.get_command(context, noun)
        assert command is not None
        verbs = command.commands if isinstance(command, click.Group) else {"": command}
        for name, verb in verbs.items():
            title = f"### orch {noun} {name}".strip()
            if f"{title}\n" not in text:
                missing.append(title)
                continue
            section = text.split(f"{title}\n")[1].split("\n#")[0]
            options = [o for p in verb.params if isinstance(p, click.Option) for o in p.opts]
            missing += [f"{title}: {o}" for o in options if o not in section]
            assert f"\norch {noun} {name}".rstrip() in section
    assert missing == []
    for code, meaning in output.EXIT_CODES:
        assert f"| {code} | {meaning} |" in text


def test_pair_and_data_dir_are_short_for_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.cli.spec_options import read

    monkeypatch.chdir(tmp_path)
    data = read("bo-vs-guided", size="smoke", pair="fi-en", data_dir="corpus/train").spec.base["data"]
    assert (data["pair"], data["source"]) == ("fi-en", "files")
    assert data["path"] == str(tmp_path / "corpus/train")
    prepared = read("bo-vs-guided", size="paper", data_dir="/sets").spec.base["data"]
    assert (prepared["source"], prepared["path"]) == ("wmt19", "/sets")


def test_data_dir_of_a_task_is_its_path_and_no_source(tmp_path: Path) -> None:
    from orchestrator.cli.spec_options import read

    sets = ["data.task=files"]
    data = read("bo-vs-guided", size="smoke", data_dir=str(tmp_path), sets=sets).spec.base["data"]
    assert (data["task"], data["source"], data["path"]) == ("files", "cldr", str(tmp_path))
