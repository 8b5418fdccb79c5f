"""Does a list say of each study what its report says, and conclude it once only?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dashboards.evidence import frames
from dashboards.report import outcomes
from dashboards.report.answer import conclude
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger import Ledger
from orchestrator.ledger.records import StudyState
from tests.dashboards.ledgers import FAILED, ledger, runs, searched, spec

SEEDS = [0.01, -0.02, 0.03, 0.0, -0.01, 0.02]


def confirmed(bo: float, guided: float) -> Ledger:
    sides = {
        "confirm-bo": runs(*(bo + each for each in SEEDS)),
        "confirm-guided": runs(*(guided + each / 2 for each in SEEDS)),
    }
    return ledger(spec(), {**searched(), **sides})


FOUND = {
    "supported": confirmed(0.8, 0.6),
    "refuted": confirmed(0.6, 0.8),
    "undecided": confirmed(0.7, 0.7),
    "no claim": ledger(spec(claim=None), searched()),
    "failed": ledger(spec(), {"base": [FAILED], "bo": [FAILED] * 4, "guided": [FAILED] * 3}),
}


@pytest.mark.parametrize("word", FOUND)
def test_the_word_is_that_of_the_headline(word: str) -> None:
    found = outcomes.of_studies(FOUND[word], FOUND[word].studies())
    assert found == {"s1": word}
    assert conclude(frames.read(FOUND[word], "s1"))[1].outcome == word


@pytest.mark.parametrize("state", [StudyState.RUNNING, StudyState.PAUSED, StudyState.CANCELLED])
def test_one_that_has_not_completed_has_no_word(state: StudyState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "of_study", lambda *_: pytest.fail("it was concluded"))
    store = ledger(spec(), searched(), state=state)
    assert outcomes.of_studies(store, store.studies()) == {"s1": None}


def test_a_study_is_concluded_once_and_again_when_the_rules_or_its_trials_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, store = tmp_path / outcomes.FILE, FOUND["supported"]
    asked: list[str] = []
    monkeypatch.setattr(outcomes, "of_study", lambda _, study: asked.append(study.study_id) or "supported")
    for _ in range(2):
        assert outcomes.of_studies(store, store.studies(), file) == {"s1": "supported"}
    assert asked == ["s1"]
    outcomes.of_studies(FOUND["failed"], FOUND["failed"].studies(), file)  # of that id, with other trials
    assert asked == ["s1"] * 2
    monkeypatch.setattr(outcomes, "_rules", lambda: "others")
    outcomes.of_studies(FOUND["failed"], FOUND["failed"].studies(), file)
    assert asked == ["s1"] * 3


@pytest.mark.parametrize("text", ["no JSON", "[]", json.dumps({"s1": 1})])
def test_a_file_that_is_damaged_is_written_anew(text: str, tmp_path: Path) -> None:
    file, store = tmp_path / outcomes.FILE, FOUND["refuted"]
    file.write_text(text)
    assert outcomes.of_studies(store, store.studies(), file) == {"s1": "refuted"}
    assert json.loads(file.read_text())["s1"][1] == "refuted"


def test_a_study_that_cannot_be_read_is_listed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise BadSpec("not a spec")

    monkeypatch.setattr(outcomes, "of_study", refuse)
    store = FOUND["supported"]
    assert outcomes.of_studies(store, store.studies()) == {"s1": None}
