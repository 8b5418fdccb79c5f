"""Are two choices compared on the same sentences, by sacrebleu's own numbers?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sacrebleu
from fastapi import FastAPI

from dashboards.evidence import frames, sentences
from dashboards.report import answer as report
from dashboards.report import files
from dashboards.web import routes
from orchestrator.ledger.memory import MemoryLedger
from tests.dashboards.asgi import get
from tests.dashboards.ledgers import ledger, runs, searched, spec
from trainer.protocol import TRANSLATIONS

REFERENCES = [f"the price of number {n} is {n * 7} euros and {n % 10} cents today" for n in range(60)]
GOOD = [r.replace("today", "now") if i % 7 == 0 else r for i, r in enumerate(REFERENCES)]
BAD = [r.replace("price", "cost").replace("today", "now") for r in REFERENCES]


def left(root: Path, trial: str, translations: list[str], references: list[str] = REFERENCES) -> None:
    """What a run of the trainer leaves."""
    path = root / "s1" / trial / "attempt-1" / TRANSLATIONS["test"]
    path.parent.mkdir(parents=True)
    rows = (
        {"source": "", "reference": r, "translation": t}
        for r, t in zip(references, translations, strict=True)
    )
    path.write_text("\n".join(map(json.dumps, [{"split": "test"}, *rows])))


@pytest.fixture
def store() -> MemoryLedger:
    confirmed = {f"confirm-{arm}": runs(0.8, 0.9) for arm in ("bo", "guided")}
    return ledger(spec(confirmations=2), {**searched(), **confirmed})


def test_the_gain_is_the_difference_of_sacrebleus_scores_and_clear_where_it_is_large(
    store: MemoryLedger, tmp_path: Path
) -> None:
    left(tmp_path, "s1.confirm-guided.0.0", GOOD)
    left(tmp_path, "s1.confirm-bo.0.0", BAD)
    (found,) = sentences.compare(store, frames.read(store, "s1"), tmp_path)
    scores = [sacrebleu.corpus_bleu(system, [REFERENCES]).score for system in (GOOD, BAD)]
    assert (found.challenger, found.incumbent) == pytest.approx(scores)
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(scores[0] - scores[1])
    assert max(found.p_bootstrap, found.p_randomisation) < 0.01
    assert (found.seed, found.sentences) == (1000, 60)


def test_equal_systems_are_not_told_apart(store: MemoryLedger, tmp_path: Path) -> None:
    for arm in ("guided", "bo"):
        left(tmp_path, f"s1.confirm-{arm}.0.1", GOOD)
    (found,) = sentences.compare(store, frames.read(store, "s1"), tmp_path)
    assert (found.difference, found.p_randomisation) == (0, 1)


def test_runs_on_other_sentences_and_torn_files_are_left_out(store: MemoryLedger, tmp_path: Path) -> None:
    left(tmp_path, "s1.confirm-guided.0.0", GOOD)
    left(tmp_path, "s1.confirm-bo.0.0", BAD[:10], REFERENCES[:10])
    left(tmp_path, "s1.confirm-guided.0.1", GOOD)
    left(tmp_path, "s1.confirm-bo.0.1", BAD)
    torn = tmp_path / "s1" / "s1.confirm-bo.0.1" / "attempt-1" / TRANSLATIONS["test"]
    torn.write_text(torn.read_text()[:-20])
    assert sentences.compare(store, frames.read(store, "s1"), tmp_path) == []


def test_files_without_a_sentence_are_left_out(store: MemoryLedger, tmp_path: Path) -> None:
    for arm in ("guided", "bo"):
        left(tmp_path, f"s1.confirm-{arm}.0.0", [], [])  # the header alone
        left(tmp_path, f"s1.confirm-{arm}.0.1", GOOD)
    other = tmp_path / "s1" / "s1.confirm-bo.0.1" / "attempt-1" / TRANSLATIONS["test"]
    other.write_text('{"split": "test"}\n"no sentence"\n')
    assert sentences.compare(store, frames.read(store, "s1"), tmp_path) == []


def test_a_sentence_may_hold_any_end_of_line(store: MemoryLedger, tmp_path: Path) -> None:
    ends = [f"{text} \u2028 or \u0085 later" for text in GOOD]
    for arm in ("guided", "bo"):
        left(tmp_path, f"s1.confirm-{arm}.0.0", ends)
        path = tmp_path / "s1" / f"s1.confirm-{arm}.0.0" / "attempt-1" / TRANSLATIONS["test"]
        rows = map(json.loads, path.read_text().split("\n"))
        path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    (found,) = sentences.compare(store, frames.read(store, "s1"), tmp_path)
    assert found.sentences == 60


def test_the_report_shows_them(store: MemoryLedger, tmp_path: Path) -> None:
    left(tmp_path / "runs", "s1.confirm-guided.0.0", GOOD)
    left(tmp_path / "runs", "s1.confirm-bo.0.0", BAD)
    answer = report.gather(store, "s1", slots=1, runs=tmp_path / "runs")
    page = files.write(answer, tmp_path / "report")
    for text in (page.read_text(), (page.parent / files.MARKDOWN).read_text()):
        assert "Sentence by sentence" in text
        assert answer.sentences[0].signature in text


def test_the_live_page_shows_them_too(store: MemoryLedger, tmp_path: Path) -> None:
    left(tmp_path, "s1.confirm-guided.0.0", GOOD)
    left(tmp_path, "s1.confirm-bo.0.0", BAD)
    app = FastAPI()
    app.include_router(routes.router(store, presets=[], slots=1, role_of=lambda _: "read", runs=tmp_path))
    text = get(app, "/studies/s1").text
    assert "Sentence by sentence" in text
    (found,) = sentences.compare(store, frames.read(store, "s1"), tmp_path)
    assert f"{found.difference:+.1f}" in text
