"""Is a gain attributed as the rules say, column by column, on ledgers whose truth is known?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from scipy import stats as theirs

from dashboards.evidence import frames
from dashboards.evidence.attribution import Column, attribution, paired_t_p
from dashboards.evidence.cautions import cautions
from dashboards.evidence.verdict import judge
from dashboards.report.answer import verdict_dict
from orchestrator.cli.findings import detail_lines
from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger

NOISE = (0.010, -0.004, 0.002, -0.006, 0.004, -0.002)  # of the seeds, shared by all rows
JITTER = (0.003, -0.002, 0.001, -0.003, 0.001, -0.001)  # of one row
COLUMNS = ("lamb linear 40", "adamw linear 40", "lamb linear 40 rate x5")
CONTROLS: dict[str, dict[str, Any]] = {
    "replay": {"after": {"arm": "guided-{}", "take": "schedule"}},
    "matched decay": {"after": {"arm": "guided-{}", "take": "matched-decay"}},
    "guided, lagged": {"config": {"guidance": {"estimator": "lagged", "learn": ["alpha"]}}},
    "plain, β1 = .8": {"control": "beta1", "config": {"optimizer": {"beta1": 0.8}}},
    "blind course": {"control": "blind-course", "after": {"arm": "guided-{}", "take": "blind-course"}},
}
THREE = tuple(CONTROLS)[:3]


def study(columns: Sequence[str] = COLUMNS, rows: Sequence[str] = THREE) -> StudySpec:
    """Six seeds each; the search runs stand for themselves, so that all is on fresh seeds."""
    guidance = {"guidance": {"estimator": "held-out", "learn": ["alpha"], "eta": 0.1}}
    arms: list[dict[str, Any]] = []
    for i, column in enumerate(columns):
        made = [
            {"name": f"base-{i}", "row": "base"},
            {"name": f"guided-{i}", "row": "guided", "config": guidance},
            *(
                {"name": f"{row.split()[0].strip(',')}-control-{i}", "row": row, "phase": "control"}
                | {k: _at(v, i) for k, v in CONTROLS[row].items()}
                for row in rows
            ),
        ]
        arms += [
            {"method": "fixed", "trials": 6, "fresh_seeds": True, "column": column, **each} for each in made
        ]
    claim = {"text": "Guided is better.", "challenger": "guided-0", "incumbent": "base-0"}
    data = {"name": "synthetic", "entrypoint": "orchestrator.rehearsal", "base": {"steps": 40}, "arms": arms}
    return StudySpec.model_validate({**data, "claim": claim})


def _at(value: Any, i: int) -> Any:
    return (
        {k: v.format(i) if isinstance(v, str) else v for k, v in value.items()} if "arm" in value else value
    )


def told(level: float, jitter: Sequence[float] = JITTER, *, turn: int = 0) -> list[Run]:
    """A row at this level: the seeds' own noise, and a little of its own."""
    own = [*jitter[turn:], *jitter[:turn]]
    return [Run(level + noise + mine) for noise, mine in zip(NOISE, own, strict=True)]


def attributed(results: dict[str, list[Run]], **kinds: Any) -> tuple[Column, ...]:
    spec = study(**kinds)
    assert spec.claim is not None
    frame = frames.read(ledger(spec, results), "s1")
    return attribution(frame, spec.arm(spec.claim.challenger), spec.arm(spec.claim.incumbent), metric="loss")


def one(replay: list[Run], *, guided: float = 0.8, base: float = 1.0) -> Column:
    """A single column with a single control."""
    results = {"base-0": told(base), "guided-0": told(guided, turn=1), "replay-control-0": replay}
    (column,) = attributed(results, columns=COLUMNS[:1], rows=("replay",))
    return column


