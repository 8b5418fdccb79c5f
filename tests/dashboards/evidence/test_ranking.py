"""Are pretrainings of different targets ranked by scores alone, with T5's own numbers beside them?"""

from __future__ import annotations

import json
from statistics import fmean
from typing import Any

import pytest

from dashboards.evidence import frames, latex, ranking, stats, t5_tables, table_forms, tables
from dashboards.report import figures, pages
from dashboards.report.answer import Answer, answer_dict, gather
from orchestrator.cli import findings
from orchestrator.study.spec import StudySpec
from studies import catalog
from tests.dashboards import downstream
from tests.dashboards.asgi import get
from tests.dashboards.ledgers import FAILED, Run, ledger
from tests.dashboards.reading import text_of
from tests.dashboards.web.test_web import served

STUDIES = ["t5-objectives", "t5-architectures"]
WOBBLE = (0.0, 1.0, -0.5, 0.75, -1.25, 0.25)  # by seed, shared by all rows
OWN = (0.1, -0.2, 0.3, -0.1, 0.2, -0.3)


def results(spec: StudySpec, means: dict[str, float]) -> dict[str, list[Run]]:
    """Scores about a mean for each row, the same in all columns; a pretraining's loss goes the other way."""
    made: dict[str, list[Run]] = {}
    for i, arm in enumerate(spec.arms):
        mean = means[spec.row_of(arm)]
        if arm.phase == "prepare":
            made[arm.name] = downstream.pretrained(*(mean / 10 + w / 100 for w in WOBBLE[: arm.trials]))
            continue
        scores = [mean + WOBBLE[k] + OWN[(k + i) % len(OWN)] for k in range(arm.trials)]
        made[arm.name] = [Run(s + 1, values={"score": s + 1, "test_score": s}) for s in scores]
    return made


def falling(spec: StudySpec) -> dict[str, float]:
    """Means by row, each below the one before."""
    rows = dict.fromkeys(spec.row_of(arm) for arm in spec.compared)
    return {row: 60.0 - 3 * place for place, row in enumerate(rows)}


def answered(name: str, size: str = "quick") -> Answer:
    spec = catalog.get(name, size)
    return gather(ledger(spec, results(spec, falling(spec))), "s1", slots=1)


def ranked(answer: Answer) -> ranking.Ranking:
    assert answer.ranking is not None
    return answer.ranking


@pytest.mark.parametrize("name", STUDIES)
def test_rows_stand_by_their_average_with_their_difference_from_the_challenger_and_holm_over_rows(
    name: str,
) -> None:
    spec = catalog.get(name, "quick")
    runs = results(spec, falling(spec))
    found = ranked(gather(ledger(spec, runs), "s1", slots=1))
    rows = list(falling(spec))
    assert [each.row for each in found.rows] == rows
    assert (found.against, found.metric) == (rows[0], "test_score")
    scores = {
        row: [fmean(runs[arm.name][k].values["test_score"] for arm in of) for k in range(of[0].trials)]
        for row in rows
        if (of := [arm for arm in spec.compared if spec.row_of(arm) == row])
    }
    ps = []
    for each in found.rows:
        assert each.value == pytest.approx(fmean(scores[each.row]))
        assert each.n == len(scores[each.row])
        if each.row == found.against:
            assert (each.difference, each.p, each.p_holm) == (None, None, None)
            continue
        pairs = list(zip(scores[each.row], scores[found.against], strict=False))
        assert each.pairs == len(pairs)
        assert each.difference == pytest.approx(fmean(a - b for a, b in pairs))
        ps.append((each.p, each.p_holm))
    # Of n pairs all on one side: 2 of the 2^n swaps are as extreme. Six pairs in one row, three in four.
    by_hand = sorted([2 / 2**6, *[2 / 2**3] * 4])
    assert sorted(p for p, _ in ps if p is not None) == pytest.approx(by_hand)
    holm = [5 * 2 / 2**6, *[1.0] * 4]  # Holm: 4 · .25 is 1
    assert sorted(p for _, p in ps if p is not None) == pytest.approx(holm)
    assert "none differs" in found.notes[1]
    assert "with fewer than 8 pairs none can" in found.notes[1]  # 2 / 2^8 is below .05 / 5, 2 / 2^7 is not


