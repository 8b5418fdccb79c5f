"""Specs refuse what cannot be run, and have one canonical text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from orchestrator.study.canonical import canonical, spec_hash
from orchestrator.study.resources import Resources
from orchestrator.study.spec import LATER, Arm, Parameter, Spec, StudySpec
from tests.faults.world import small_study


def _sentence(call: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        call()
    (error,) = caught.value.errors()
    return str(error["msg"]).removeprefix("Value error, ")


def test_a_range_upside_down() -> None:
    assert _sentence(lambda: Parameter(path="a.b", low=2, high=1)) == (
        "a.b: the range is upside down: low 2 is not below high 1. Swap them."
    )


def test_scales_refuse_what_they_cannot_map() -> None:
    assert _sentence(lambda: Parameter(path="a", low=0, high=1, scale="log")) == (
        "a: a log scale needs low above 0, and low is 0. Raise low, or use scale 'linear'."
    )
    assert _sentence(lambda: Parameter(path="a", low=0.5, high=1, scale="logit")) == (
        "a: a logit scale needs 0 < low < high < 1, and the range is 0.5 to 1. "
        "Narrow it, or use scale 'linear'."
    )


def test_a_grid_counts_its_own_points() -> None:
    space = (Parameter(path="a", values=(1, 2)), Parameter(path="b", values=(1, 2, 3)))
    assert Arm(name="g", method="grid", space=space, trials=6).grid_size == 6
    assert _sentence(lambda: Arm(name="g", method="grid", space=space, trials=5)) == (
        "arm g: the grid has 6 points and trials is 5. Make trials 6, or change the values."
    )


@pytest.mark.parametrize("name", ["../../etc/x", "C:\\", "%2e%2e", "", ".", "a/b", "a b", "x" * 81, "a\0b"])
def test_names_that_could_leave_a_folder_are_refused(name: str) -> None:
    assert "cannot be used" in _sentence(lambda: small_study(name=name))


def test_an_arm_follows_an_earlier_one_only() -> None:
    arms = [{"name": "a", "method": "fixed", "after": {"arm": "b"}}, {"name": "b", "method": "fixed"}]
    assert _sentence(lambda: small_study(arms=arms)) == (
        "arm a: it follows 'b', which is no earlier arm. Earlier arms are: none."
    )


def test_fresh_seeds_are_no_search_seeds() -> None:
    assert _sentence(lambda: small_study(seeds={"search": 1000, "fresh": 1000})) == (
        "Search seeds 1000 to 1000 and fresh seeds 1000 to 1999 overlap. "
        "Move seeds.fresh above the search seeds."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(value: float) -> None:
    assert _sentence(lambda: Parameter(path="a", low=value, high=1)) == "Input should be a finite number"


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2, 8.0])
def test_a_gpu_is_shared_or_several_are_held_whole(gpus: float) -> None:
    assert Resources(gpus=gpus).gpus == gpus


def test_one_and_a_half_gpus_are_refused() -> None:
    assert _sentence(lambda: Resources(gpus=1.5)) == (
        "resources.gpus is 1.5. Allowed is a share of one GPU, up to 1, or a whole number: several are not "
        "shared. Round it up."
    )


def test_a_spec_never_changes() -> None:
    with pytest.raises(ValidationError):
        small_study().name = "other"  # type: ignore[misc]


def test_the_hash_knows_the_content_and_not_the_spelling() -> None:
    spec = small_study()
    shuffled = json.loads(canonical(spec))
    again = StudySpec.model_validate(dict(reversed(shuffled.items())))
    assert spec_hash(again) == spec_hash(spec)
    assert spec_hash(small_study(replicates=2)) != spec_hash(spec)
    assert canonical(again) == json.dumps(json.loads(canonical(spec)), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("resources", "chips"),
    [({}, 1), ({"cpus": 4}, 1), ({"gpus": 2}, 2), ({"tpu_type": "v3-16", "tpu_chips": 4, "hosts": 2}, 8)],
)
def test_what_a_slice_counts(resources: dict[str, Any], chips: float) -> None:
    assert Resources(**resources).chips == chips


def claiming(objective: dict[str, Any] | None = None, **claim: Any) -> StudySpec:
    registered = {"text": "Better.", "challenger": "random", "incumbent": "base", **claim}
    return small_study(claim=registered, objective=objective or {})


def test_a_key_that_came_later_stands_in_the_canonical_text_only_where_it_differs_from_its_default() -> None:
    class Inner(Spec):
        first: int = 1
        second: Annotated[int, LATER] = 2

    class Outer(Spec):
        one: Inner = Inner()
        many: tuple[Inner, ...] = ()
        free: dict[str, int] = Field(default_factory=dict)
        third: Annotated[str | None, LATER] = None

    assert canonical(Outer()) == '{"free":{},"many":[],"one":{"first":1}}'
    given = Outer(one=Inner(second=3), many=(Inner(), Inner(second=4)), free={"second": 2}, third="x")
    assert json.loads(canonical(given)) == {
        "free": {"second": 2},
        "many": [{"first": 1}, {"first": 1, "second": 4}],
        "one": {"first": 1, "second": 3},
        "third": "x",
    }


FIRST = sorted((Path(__file__).parent / "first_specs").glob("*.json"))


@pytest.mark.parametrize("file", FIRST, ids=lambda file: file.stem)
def test_specs_of_the_first_release_keep_their_hashes(file: Path) -> None:
    """Whatever the presets are today: studies with these hashes stand in ledgers."""
    kept = json.loads(file.read_text())
    assert len(kept) == 4
    for size, (hashed, spec) in kept.items():
        assert spec_hash(StudySpec.model_validate(spec)) == hashed, size


def test_a_goal_that_nobody_stated_leaves_no_trace_in_the_canonical_text() -> None:
    silent = json.loads(canonical(claiming(metric="recall")))["claim"]
    assert silent == {
        "text": "Better.",
        "challenger": "random",
        "incumbent": "base",
        "metric": "recall",
        "cost_ratio": None,
    }  # as it was before claims had goals
    stated = claiming(metric="recall", goal="maximize")
    assert json.loads(canonical(stated))["claim"] == {**silent, "goal": "maximize"}
    assert spec_hash(stated) != spec_hash(claiming(metric="recall"))


def controlling(**arm: Any) -> StudySpec:
    fixed = {"method": "fixed", "phase": "control", **arm}
    return small_study(arms=[*(each.model_dump() for each in small_study().arms), fixed])


@pytest.mark.parametrize(
    ("names", "said", "apart"),
    [
        ({"name": "frozen", "row": "Replay"}, {"control": "replay"}, {"control": "longer"}),
        ({"name": "replay"}, {"control": "replay", "role": "other"}, {"control": "other"}),
        ({"name": "frozen"}, {"control": "other"}, {"control": "replay"}),
        # No words tell of the kinds that came later: an arm of such a name is what it always was.
        ({"name": "beta1-b", "row": "plain, β1 = .8"}, {"control": "other"}, {"control": "beta1"}),
        ({"name": "blind", "row": "blind course"}, {"control": "other"}, {"control": "blind-course"}),
        ({"name": "a", "row": "random decay"}, {}, {"control": "random"}),
        ({"name": "b", "row": "+ BO"}, {"role": "bo"}, {"role": "guided"}),
        ({"name": "guided"}, {"role": "guided"}, {"role": "other"}),
        ({"name": "c", "row": "Bayesian"}, {"role": "other"}, {"role": "bo"}),
    ],
)
def test_what_an_arm_controls_for_and_its_role_stand_in_the_canonical_text_where_its_names_do_not_say_so(
    names: dict[str, str], said: dict[str, str], apart: dict[str, str]
) -> None:
    silent = controlling(**names)
    assert not {"control", "role"} & json.loads(canonical(silent))["arms"][-1].keys()
    assert canonical(controlling(**names, **said)) == canonical(silent)
    written = json.loads(canonical(controlling(**names, **apart)))["arms"][-1]
    assert {key: written.get(key) for key in ("control", "role")} == {"control": None, "role": None, **apart}


def test_only_a_control_controls_for_anything() -> None:
    with pytest.raises(
        ValidationError, match=r"its control is 'replay' and its phase is 'search'\. Allowed is"
    ):
        controlling(name="frozen", control="replay", phase="search")


def test_a_claim_on_the_objective_takes_its_goal_and_may_not_contradict_it() -> None:
    upward = {"metric": "loss", "goal": "maximize"}
    assert claiming(upward).goal_of("loss") == "maximize"
    assert claiming(upward, goal="maximize").goal_of("loss") == "maximize"
    assert _sentence(lambda: claiming(upward, goal="minimize")) == (
        "claim.goal is 'minimize', and its metric 'loss' is the study's objective, whose goal is 'maximize'. "
        "Leave claim.goal out, or change objective.goal."
    )


@pytest.mark.parametrize(
    "metric", ["score", "test_score", "exact-match", "test_matthews", "macro-f1", "chrf"]
)
def test_what_a_task_reports_rises(metric: str) -> None:
    assert claiming(metric=metric).goal_of(metric) == "maximize"


@pytest.mark.parametrize(
    "metric", ["exact_match", "rougeL", "reward", "tokens_per_second", "bleu_loss", "brier_score", "lossy"]
)
def test_of_other_names_no_direction_is_guessed(metric: str) -> None:
    assert claiming(metric=metric).goal_of(metric) is None
    assert claiming(metric=metric, goal="maximize").goal_of(metric) == "maximize"


# -- claims of more kinds --------------------------------------------------------------------------------
def in_columns(columns: int = 3, **stated: Any) -> StudySpec:
    """Two rows, each in so many columns, and a claim about the first pair."""
    arms = [
        {"name": f"{row}-{i}", "method": "fixed", "row": row, "column": f"c{i}"}
        for i in range(columns)
        for row in ("plain", "rival")
    ]
    claim = {"text": "x", "challenger": "rival-0", "incumbent": "plain-0", **stated}
    data = {"name": "s", "entrypoint": "orchestrator.rehearsal", "arms": arms, "claim": claim}
    return StudySpec.model_validate(data)


MARGIN = {"kind": "non-inferiority", "time_margin": 0.03}


def test_a_claim_that_states_none_of_the_later_keys_has_the_text_it_always_had() -> None:
    for key in ("kind", "time_margin", "at_least"):
        assert key not in canonical(in_columns())
    assert canonical(in_columns(kind="superiority", time_margin=None)) == canonical(in_columns())
    told = json.loads(canonical(in_columns(**MARGIN, at_least=2)))["claim"]
    assert {key: told[key] for key in (*MARGIN, "at_least")} == {**MARGIN, "at_least": 2}


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        ({"kind": "non-inferiority"}, "claim.time_margin is missing. State how much more training time"),
        ({"time_margin": 0.03}, "claim.time_margin is 0.03 and claim.kind is 'superiority'. A margin goes"),
        ({**MARGIN, "time_margin": 0.0}, "claim.time_margin is 0. Allowed is a share of the training time"),
        ({**MARGIN, "time_margin": -0.1}, "claim.time_margin is -0.1. Allowed is a share"),
        ({**MARGIN, "time_margin": 1.5}, "claim.time_margin is 1.5. Allowed is a share"),
        ({**MARGIN, "metric": "test_bleu"}, "its metric 'test_bleu' is to be high. Time translates"),
        ({**MARGIN, "metric": "reward", "goal": "maximize"}, "its metric 'reward' is to be high."),
        ({"at_least": 0}, "claim.at_least is 0, and the rows of 'rival-0' and 'plain-0' stand together in 3"),
        ({"at_least": 4}, "stand together in 3 columns. Allowed is 1 to 3."),
        (
            {"columns": 1, "at_least": 1},
            "together in 1 column. For a single pair of arms leave claim.at_least",
        ),
    ],
)
def test_a_claim_that_no_test_can_judge_is_refused_in_a_sentence(
    stated: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        in_columns(**stated)


def test_a_claim_at_the_ends_of_what_is_allowed_is_taken() -> None:
    for stated in ({"at_least": 1}, {"at_least": 3}, {**MARGIN, "time_margin": 1.0}):
        assert in_columns(**stated).claim is not None


def test_the_columns_of_a_claim_are_those_where_both_rows_stand_its_own_first_each_pair_once() -> None:
    spec = in_columns()
    arms = [spec.arm(name) for name in ("rival-1", "plain-1")]
    assert [(c, a.name, b.name) for c, (a, b) in spec.cells(*arms).items()] == [
        ("c1", "rival-1", "plain-1"),
        ("c0", "rival-0", "plain-0"),
        ("c2", "rival-2", "plain-2"),
    ]
    shared = [{"name": name, "method": "fixed", "row": name} for name in ("a", "b")]
    other = {"name": "c", "method": "fixed", "row": "c", "column": "c0"}
    both = StudySpec(
        name="s", entrypoint="x", arms=[*shared, other, {**other, "name": "d", "row": "d", "column": "c1"}]
    )
    assert list(both.cells(both.arm("a"), both.arm("b"))) == ["c0"]  # the same two arms in every column