@pytest.mark.parametrize(
    ("level", "says", "words"),
    [
        (1.0, "supports", "it keeps 0% of the gain on average, clearly less than half (p = "),
        (1.1, "supports", "it keeps 0% of the gain"),  # worse than the incumbent
        (0.95, "supports", "it keeps 23% of the gain"),
        (
            0.895,
            "open",
            "it keeps 50% of the gain on average; not clear whether more or less than half",
        ),
        (0.85, "undoes", "it keeps 73% of the gain on average, clearly more than half (p = "),
        (0.8, "undoes", "it keeps 100% of the gain"),
        (0.7, "undoes", "it keeps 160% of the gain"),
    ],
)
def test_a_control_supports_the_gain_or_undoes_it(level: float, says: str, words: str) -> None:
    (control,) = one(told(level, turn=2)).controls
    assert (control.says, control.row) == (says, "replay")
    assert words in control.sentence
    assert control.kept == pytest.approx(math.log(level) / math.log(0.8), abs=0.002)
    assert control.contrast is not None
    assert control.contrast.ratio == pytest.approx(0.8 / level, rel=0.001)
    assert control.contrast.interval is not None
    within = f"{control.contrast.interval.low:.3g} to {control.contrast.interval.high:.3g}"
    assert f"(95% interval {within})" in control.sentence


@pytest.mark.parametrize(
    ("row", "level", "words"),
    [
        (
            "plain, β1 = .8",
            0.78,
            ": plain training with β1 .8 gains as much, and nothing has to be learned; ",
        ),
        (
            "plain, β1 = .8",
            0.85,
            ": plain training with β1 .8 gains most of it, and nothing has to be learned; ",
        ),
        (
            "blind course",
            0.78,
            ": what other runs learned gains as much, and nothing has to be learned in the run itself; ",
        ),
        ("replay", 0.78, ", and needs no guidance; "),
    ],
)
def test_what_it_means_that_a_control_gains_as_much_depends_on_the_control(
    row: str, level: float, words: str
) -> None:
    name = f"{row.split()[0].strip(',')}-control-0"
    results = {"base-0": told(1.0), "guided-0": told(0.8, turn=1), name: told(level, turn=2)}
    (column,) = attributed(results, columns=COLUMNS[:1], rows=(row,))
    (control,) = column.controls
    assert control.says == "undoes"
    assert f"){words}guided's loss is " in control.sentence


def test_a_control_of_which_little_is_known_leaves_the_gain_open() -> None:
    wide = (0.15, -0.2, 0.1, -0.15, 0.1, -0.05)
    (control,) = one(told(0.85, wide)).controls
    assert (control.says, control.row) == ("open", "replay")
    assert "not clear whether more or less than half" in control.sentence
    (control,) = one(told(0.8)[:1]).controls  # a single seed
    assert control.says == "open"
    (control,) = one([FAILED] * 6).controls
    assert control.sentence == "replay: no pair of runs can be compared yet."


def test_a_control_that_diverged_once_is_not_sure_to_be_worse() -> None:
    (control,) = one([*told(0.8, turn=2)[:5], diverged(loss=9.0)]).controls
    assert control.says == "open"
    assert control.contrast is not None
    assert control.contrast.n == 6


def test_the_diverged_runs_of_a_control_are_told_and_one_without_results_says_nothing() -> None:
    (control,) = one([*told(1.0, turn=2)[:5], diverged(loss=1.1)]).controls
    assert control.says == "supports"
    assert control.sentence.endswith("on 6 seeds, and 1 of its runs diverged.")
    (control,) = one([diverged(loss=9.0)] * 6).controls
    assert (control.says, control.p) == ("open", None)
    assert "none of its runs completed" in control.sentence
    assert control.sentence.endswith("and 6 of its runs diverged.")


