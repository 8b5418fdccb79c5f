"""Do the paper's averages come out of its own cells, and is what we call wrong in them wrong?"""

from __future__ import annotations

import pytest

from dashboards.evidence import paper_downstream as paper

ROWS = pytest.mark.parametrize("row", paper.ROWS)
TABLES = pytest.mark.parametrize("table", [paper.TABLE_6, paper.TABLE_7], ids=["max of 5", "mean of 5"])


def mean(*values: float) -> float:
    return sum(values) / len(values)


def test_the_averages_of_table_6_are_those_of_its_cells_written_out() -> None:
    glue = mean(
        47.9, 92.3, mean(90.3, 86.7), mean(84.0, 84.3), mean(85.6, 89.2), mean(83.8, 84.5), 90.2, 67.9, 57.7
    )
    hard = mean(73.6, mean(98.1, 98.7), 58.0, mean(18.9, 68.5), mean(63.3, 64.3), 64.6, 67.1, 67.3)
    base = paper.TABLE_6["base"]
    assert paper.average(base.glue) == pytest.approx(glue)
    assert paper.average(base.super_glue) == pytest.approx(hard)


@ROWS
def test_the_glue_average_of_table_6_holds_wnli_and_that_of_table_7_does_not(row: paper.Row) -> None:
    six, seven = paper.TABLE_6[row], paper.TABLE_7[row]
    assert paper.average(six.glue) == pytest.approx(six.glue_average, abs=0.2)
    assert paper.average(seven.glue, without=["WNLI"]) == pytest.approx(seven.glue_average, abs=0.2)
    # The other way does not come out, so no third reading is needed.
    assert abs(paper.average(six.glue, without=["WNLI"]) - six.glue_average) > 2
    assert abs(paper.average(seven.glue) - seven.glue_average) > 2
    said = paper.WRONG[1]
    assert f"{paper.average(six.glue, without=['WNLI']):.1f}" in said
    assert f"{paper.average(seven.glue):.1f}" in said


@ROWS
@TABLES
def test_the_super_glue_averages_come_out_of_the_cells(
    table: dict[paper.Row, paper.Printed], row: paper.Row
) -> None:
    assert paper.average(table[row].super_glue) == pytest.approx(table[row].super_glue_average, abs=0.2)


def test_table_3_has_the_mets_and_averages_of_table_6_but_for_three_cells() -> None:
    apart = set()
    for row in paper.ROWS:
        summed, full = paper.TABLE_3[row], paper.TABLE_6[row]
        assert (summed.glue_average, summed.super_glue_average) == (
            full.glue_average,
            full.super_glue_average,
        )
        for mets, cells in ((summed.glue, full.glue), (summed.super_glue, full.super_glue)):
            assert list(mets) == list(cells)
            apart |= {(row, task) for task in mets if abs(mets[task] - paper.met(cells[task])) > 0.06}
        assert mean(*summed.glue.values()) == pytest.approx(summed.glue_average, abs=0.2)
        assert mean(*summed.super_glue.values()) == pytest.approx(summed.super_glue_average, abs=0.2)
    assert apart == {("alpha+beta1", "SST"), ("base", "WiC"), ("alpha+beta1", "MultiRC")}


@ROWS
@TABLES
def test_the_other_way_round_no_exact_match_is_above_its_f1_and_no_met_changes(
    table: dict[paper.Row, paper.Printed], row: paper.Row
) -> None:
    tasks = {**table[row].super_glue, "SQuAD": table[row].squad}
    for task, strict, lenient in (
        ("SQuAD", "exact-match", "f1"),
        ("MultiRC", "exact-match", "f1a"),
        ("ReCoRD", "accuracy", "f1"),
    ):
        turned = paper.turned(task, tasks[task])
        assert tasks[task][strict] > tasks[task][lenient]
        assert turned[strict] < turned[lenient]
        assert paper.met(turned) == pytest.approx(paper.met(tasks[task]))
    assert paper.turned("MRPC", table[row].glue["MRPC"]) == table[row].glue["MRPC"]


def test_no_accuracy_of_cb_is_what_the_larger_of_five_runs_has_there() -> None:
    def possible(value: float) -> bool:
        return any(abs(100 * right / paper.CB_ROWS - value) <= 0.05 for right in range(paper.CB_ROWS + 1))

    assert [possible(paper.TABLE_6[row].super_glue["CB"]["accuracy"]) for row in paper.ROWS] == [False, False]
    turned = paper.turned("CB", paper.TABLE_6["alpha+beta1"].super_glue["CB"])
    assert possible(turned["accuracy"])  # 53 of 56


@ROWS
def test_the_mean_of_qqp_is_above_the_largest_and_no_other_task_s(row: paper.Row) -> None:
    six, seven = paper.TABLE_6[row], paper.TABLE_7[row]
    above = {
        task
        for largest, means in ((six.glue, seven.glue), (six.super_glue, seven.super_glue))
        for task, metrics in means.items()
        if any(value > largest[task][metric] for metric, value in metrics.items())
    }
    assert above == {"QQP"}
    assert all(means <= six.squad[metric] for metric, means in seven.squad.items())
