"""The command line tells what a study found: at its end, and whenever it is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import findings, output
from tests.faults.world import small_study
from tests.orchestrator.conftest import Orch

ROOT = Path(__file__).parents[3]
Machines = dict[int, Callable[[], None]]
CLAIM = {"text": "Random beats the base.", "challenger": "random", "incumbent": "base"}


@pytest.fixture
def claimed(tmp_path: Path) -> str:
    path = tmp_path / "claimed.json"
    path.write_text(json.dumps(small_study(claim=CLAIM).model_dump(mode="json")))
    return str(path)


def test_a_foreground_study_ends_with_table_verdict_and_report(
    orch: Orch, home: Path, claimed: str, machines: Machines
) -> None:
    said = orch("study", "create", claimed)
    assert said.code == 0
    words = ("• Undecided    small", "cannot be compared", "search", "Report  ", "Next  ")
    places = [said.out.index(word) for word in words]
    assert places == sorted(places)
    assert len(said.out.splitlines()) <= 25
    path = next(line for line in said.out.splitlines() if "Report" in line).split()[-1]
    assert Path(path).read_text().startswith("<!doctype html>")
    again = orch("study", "create", claimed, "--json")
    assert again.json["study"] == "small"
    assert again.json["status"] == "completed"
    assert again.json["verdict"]["answer"] == "undecided"
    assert {cell["row"] for cell in again.json["table"]["cells"]} == {"base", "random", "grid"}
    assert again.json["report"] == str(home / "reports" / "small" / "report.html")
    assert again.json["ended"] == 8  # what was there stays


# The parts of an ending, in their order, whatever the numbers are.
ENDING = (
    r"^[✓✗•] [A-Z][a-z ]+    [\w-]+    \d+ runs, .+ of compute time$",
    r"^  .+, \d+ fresh seeds  \S+ [\d.]+   \S+ [\d.]+     (lower|higher) is better$",
    r"^  difference {8,}[\d.]+ ",
    r"^  cost of a search {2,}[\d.]+× ",
    r"^  \S.* +search  trials +\S",
    r"^  Report  \S+/report\.html$",
    r"^  Next    orch study \S.*$",
    r"^          orch ui +curves in MLflow$",
)


def test_the_readme_shows_an_ending_of_the_form_that_is_printed(
    orch: Orch, tmp_path: Path, machines: Machines
) -> None:
    again = {"method": "fixed", "trials": 6, "phase": "confirm", "fresh_seeds": True}
    arms = [
        *({"name": name, "method": "fixed", "row": name} for name in ("base", "random")),
        *({"name": f"confirm-{name}", **again, "after": {"arm": name}} for name in ("base", "random")),
    ]
    arms[1]["config"] = {"optimizer": {"alpha": 0.2}}
    path = tmp_path / "six.json"
    claim = {**CLAIM, "cost_ratio": 1}
    path.write_text(json.dumps(small_study(name="six", arms=arms, claim=claim).model_dump(mode="json")))
    printed = orch("study", "create", str(path)).out
    # what won, by how much, on how many seeds, at what cost
    assert "Random did not beat the default at equal cost." in printed
    assert re.search(r"difference +[\d.]+ times base's \(95% CI [\d.]+–[\d.]+\), [\d.]+ worse", printed)
    assert "loss, 6 fresh seeds" in printed
    assert "1.00× base's, allowed 1.00×, by clocks" in printed
    shown = re.findall(r"^```text\n([✓✗•] .*?)^```$", (ROOT / "README.md").read_text(), re.S | re.M)
    assert len(shown) == 1
    for ending in (printed, shown[0]):
        found = [re.search(part, ending, re.M) for part in ENDING]
        assert None not in found, (
            ending,
            [part for part, at in zip(ENDING, found, strict=True) if at is None],
        )
        places = [at.start() for at in found if at]
        assert places == sorted(places)
    assert len(shown[0].splitlines()) <= 25


def test_a_claim_is_told_by_plan_show_and_verdict_with_its_kind(orch: Orch, tmp_path: Path) -> None:
    path = tmp_path / "margin.json"
    claim = {**CLAIM, "kind": "non-inferiority", "time_margin": 0.03}
    path.write_text(json.dumps(small_study(claim=claim).model_dump(mode="json")))
    assert (
        "Claim of non-inferiority: 0 paired seeds; fewer than 5 can" in orch("study", "plan", str(path)).out
    )
    told = orch("study", "plan", str(path), "--json").json["claim"]
    assert (told["kind"], told["level"], told["two_sided"]) == ("non-inferiority", 0.05, False)
    orch("study", "create", str(path), "--no-run")
    shown = orch("study", "show", "small").out
    assert "Tested: random is not worse than base by more than 3% of the training time." in shown
    judged = orch("study", "verdict", "small", "--json").json["verdict"]
    assert (judged["kind"], judged["time_margin"], judged["at_least"]) == ("non-inferiority", 0.03, None)
    assert [cell["n"] for cell in judged["cells"]] == [0]


def test_a_paused_study_has_no_answer_yet_but_a_report_can_be_asked_for(
    orch: Orch, claimed: str, tmp_path: Path
) -> None:
    orch("study", "create", claimed, "--no-run")
    said = orch("study", "report", "small", "--out", str(tmp_path / "here"), "--json")
    assert said.json["verdict"]["answer"] == "undecided"
    assert said.json["report"] == str(tmp_path / "here" / "report.html")
    assert "has not ended" in Path(said.json["report"]).read_text()
    shown = orch("study", "verdict", "small").out
    assert shown.startswith("• No verdict yet    small    waiting\n")
    assert "0 of 8 runs ended." in shown


def test_the_table_has_four_forms_and_one_object(orch: Orch, claimed: str, machines: Machines) -> None:
    orch("study", "create", claimed)
    shown = orch("study", "table", "small")
    assert shown.out.splitlines()[0] == "small: loss"
    assert orch("study", "table", "small", "--format", "md").out.startswith("**small: loss**")
    assert orch("study", "table", "small", "--format", "latex").out.startswith("\\begin{table}")
    assert orch("study", "table", "small", "--format", "csv").out.startswith("row,column,arm")
    assert orch("study", "table", "small", "--json").json["table"]["metric"] == "loss"
    other = orch("study", "table", "small", "--metric", "dev_loss", "--json")
    assert other.json["table"]["metric"] == "dev_loss"
    wrong = orch("study", "table", "small", "--metric", "bleu")
    assert wrong.code == output.USAGE
    assert "No run reported 'bleu'. Reported: dev_loss, loss, train_loss." in wrong.err


def test_a_report_that_cannot_be_written_takes_no_result_away(
    orch: Orch, home: Path, claimed: str, machines: Machines
) -> None:
    home.mkdir()
    (home / "reports").write_text("in the way")
    said = orch("study", "create", claimed, "--json")
    assert said.code == 0
    assert said.json["report"] is None
    assert said.json["verdict"]["answer"] == "undecided"
    assert "The report could not be written" in said.err


def test_the_seeds_that_are_still_needed_are_added_by_the_command_that_the_verdict_names(
    orch: Orch, tmp_path: Path, machines: Machines
) -> None:
    again = {"method": "fixed", "trials": 2, "phase": "confirm", "fresh_seeds": True}
    arms = [
        *({"name": name, "method": "fixed", "row": name} for name in ("base", "random")),
        *({"name": f"confirm-{name}", **again, "after": {"arm": name}} for name in ("base", "random")),
    ]
    arms[1]["config"] = {"optimizer": {"alpha": 0.2}}
    path = tmp_path / "few.json"
    path.write_text(json.dumps(small_study(name="few", arms=arms, claim=CLAIM).model_dump(mode="json")))
    said = orch("study", "create", str(path))
    assert "  Next    orch study extend few --seeds 4    the missing seeds" in said.out
    (report,) = (line for line in said.out.splitlines() if line.startswith("  Report"))
    assert "orch study extend few --seeds 4" in Path(report.split()[-1]).read_text()
    added = orch("study", "extend", "few", "--seeds", "4")
    assert (added.code, added.out) == (0, "The study few is waiting.\n")
    assert "No process runs it now. Run it with: orch study resume few" in added.err
    resumed = orch("study", "resume", "few")
    assert resumed.code == 0
    assert "loss, 6 fresh seeds" in resumed.out
    shown = " ".join(orch("study", "verdict", "few").out.split())
    assert "4 seeds were added after the study was created" in shown


@pytest.mark.parametrize("verb", ["report", "verdict", "table"])
def test_an_unknown_study_is_not_found(orch: Orch, verb: str) -> None:
    said: Any = orch("study", verb, "nothing", "--json")
    assert (said.code, said.json["error"]["kind"]) == (output.NOT_FOUND, "not-found")


def test_verbose_adds_the_rules(orch: Orch, claimed: str, machines: Machines) -> None:
    orch("study", "create", claimed)
    rule = "1. No claim was registered"
    assert rule not in orch("study", "verdict", "small").out
    assert rule in orch("study", "verdict", "small", "--verbose").out
    assert rule in orch("study", "watch", "small", "--verbose").out


@pytest.mark.parametrize("width", range(30, 60))
def test_a_p_value_is_not_broken_over_two_lines(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "terminal_width", lambda: width)
    lines = findings._wrapped("0.196 worse, on 6 of 6 seeds, p = .031, by dev loss")
    assert any("p = .031" in line for line in lines)