def test_two_controls_of_one_row_in_a_column_are_judged_each() -> None:
    made = study(COLUMNS[:1], rows=("replay",))
    (replay,) = (arm.model_dump() for arm in made.arms if arm.row == "replay")
    arms = [*(arm.model_dump() for arm in made.arms), {**replay, "name": "replay-again"}]
    spec = StudySpec.model_validate({**made.model_dump(), "arms": arms})
    results = {"base-0": told(1.0), "guided-0": told(0.8, turn=1)}
    results |= {"replay-control-0": told(0.8, turn=2), "replay-again": told(1.0, turn=2)}
    judged = judge(frames.read(ledger(spec, results), "s1")).controls
    assert [(c.arm, c.says) for c in judged] == [("replay-control-0", "undoes"), ("replay-again", "supports")]
    alone = sorted(one(told(level, turn=2)).controls[0].p or 0.0 for level in (0.8, 1.0))
    assert sorted(c.p or 0.0 for c in judged) == pytest.approx([2 * alone[0], max(2 * alone[0], alone[1])])
    assert all("over 2 comparisons" in c.sentence for c in judged)


def test_where_there_is_no_gain_nothing_is_attributed() -> None:
    column = one(told(0.7), guided=1.1)
    assert column.sentence.endswith("no gain, so there is nothing to attribute.")
    (control,) = column.controls
    assert (control.says, control.kept, control.p) == ("open", None, None)
    assert "no gain to explain; guided's loss is 1.57 times the control's" in control.sentence


@pytest.mark.parametrize("level", [0.7, 1.0, 1.3])
def test_a_gain_that_may_be_noise_is_attributed_to_nothing(level: float) -> None:
    wide = (0.15, -0.2, 0.1, -0.15, 0.07, -0.05)
    results = {"base-0": told(1.0), "guided-0": told(0.99, wide), "replay-control-0": told(level)}
    (column,) = attributed(results, columns=COLUMNS[:1], rows=("replay",))
    assert column.gain.better
    assert column.sentence.endswith("not significant, so there is nothing to attribute.")
    assert [control.says for control in column.controls] == ["open"]


def test_the_test_is_the_paired_t_test_of_another_library() -> None:
    differences = [0.1, 0.25, -0.05, 0.3, 0.15]
    assert paired_t_p(differences) == pytest.approx(theirs.ttest_1samp(differences, 0).pvalue, rel=1e-12)
    assert (paired_t_p([0.1]), paired_t_p([]), paired_t_p([0.0, 0.0])) == (1.0, 1.0, 1.0)
    assert paired_t_p([0.1, 0.1, 0.1]) == 0.0


def three() -> dict[str, list[Run]]:
    """A gain in every column. The replay keeps some three fifths: p .02, and .06 by Holm."""
    barely = (0.08, 0.06, 0.095, 0.062, 0.085, 0.082)
    results: dict[str, list[Run]] = {}
    for i in range(3):
        results |= {f"base-{i}": told(1.0), f"guided-{i}": told(0.8, turn=1)}
        results[f"replay-control-{i}"] = [
            Run(run.value + by) for run, by in zip(told(0.8, turn=1), barely, strict=True) if run.value
        ]
        results[f"matched-control-{i}"] = told(0.95 if i else 0.8, turn=2)
        results[f"guided-control-{i}"] = told(0.75, turn=3)
    return results


def test_holm_is_over_the_columns_in_which_a_control_stands() -> None:
    made = attributed(three())
    assert [column.column for column in made] == list(COLUMNS)
    for column in made:
        replay = column.controls[0]
        assert replay.contrast is not None
        pairs = zip(replay.contrast.differences, column.gain.differences, strict=True)
        alone = theirs.ttest_1samp([lead - gained / 2 for lead, gained in pairs], 0).pvalue
        assert 0.017 < alone < 0.05
        assert replay.p == pytest.approx(3 * alone)
        assert replay.says == "open"
        assert "over 3 columns" in replay.sentence
    single = attributed({k: v for k, v in three().items() if k.endswith("0")}, columns=COLUMNS[:1])
    assert single[0].controls[0].says == "undoes"


