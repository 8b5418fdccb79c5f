"""Do tables of tasks have an average, the best of the seeds, the commonest answer and the paper's numbers?"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict
from statistics import fmean
from typing import Any

import pytest

from dashboards.evidence import (
    by_metric,
    csv_tables,
    frames,
    latex,
    paper_downstream,
    paper_tasks,
    stats,
    table_forms,
    table_values,
    tables,
)
from dashboards.evidence.tables import Table
from dashboards.report import figures, pages
from dashboards.report.answer import answer_dict, gather, table_dict
from orchestrator.cli import findings
from tests.dashboards.asgi import get
from tests.dashboards.downstream import ABOVE, BASE, COMMONEST, TASKS, named, results, scored, spec
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger
from tests.dashboards.reading import text_of
from tests.dashboards.web.test_web import served
from trainer.config.benchmarks import BENCHMARKS
from trainer.scoring.task_scores import TAKEN

THEIRS = ("glue/cola", "super_glue/cb", "squad")


def made(**runs: list[Run]) -> Table:
    return tables.table(frames.read(ledger(spec(), results(**runs)), "s1"))


def of_theirs() -> Any:
    """Scores near the paper's, with its metrics' names."""
    base = dict(zip(THEIRS, BASE.values(), strict=True))
    above = dict(zip(THEIRS, ABOVE.values(), strict=True))
    study = spec(tasks=THEIRS)
    made = results(THEIRS, base=base, above=above)
    names = {
        "glue/cola": ("matthews",),
        "super_glue/cb": ("macro-f1", "accuracy"),
        "squad": ("exact-match", "f1"),
    }
    for task, metrics in names.items():
        for row in ("base", "α+β1", "no pretraining"):
            runs = made[named(row, task)]
            made[named(row, task)] = [
                Run(r.value, values={"score": r.value or 0.0, **dict.fromkeys(metrics, r.value or 0.0)})
                for r in runs
            ]
    return gather(ledger(study, made), "s1", slots=1)


def cell(table: Table, row: str, column: str) -> tables.Cell:
    (found,) = [c for r in table.rows if r.name == row for c in r.cells if c.column == column]
    return found


# -- the average -------------------------------------------------------------------------------------------
def test_the_last_column_is_the_mean_over_the_others_seed_by_seed_with_its_interval() -> None:
    table = made()
    assert table.columns == (*TASKS, "average")
    means = [fmean(BASE[task][i] + ABOVE[task][i] for task in TASKS) for i in range(6)]
    found = cell(table, "α+β1", "average")
    within = stats.mean_interval(means)
    assert within is not None
    assert (found.value, found.n) == (pytest.approx(fmean(means)), 6)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((within.low, within.high))
    assert any("an interval holds the spread of both" in note for note in table.notes)


def test_a_row_that_lacks_a_column_has_no_average_and_a_seed_that_lacks_one_is_left_out() -> None:
    plain = scored(*BASE["figures"])
    table = made(**{named("base", "figures"): [FAILED, *plain[1:]]})
    means = [fmean(BASE[task][i] for task in TASKS) for i in range(1, 6)]
    assert cell(table, "base", "average").value == pytest.approx(fmean(means))
    data = spec().model_dump(mode="json")
    data["arms"] = [arm for arm in data["arms"] if arm["name"] != named("no pretraining", "facts")]
    partly = type(spec()).model_validate(data)
    runs = {name: of for name, of in results().items() if name != named("no pretraining", "facts")}
    lacking = tables.table(frames.read(ledger(partly, runs), "s1"))
    assert cell(lacking, "no pretraining", "average").source == "none"
    gone = made(**{named("base", "facts"): [diverged() for _ in range(6)]})
    assert cell(gone, "base", "average").source == "diverged"


def test_suites_with_several_tasks_have_an_average_of_their_own() -> None:
    names = ("glue/cola", "glue/rte", "super_glue/cb", "super_glue/copa", "squad")
    of = dict(zip(names, [*BASE.values(), *BASE.values()], strict=False))
    up = dict.fromkeys(names, ABOVE["facts"])
    table = tables.table(frames.read(ledger(spec(tasks=names), results(names, base=of, above=up)), "s1"))
    assert table.columns == (*names, "glue average", "super_glue average", "average")
    expected = fmean([*of["glue/cola"], *of["glue/rte"]])
    assert cell(table, "base", "glue average").value == pytest.approx(expected)
    assert cell(table, "base", "glue average").paper == pytest.approx((47.3 + 64.8) / 2)
    assert cell(table, "base", "average").value == pytest.approx(fmean(v for s in of.values() for v in s))
    one = tables.table(
        frames.read(ledger(spec(tasks=names[:2]), results(names[:2], base=of, above=up)), "s1")
    )
    assert one.columns == (*names[:2], "average")


def test_the_best_row_is_that_with_the_best_average_and_not_of_the_easiest_task() -> None:
    from dashboards.evidence.headline import best_row

    best = best_row(frames.read(ledger(spec(), results()), "s1"))
    assert best is not None
    assert (best.name, best.column) == ("α+β1", "average")


def test_no_task_s_panel_is_wider_than_the_others_where_the_claim_is_about_their_average() -> None:
    drawn = figures.figures(frames.read(ledger(spec(), results()), "s1"), {})
    (fresh,) = [each for each in drawn if each.key == "confirmations"]
    assert [(plot.title, plot.wide) for plot in fresh.plots] == [(task, False) for task in TASKS]


def test_always_saying_the_commonest_is_a_row_with_no_seeds() -> None:
    row = made().rows[-1]
    assert row.name == "commonest answer"
    assert [c.value for c in row.cells] == [*COMMONEST.values(), pytest.approx(fmean(COMMONEST.values()))]
    assert {(c.source, c.n) for c in row.cells} == {("data", 0)}
    assert all(tables.best_in(made(), task) != row.name for task in TASKS)


def test_without_what_runs_report_of_it_there_is_no_such_row() -> None:
    quiet = {name: [Run(r.value) for r in of] for name, of in results().items() if "pretrain" not in name}
    assert [row.name for row in made(**quiet).rows] == ["base", "α+β1", "no pretraining"]


# -- its forms ---------------------------------------------------------------------------------------------
def test_tasks_are_lines_in_the_terminal_markdown_and_latex() -> None:
    table = made()
    assert table_forms.header(table) == ["", "base", "α+β1", "no pretraining", "commonest answer"]
    lines = table_forms.grid(table)
    assert [line[0] for line in lines] == [*TASKS, "average", "time", "# runs"]
    assert lines[3][1] == "50.22 [49.47, 50.97] n 6"
    assert lines[4] == ["time", "5 h", "7 h", "1 h", "–"]
    text = table_forms.to_markdown(table)
    assert text.count("| average |") == 2  # the mean, then the best
    assert "**t5-smoke: best score**" in text
    tex = latex.to_latex(table)
    assert tex.count(r"\begin{tabular}") == 2
    assert tex.index("facts &") < tex.index(r"\midrule", tex.index("facts &")) < tex.index("average &")
    assert "t5-smoke: best score" in "\n".join(findings.table_lines(table))


def test_the_best_of_the_seeds_stands_in_a_table_of_its_own() -> None:
    best = tables.in_full(made())[1]
    for task in TASKS:
        expected = max(b + a for b, a in zip(BASE[task], ABOVE[task], strict=True))
        assert cell(best, "α+β1", task).value == expected
    mean = fmean(max(BASE[task]) for task in TASKS)
    assert cell(best, "base", "average").value == pytest.approx(mean)
    assert cell(best, "base", "average").interval is None
    assert tables.in_full(best) == (best,)


def test_csv_and_json_have_both_and_a_client_makes_the_same_table_of_them() -> None:
    table = made()
    lines = list(csv.DictReader(io.StringIO(csv_tables.to_csv(table))))
    (line,) = [each for each in lines if (each["row"], each["column"]) == ("base", "figures")]
    assert (float(line["value"]), float(line["best"])) == (fmean(BASE["figures"]), 71.0)
    assert table_values.from_dict(table.study, table_dict(table, values=True)) == table


def test_the_short_table_of_the_terminal_has_a_line_for_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    answer = gather(ledger(spec(), results()), "s1", slots=1)
    findings._show_table(answer.tables[0], asdict(answer.headline))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["score", *TASKS, "average"]
    assert "52.07 ± 0.52" in lines[4]
    assert max(map(len, lines)) <= 80


# -- metric by metric, and the paper's ---------------------------------------------------------------------
def test_each_metric_of_a_task_has_its_mean_and_best() -> None:
    found = by_metric.entries(frames.read(ledger(spec(), results()), "s1"))
    assert {each.metric for each in found} == {"accuracy", "f1"}
    (one,) = [e for e in found if (e.column, e.metric, e.row) == ("facts", "f1", "base")]
    assert (one.mean, one.best, one.n) == (fmean(BASE["facts"]) - 2, max(BASE["facts"]) - 2, 6)
    told = answer_dict(gather(ledger(spec(), results()), "s1", slots=1))["by_metric"]
    assert len(told) == len(found) == 3 * 2 * 3


def test_every_task_of_the_paper_s_is_one_of_the_trainer() -> None:
    assert set(paper_tasks.THEIRS) <= set(BENCHMARKS)


def test_each_metric_of_the_paper_s_tasks_has_its_number_there() -> None:
    """By the names of the trainer: what the paper calls the accuracy of ReCoRD is an exact match."""
    reported = {"glue/mrpc": ("f1", "accuracy"), "super_glue/record": ("exact-match", "f1")}
    names = tuple(reported)
    base, above = (dict(zip(names, of.values(), strict=False)) for of in (BASE, ABOVE))
    study, runs = spec(tasks=names), results(names, base=base, above=above)
    for task, metrics in reported.items():
        plain = (r.value or 0.0 for r in runs[named("base", task)])
        runs[named("base", task)] = [Run(v, values={"score": v, **dict.fromkeys(metrics, v)}) for v in plain]
    found = by_metric.entries(frames.read(ledger(study, runs), "s1"))
    of_base = {(e.column, e.metric): (e.paper_mean, e.paper_best) for e in found if e.row == "base"}
    assert of_base == {
        ("glue/mrpc", "f1"): (89.9, 90.3),
        ("glue/mrpc", "accuracy"): (86.0, 86.7),
        ("super_glue/record", "exact-match"): (63.1, 63.3),
        ("super_glue/record", "f1"): (64.1, 64.3),
    }


def test_what_a_run_reports_of_itself_is_no_metric() -> None:
    assert [name for name in TAKEN if by_metric.is_metric(name)] == []
    assert not by_metric.is_metric("test_f1")


def test_beside_the_paper_s_tasks_stand_its_numbers_under_the_heads_that_they_belong_to() -> None:
    answer = of_theirs()
    table = answer.tables[0]
    assert table.paper == "Table 7 (mean of 5 runs)"
    assert cell(table, "base", "glue/cola").paper == 47.3
    assert cell(table, "α+β1", "super_glue/cb").paper == pytest.approx((93.2 + 93.1) / 2)
    assert cell(table, "no pretraining", "glue/cola").paper is None
    three = fmean([47.3, (97.9 + 98.4) / 2, (88.1 + 80.0) / 2])
    assert cell(table, "base", "average").paper == pytest.approx(three)
    best = tables.in_full(table)[1]
    assert best.paper == "Table 3 (largest of 5 runs)"
    assert cell(best, "α+β1", "super_glue/cb").paper == 95.3
    assert table_forms.header(table)[-2:] == ["paper base", "paper α+β1"]
    (entry,) = [
        e for e in answer.by_metric if (e.column, e.metric, e.row) == ("squad", "exact-match", "base")
    ]
    assert (entry.paper_mean, entry.paper_best, entry.printed_under) == (80.0, 80.1, "f1")
    (cola,) = [e for e in answer.by_metric if (e.column, e.row) == ("glue/cola", "α+β1")]
    assert (cola.paper_mean, cola.paper_best, cola.printed_under) == (43.6, 44.5, None)
    marked = [line for line in by_metric.grid(answer.by_metric) if line[:2] == ["squad", "f1"]]
    assert marked[0][-1] == "88.2, best 88.3 ‡"
    assert {each.what for each in answer.deviations} >= {"task", "fine-tuning steps", "seeds"}


def test_what_is_wrong_in_the_paper_s_tables_is_told_beside_its_tasks_alone() -> None:
    answer = of_theirs()
    assert answer.notes[1:] == paper_downstream.WRONG
    ours = gather(ledger(spec(), results()), "s1", slots=1)
    assert ours.tables[0].paper is None
    assert ours.notes == ("The paper's tasks are GLUE, SuperGLUE and SQuAD; these are generated ones.",)
    names = ("cnn_dailymail", "wmt/de", "files")
    base, above = (dict(zip(names, of.values(), strict=True)) for of in (BASE, ABOVE))
    others = gather(ledger(spec(tasks=names), results(names, base=base, above=above)), "s1", slots=1)
    assert others.notes == ("The paper's tasks are GLUE, SuperGLUE and SQuAD; these are others.",)


def test_the_paper_s_fifteen_of_eighteen_is_counted_with_how_often_chance_gives_as_much() -> None:
    every = [t for t in paper_tasks.THEIRS if t not in ("glue/wnli_referent", "super_glue/wsc_dpr")]
    data = dict.fromkeys(every, BASE["facts"])
    study, runs = spec(tasks=every), results(every, base=data, above=data)
    said = paper_tasks.remarks(frames.read(ledger(study, runs), "s1"))[0]
    assert said == (
        "In the paper learning α and β1 in pretraining is better on 15 of 18 of these tasks by the largest "
        "of 5 runs, on 13 by their mean; of independent tasks chance gives as many in 0.38% and in 4.8%."
    )


def test_the_page_and_markdown_hold_all_of_it_with_an_id_for_each_table() -> None:
    answer = of_theirs()
    page, text = pages.page(answer), pages.markdown(answer)
    for part in ("Metric by metric", "The best of the seeds", "Table 7 (mean of 5 runs)"):
        assert part in page
    assert "Metric by metric" in text
    assert "88.2, best 88.3 ‡" in page
    assert paper_downstream.WRONG[2].split(" (")[0] in page
    live = get(served(ledger(spec(), results())), "/studies/s1").text
    assert "The best of the seeds" in live
    assert text_of(live, "by-metric").startswith("Metric by metric")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
