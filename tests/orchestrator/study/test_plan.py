"""Do plans count, cost and predict what can be worked out by hand?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.ground.errors import BadSpec
from orchestrator.study.plan import TABLE_HEADER, Plan, plan, refuse_above
from orchestrator.study.resources import Resources
from orchestrator.study.spec import After, Arm, Parameter, StudySpec
from studies import catalog

SPACE = (Parameter(path="x", low=0, high=1),)


def study(*arms: Arm, **rest: Any) -> StudySpec:
    return StudySpec(name="s", entrypoint="orchestrator.rehearsal", arms=arms, **rest)


def fixed(name: str, trials: int, hours: float | None, **rest: Any) -> Arm:
    return Arm(name=name, method="fixed", trials=trials, run_hours=hours, **rest)


def gp(name: str, trials: int, hours: float, window: int = 1) -> Arm:
    return Arm(name=name, method="gp", space=SPACE, trials=trials, run_hours=hours, window=window)


def wall(*arms: Arm, slots: int, **rest: Any) -> float:
    predicted = plan(study(*arms, **rest), slots=slots).wall_hours
    assert predicted is not None
    return predicted


@pytest.fixture(scope="module")
def paper() -> Plan:
    return plan(catalog.get("bo-vs-guided", "paper"), slots=8)


def test_the_papers_table_is_613_runs_and_44_486_chip_hours(paper: Plan) -> None:
    assert paper.search.runs == paper.search.trials == 613
    assert paper.search.run_hours == pytest.approx(7.1 + 3 * (708 + 43.2 + 1100))
    assert paper.search.chip_hours == pytest.approx(44_485.6)


def test_confirmations_and_controls_are_counted_apart(paper: Plan) -> None:
    assert paper.confirm.runs == 10 * 3 + 3 * 3  # the base and the claim's two arms on three seeds more
    confirmations = 3 * (7.1 + 3 * (7.08 + 10.8 + 11.0)) + 3 * (7.1 + 7.08 + 10.8)
    assert paper.confirm.run_hours == pytest.approx(confirmations)
    # Random search in three columns and BO over schedules in the claim's, both confirmed there; what the
    # guided choice learned in three forms, the blind course and another β1; plain runs as long as a guided
    # one and of three more lengths: each on the claim's six seeds.
    assert paper.control.runs == 3 * 100 + 100 + 2 * 6 + 5 * 6 + 6 + 3 * 6
    controls = 412 * 7.08 + 5 * 6 * 7.1 + 6 * 10.8 + 6 * 7.1 * (1.15 + 1.3 + 1.7)
    assert paper.control.run_hours == pytest.approx(controls)
    assert paper.total.runs == 613 + 39 + 466
    assert paper.total.chip_hours == pytest.approx(8 * (5560.7 + confirmations + controls))


def test_quick_is_predicted_at_most_9_minutes_on_2_cores() -> None:
    predicted = plan(catalog.get("bo-vs-guided", "quick"), slots=2).wall_hours
    assert predicted is not None
    assert 3 / 60 < predicted <= 9 / 60


def test_a_run_costs_chip_hours_for_every_chip_of_its_slice() -> None:
    planned = plan(
        study(fixed("a", 3, 2.0), resources=Resources(tpu_chips=4, hosts=2, tpu_type="v3-16")), slots=1
    )
    assert (planned.total.run_hours, planned.total.chip_hours) == (6.0, 48.0)


def test_replicates_multiply_runs_and_an_arms_own_come_first() -> None:
    planned = plan(study(fixed("a", 3, 1.0), fixed("b", 2, 1.0, replicates=4), replicates=2), slots=1)
    assert [(a.replicates, a.cost.trials, a.cost.runs) for a in planned.arms] == [(2, 3, 6), (4, 2, 8)]
    assert (planned.total.trials, planned.total.runs, planned.total.run_hours) == (5, 14, 14.0)


def test_runs_that_wait_for_nothing_fill_the_slots() -> None:
    assert wall(fixed("a", 5, 2.0), slots=2) == 6.0  # 2 + 2 + 1 runs
    assert wall(fixed("a", 5, 2.0), slots=5) == 2.0


def test_a_bayesian_arm_of_window_1_takes_its_runs_in_turn_whatever_the_slots() -> None:
    assert wall(gp("a", 4, 3.0), slots=8) == 12.0


def test_a_window_of_2_keeps_2_runs_under_way() -> None:
    assert wall(gp("a", 5, 3.0, window=2), slots=8) == 9.0  # 2 + 2 + 1


def test_random_search_has_no_window() -> None:
    arm = Arm(name="r", method="random", space=SPACE, trials=4, run_hours=3.0)
    planned = plan(study(arm), slots=4)
    assert (planned.arms[0].window, planned.wall_hours) == (None, 3.0)


def test_a_following_arm_begins_when_its_source_has_ended() -> None:
    follower = fixed("b", 2, 1.0, after=After(arm="a"))
    assert wall(fixed("a", 3, 2.0), follower, slots=3) == 3.0
    assert wall(fixed("a", 3, 2.0), follower, slots=2) == 5.0


def test_following_is_by_replicate() -> None:
    # Two slots: 0 to 4 both sources (2 runs of 2 h each, in turn), replicate by replicate their followers.
    assert wall(gp("a", 2, 2.0), fixed("b", 1, 1.0, after=After(arm="a")), slots=2, replicates=2) == 5.0


def test_a_follower_with_more_replicates_follows_the_last_one_of_its_source() -> None:
    assert wall(fixed("a", 1, 2.0), fixed("b", 1, 1.0, after=After(arm="a"), replicates=3), slots=3) == 3.0


def test_the_longest_chain_goes_first() -> None:
    # Slot 1 carries the chain of 4 h; slot 2 the four single runs. In spec order it would take 6 h.
    assert wall(fixed("short", 4, 1.0), gp("long", 4, 1.0), slots=2) == 4.0


def test_an_unknown_cost_is_none_and_said() -> None:
    planned = plan(study(fixed("a", 3, 1.0), fixed("b", 2, None)), slots=1)
    assert planned.total.runs == 5
    assert (planned.total.run_hours, planned.total.chip_hours, planned.wall_hours) == (None, None, None)
    assert planned.notes == (
        "The cost is unknown: no run_hours for b. State what one run is expected to take.",
    )


def test_a_huge_plan_is_costed_and_its_wall_clock_left_out() -> None:
    planned = plan(study(fixed("a", 1_000_000, 1.0), replicates=1000), slots=2)
    assert planned.total.run_hours == 1e9
    assert planned.wall_hours is None
    assert planned.notes == ("The wall clock is not predicted above 100,000 runs; these are 1,000,000,000.",)


def test_a_plan_above_the_limit_is_refused() -> None:
    planned = plan(study(fixed("a", 3, 1.0)), slots=1)
    refuse_above(planned, 3.0)
    with pytest.raises(BadSpec) as refusal:
        refuse_above(planned, 2.9)
    assert str(refusal.value) == (
        "Nothing was started: s is planned at 3 chip-hours, and 2.9 are allowed. "
        "Ask for fewer trials, or raise --refuse-above."
    )


def test_a_plan_of_unknown_cost_is_refused_under_any_limit() -> None:
    with pytest.raises(BadSpec) as refusal:
        refuse_above(plan(study(fixed("a", 3, None)), slots=1), 1e9)
    assert str(refusal.value) == (
        "Nothing was started: whether s stays within 1e+09 chip-hours is unknown. "
        "The cost is unknown: no run_hours for a. State what one run is expected to take."
    )


def test_what_else_is_to_be_said_comes_last_and_takes_no_clock_away() -> None:
    planned = plan(study(fixed("a", 3, 1.0)), slots=1, notes=["It may cost more."])
    assert (planned.wall_hours, planned.notes) == (3.0, ("It may cost more.",))
    with pytest.raises(BadSpec, match=r"unknown\. The cost is unknown: no run_hours for a\."):
        refuse_above(plan(study(fixed("a", 3, None)), slots=1, notes=["It may cost more."]), 1.0)


def test_no_slots_are_refused() -> None:
    with pytest.raises(BadSpec) as refusal:
        plan(study(fixed("a", 1, 1.0)), slots=0)
    assert str(refusal.value) == "A plan was asked for 0 slots. Allowed is 1 or more. Give one per worker."


def test_the_table_has_a_row_an_arm_a_row_a_phase_and_a_total(paper: Plan) -> None:
    rows = {row[0]: row[1:] for row in paper.as_table_rows()}
    assert all(len(row) == len(TABLE_HEADER) for row in paper.as_table_rows())
    assert len(rows) == 23 + 12 + 3 + 1
    assert rows["bo-alpha"] == ("search", "gp", "100", "7.08 h", "708 h", "5,664", "its run before")
    assert rows["confirm-base"] == ("confirm", "fixed", "6", "7.1 h", "42.6 h", "341", "base")
    assert rows["search"] == ("", "", "613", "", "5,561 h", "44,486", "")
    assert rows["total"] == ("", "", "1,118", "", "9,288 h", "74,307", "")


def test_a_plan_as_a_dict_is_json() -> None:
    data = json.loads(json.dumps(plan(study(gp("a", 2, 1.0)), slots=1).to_dict()))
    assert data["arms"][0]["cost"] == {"trials": 2, "runs": 2, "run_hours": 2.0, "chip_hours": 2.0}
    assert data["arms"][0]["window"] == 1
    assert data["wall_hours"] == 2.0