def test_each_column_has_its_gain_its_controls_and_what_was_not_run() -> None:
    made = attributed(three())
    assert [[c.says for c in column.controls] for column in made] == [
        ["open", "undoes", "open"],
        ["open", "supports", "open"],
        ["open", "supports", "open"],
    ]
    assert made[0].gain.mean == pytest.approx(0.2)
    assert made[1].gain.p_holm == pytest.approx(3 / 32)  # the exact test of six pairs, over three columns
    assert "supported against matched decay; open: replay, guided, lagged." in made[1].sentence
    lagged = made[0].controls[2].sentence
    assert "variant of guidance" in lagged
    assert "needs no guidance" not in lagged
    # A column at another learning rate stands in the study, and neither replay nor decay is missing.
    assert made[0].not_run == (
        "random search",
        "constant = mean of the learned schedule",
        "BO over schedule parameters",
        "longer plain training",
        "plain training with β1 .8",
        "blind course of what other runs learned",
    )


def test_the_verdict_names_the_controls_of_its_own_column_and_the_others_in_a_line_each() -> None:
    frame = frames.read(ledger(study(), three()), "s1")
    judged = judge(frame)
    assert [c.says for c in judged.controls] == ["open", "undoes", "open"]
    assert judged.controls == judged.columns[0].controls
    lines = list(detail_lines(verdict_dict(judged), gain=True))
    assert [line.split(":")[0] for line in lines[-2:]] == [f"In {column}" for column in COLUMNS[1:]]
    assert sum(line.startswith("Control (undoes)") for line in lines) == 1


def test_a_reader_is_warned_of_a_gain_that_a_control_has_too() -> None:
    frame = frames.read(ledger(study(), three()), "s1")
    warned = [each for each in cautions(frame, {}) if each.kind == "gain undone"]
    assert [each.arm for each in warned] == ["guided-0"]
    assert warned[0].sentence == (
        "More than half of the gain of guided-0 in lamb linear 40 is there without guidance, too: "
        "matched decay."
    )


def test_another_beta1_and_the_blind_course_are_controls_that_a_verdict_misses() -> None:
    def missed(*rows: str) -> set[str]:
        made = study(COLUMNS[:1], rows=rows)
        return set(judge(frames.read(ledger(made, {}), "s1")).controls_not_run)

    later = {"plain training with β1 .8", "blind course of what other runs learned"}
    assert missed("replay") >= later
    assert not missed("plain, β1 = .8", "blind course") & later


NOT_RUN = {"replay": "replay of the learned schedule", "matched-decay": "matched decay"}


def not_run(**replay: Any) -> set[str]:
    """Which of the two is missing in a study of one replay, of which these keys are changed."""
    made = study(COLUMNS[:1], rows=("replay",))
    arms = [{**arm.model_dump(), **(replay if arm.row == "replay" else {})} for arm in made.arms]
    frame = frames.read(ledger(StudySpec.model_validate({**made.model_dump(), "arms": arms}), {}), "s1")
    missing = judge(frame).controls_not_run
    return {control for control, name in NOT_RUN.items() if name in missing}


def test_a_control_is_found_by_the_words_of_its_row_or_name_where_its_spec_does_not_say_what_it_is() -> None:
    assert not_run() == {"matched-decay"}
    assert not_run(name="frozen", row="what it learned, replayed") == {"matched-decay"}
    assert not_run(row="What It Learned") == {"matched-decay"}  # its name says replay
    assert not_run(name="frozen", row="what it learned") == {"replay", "matched-decay"}
    assert not_run(row="replay of a decay") == set()  # words of both, as they were always read


def test_a_renamed_control_is_found_by_what_its_spec_says() -> None:
    assert not_run(name="frozen", row="what it learned", control="replay") == {"matched-decay"}


def test_a_control_of_a_misleading_name_counts_as_what_its_spec_says_alone() -> None:
    assert not_run(row="replay of a decay", control="matched-decay") == {"replay"}
    assert not_run(row="replay of a decay", control="other") == {"replay", "matched-decay"}