@pytest.mark.parametrize("name", STUDIES)
def test_report_and_page_say_that_losses_cannot_be_compared_and_rank_nothing_by_them(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pretraining losses of these runs are in the opposite order of the scores."""
    spec = catalog.get(name, "quick")
    store = ledger(spec, results(spec, falling(spec)))
    answer = gather(store, "s1", slots=1)
    what = "objectives and stacks" if name == "t5-architectures" else "objectives"
    said = (
        f"Rows are ranked by test score: they pretrain with different {what}, and losses of different "
        f"targets cannot be compared."
    )
    page, text = pages.page(answer), pages.markdown(answer)
    live = get(served(store), "/studies/s1").text
    assert all(said in shown for shown in (page, text, live))
    findings.tell_verdict(answer_dict(answer), spec.name, "completed")
    told = " ".join(capsys.readouterr().out.split())
    assert said in told
    found = ranked(answer)
    order = [f"{each.row} {tables.number_text(each.value, found.decimals)}" for each in found.rows]
    assert f"By average test score: {'; '.join(order)}." in told
    assert {made.metric for made in answer.tables} == {"score"}
    assert {each.metric for _, _, of in answer.contrasts for each in of} == {"test_score"}
    assert not any("loss" in each.metric for each in answer.by_metric)
    drawn = figures.figures(answer.frame, answer.heard)
    assert not [each for each in drawn if each.key == "pretraining" or "loss" in each.title.lower()]
    assert "dev_loss" not in json.dumps(answer_dict(answer)["ranking"])


@pytest.mark.parametrize("name", STUDIES)
def test_the_ranking_stands_in_the_report_the_page_and_the_answer(name: str) -> None:
    answer = answered(name)
    found = ranked(answer)
    page, text = pages.page(answer), pages.markdown(answer)
    shown = text_of(page, "ranking")
    assert shown.startswith("The ranking")
    for place, each in enumerate(found.rows, start=1):
        assert each.row in shown
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {place} | {each.row} |")]
        assert tables.number_text(each.value, found.decimals) in line
        assert f"{each.printed['GLUE']:.2f}" in line
    told = answer_dict(answer)["ranking"]
    assert [row["row"] for row in told["rows"]] == [each.row for each in found.rows]
    assert told["rows"][0]["printed"]["GLUE"] == 83.28


def test_a_row_without_an_average_is_named_and_not_ranked() -> None:
    spec = catalog.get("t5-objectives", "quick")
    runs = results(spec, falling(spec))
    runs["bert-facts"] = [FAILED] * 3
    found = ranked(gather(ledger(spec, runs), "s1", slots=1))
    assert found.without == ("BERT-style",)
    assert "BERT-style" not in [each.row for each in found.rows]
    assert "Without an average: BERT-style." in found.notes


def test_a_study_of_one_target_or_of_another_claim_has_no_ranking() -> None:
    plain = downstream.spec()
    assert ranking.ranking(frames.read(ledger(plain, downstream.results()), "s1")) is None
    differing: dict[str, Any] = {"pretrain-alpha+beta1": {"objective": {"name": "prefix-lm"}}}
    several = downstream.spec(prepare=differing, claim={"average": False, "at_least": 2})
    assert ranking.ranking(frames.read(ledger(several, downstream.results()), "s1")) is None
    averaged = downstream.spec(prepare=differing)
    found = ranking.ranking(frames.read(ledger(averaged, downstream.results()), "s1"))
    assert found is not None
    assert [each.row for each in found.rows] == ["α+β1", "base", "no pretraining"]


# -- T5's own numbers --------------------------------------------------------------------------------------
GLUE = {
    "t5-objectives": {
        "i.i.d. spans": 83.28, "prefix LM": 80.69, "BERT-style": 82.96, "deshuffling": 73.17,
        "MASS-style": 82.32, "dropped tokens": 84.44, "i.i.d. spans, 10%": 82.82, "i.i.d. spans, 25%": 83.00,
        "i.i.d. spans, 50%": 81.27, "spans of 2": 83.54, "spans of 3": 83.49, "spans of 5": 83.40,
        "spans of 10": 82.85,
    },
    "t5-architectures": {
        "encoder-decoder, denoising": 83.28, "shared, denoising": 82.81, "half the layers, denoising": 80.88,
        "language model, denoising": 74.70, "prefix LM, denoising": 81.82, "encoder-decoder, LM": 79.56,
        "shared, LM": 79.60, "half the layers, LM": 78.67, "language model, LM": 73.78,
        "prefix LM, LM": 79.68,
    },
}  # fmt: skip


@pytest.mark.parametrize("size", ["laptop", "paper"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_row_of_the_studies_has_its_own_numbers_of_t5_s_tables(name: str, size: str) -> None:
    spec = catalog.get(name, size)
    known = t5_tables.rows_of(spec, [arm for arm in spec.arms if arm.phase == "prepare"])
    assert {spec.row_of(spec.arm(arm)): said.scores["GLUE"] for arm, (_, said) in known.items()} == GLUE[name]


def test_numbers_stand_under_the_heads_of_the_paper() -> None:
    (deshuffling,) = [p for k, p in t5_tables.TABLES_4_TO_7.items() if k.objective == "deshuffling"]
    assert deshuffling.scores == {
        "GLUE": 73.17, "CNNDM": 18.59, "SQuAD": 67.61, "SGLUE": 58.47, "EnDe": 26.11, "EnFr": 39.30,
        "EnRo": 25.62,
    }  # fmt: skip
    assert (len(t5_tables.TABLE_2), len(t5_tables.TABLES_4_TO_7)) == (10, 13)


def test_another_rate_than_t5_s_has_no_numbers() -> None:
    study = downstream.spec(
        prepare={
            "pretrain-base": {"objective": {"name": "iid-spans"}},
            "pretrain-alpha+beta1": {"objective": {"name": "iid-spans", "rate": 0.3}},
        }
    )
    known = t5_tables.rows_of(study, [arm for arm in study.arms if arm.phase == "prepare"])
    assert list(known) == ["pretrain-base"]


def test_the_order_is_compared_where_t5_s_is_beyond_its_noise() -> None:
    """GLUE: 83.28, 80.69, 82.96, 73.17, 81.27, 83.49. Of 15 pairs those of 83.28 with 82.96 and 83.49 are
    within .47; in the order of the spec 6 of the other 13 fall."""
    spec = catalog.get("t5-objectives", "quick")
    glue = [GLUE["t5-objectives"][row] for row in falling(spec)]
    pairs = [(a, b) for i, a in enumerate(glue) for b in glue[i + 1 :] if abs(a - b) > 0.47]
    assert (len(pairs), sum(a > b for a, b in pairs)) == (13, 6)
    said = (
        "T5's GLUE has 13 pairs of these rows more than 0.47 apart, two standard deviations of its baseline: "
        "6 are in the same order here; by chance it would be half of them."
    )
    assert said in ranked(answered("t5-objectives")).notes


def test_that_the_paper_prints_one_row_twice_is_told_beside_it() -> None:
    for name in STUDIES:
        assert t5_tables.OF_TWICE in ranked(answered(name)).notes
    assert GLUE["t5-objectives"]["prefix LM"] == 80.69
    assert GLUE["t5-architectures"]["encoder-decoder, LM"] == 79.56


def test_differences_in_setup_are_from_t5_s_baseline() -> None:
    found = {each.what: (each.ours, each.papers) for each in answered("t5-objectives").deviations}
    assert found["model"] == ("t5-tiny", "220M parameters")
    assert found["pretraining steps"] == ("400", "524,288")
    assert found["hardware"] == ("1 CPU core", "slices of Cloud TPU pods")
    paper = {each.what for each in answered("t5-objectives", "paper").deviations}
    assert not paper & {"data", "model", "pretraining steps", "batch size", "dropout", "learning rate"}


def test_nothing_is_said_of_the_guided_paper_s_tables() -> None:
    answer = answered("t5-objectives", "paper")
    assert answer.tables[0].paper is None
    assert not any("α" in note for note in answer.notes)


# -- tables of many rows -----------------------------------------------------------------------------------
def test_many_rows_of_few_columns_are_lines_and_their_average_is_a_column() -> None:
    answer = answered("t5-objectives", "laptop")
    made = answer.tables[0]
    assert not made.by_column
    columns = ["word-order", "figures", "facts", "average"]
    assert table_forms.header(made) == ["", "time", "# runs", *columns]
    assert [line[0] for line in table_forms.grid(made)] == list(falling(answer.frame.spec))
    best = tables.in_full(made)[1]
    assert table_forms.header(best) == ["", *columns]
    assert {len(line) for line in table_forms.grid(best)} == {5}
    assert latex.to_latex(made).count("spans of 10 &") == 2
    assert "The best of the seeds" in pages.page(answer)
    few = tables.table(frames.read(ledger(downstream.spec(), downstream.results()), "s1"))
    assert few.by_column


def test_the_interval_of_a_row_is_that_of_the_mean_over_its_seeds() -> None:
    spec = catalog.get("t5-objectives", "quick")
    runs = results(spec, falling(spec))
    found = ranked(gather(ledger(spec, runs), "s1", slots=1))
    arms = [arm for arm in spec.compared if spec.row_of(arm) == "prefix LM"]
    means = [fmean(runs[arm.name][k].values["test_score"] for arm in arms) for k in range(6)]
    (row,) = [each for each in found.rows if each.row == "prefix LM"]
    within = stats.mean_interval(means)
    assert row.interval is not None
    assert within is not None
    assert (row.interval.low, row.interval.high) == pytest.approx((within.low, within.high))
