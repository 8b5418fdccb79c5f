"""Do flags change what they should, and is it told or refused where they do not?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import output
from orchestrator.ground.errors import BadSpec
from orchestrator.study.canonical import spec_hash
from orchestrator.study.overrides import Overridden, override
from orchestrator.study.resources import Resources
from orchestrator.study.spec import After, Arm, Parameter, StudySpec
from studies import catalog
from tests.orchestrator.conftest import Orch

DEEP = 100_000
STEPS_ONLY = (
    "What else hangs on it stays as it was, unless set too: warm-up, evaluations, checkpoints, rungs, η̂ and "
    "its grids, targets."
)


def study(*arms: Arm, **rest: Any) -> StudySpec:
    return StudySpec(name="s", entrypoint="orchestrator.rehearsal", arms=arms, **rest)


def fixed(name: str, **rest: Any) -> Arm:
    return Arm(name=name, method="fixed", **rest)


def searching(name: str, method: Any, path: str, **rest: Any) -> Arm:
    return Arm(name=name, method=method, space=(Parameter(path=path, low=0.1, high=1),), **rest)


# -- what is laid over what ------------------------------------------------------------------------------


def test_trials_go_to_every_arm_that_searches_without_a_grid() -> None:
    spec = override(catalog.get("bo-vs-guided", "quick"), trials=3).spec
    assert {a.method: a.trials for a in spec.arms if not a.fresh_seeds} == {
        "fixed": 1,
        "gp": 3,
        "grid": 4,
        "random": 3,
    }


def test_search_replaces_gp_and_tpe_and_nothing_else() -> None:
    before = catalog.get("bo-vs-guided", "quick")
    after = override(before, search="random").spec
    assert {(a.method, b.method) for a, b in zip(before.arms, after.arms, strict=True)} == {
        ("fixed", "fixed"),
        ("gp", "random"),
        ("grid", "grid"),
        ("random", "random"),
    }


def test_name_replicates_and_values_are_laid_over() -> None:
    spec = override(
        catalog.get("bo-vs-guided", "quick"),
        name="mine",
        replicates=2,
        sets=["data.pair=fi-en", "optimizer.beta1=0.8", "guidance.learn=[]", "rehearsal.pace_s=0", "a.b=x=y"],
    ).spec
    assert (spec.name, spec.replicates) == ("mine", 2)
    assert (spec.base["data"]["pair"], spec.base["optimizer"]["beta1"]) == ("fi-en", 0.8)
    assert spec.base["optimizer"]["alpha"] == 1.0
    assert (spec.base["guidance"]["learn"], spec.base["a"]) == ([], {"b": "x=y"})


def test_resources_are_those_of_the_flags_and_else_of_the_spec() -> None:
    before = catalog.get("eta-sweep", "smoke")
    before = before.model_copy(update={"resources": Resources(cpus=4, gpus=2)})
    after = override(before, resources=("gpus=0", "tpu=4", "tpu_type=v3-8")).spec
    assert after.resources == Resources(cpus=4, tpu_chips=4, tpu_type="v3-8")
    assert after.model_copy(update={"resources": before.resources}) == before
    assert spec_hash(override(before).spec) == spec_hash(before)
    assert spec_hash(override(before, resources=("cpus=4", "gpus=2")).spec) == spec_hash(before)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("gpus=1.5", "resources.gpus is 1.5. Allowed is a share of one GPU, up to 1, or a whole number"),
        ("gpus=-1", "resources.gpus is -1. Allowed is a number of at least 0."),
        ("cpus=lots", "resources.cpus is 'lots'. Allowed is a number."),
        ("gpuss=1", "--resources gpuss=1 is not understood. Did you mean 'gpus'? Write it like"),
        ("gpus", "--resources gpus is not understood."),
        ("gpus=inf", "resources.gpus is 'inf'. Allowed is a number."),
    ],
)
def test_resources_that_cannot_be_held_are_refused_in_a_sentence(given: str, sentence: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        override(catalog.get("eta-sweep", "smoke"), resources=(given,))
    assert str(refusal.value).startswith(sentence)


def test_gpus_go_before_resources_and_reach_the_spec(orch: Orch) -> None:
    said = orch("study", "spec", "eta-sweep", "--size", "smoke", "--gpus", "2", "--resources", "gpus=1")
    assert json.loads(said.out)["resources"] == {"gpus": 2.0}
    assert orch("study", "spec", "eta-sweep", "--gpus", "-1").err.startswith(
        "orch: --gpus is -1.0. Allowed is a number of at least 0."
    )


def test_no_flag_changes_nothing() -> None:
    spec = catalog.get("bo-vs-guided", "quick")
    assert override(spec) == Overridden(spec, ())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"trials": 0}, "arms[1].trials is 0. Allowed is a number of at least 1. Change it."),
        (
            {"search": "gpp"},
            "arms[1].method is 'gpp'. Did you mean 'gp'? Allowed: fixed, random, sobol, grid, gp, tpe.",
        ),
        ({"sets": ["x"]}, "--set x is not understood. Write it like --set optimizer.beta1=0.8."),
        ({"sets": ["a..b=1"]}, "--set a..b=1 is not understood. Write it like --set optimizer.beta1=0.8."),
        (
            {"sets": ["steps=NaN"]},
            "base.steps is NaN. Allowed are finite numbers. Write one, or leave the key out.",
        ),
    ],
)
def test_a_bad_flag_is_answered_with_its_own_sentence(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        override(catalog.get("bo-vs-guided", "quick"), **flags)
    assert refusal.value.problems[0] == sentence


def test_a_value_of_endless_brackets_is_text() -> None:
    spec = override(catalog.get("bo-vs-guided", "quick"), sets=["x=" + "[" * DEEP]).spec
    assert spec.base["x"] == "[" * DEEP


# -- which arms a setting reaches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting", "path"),
    [
        ("estimators", "steps=800", "steps"),
        ("estimators", "optimizer.name=sgd", "optimizer.name"),
        ("language-pairs", "data.pair=fi-en", "data.pair"),
    ],
)
def test_a_setting_that_reaches_no_arm_is_refused(name: str, setting: str, path: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        override(catalog.get(name, "quick"), sets=[setting])
    assert refusal.value.problems == [
        f"{setting} would change nothing: every arm of {name}-quick states or searches {path} itself. "
        f"Choose a study or a size that leaves it open, or write a spec file (docs/specs.md)."
    ]


def test_a_setting_that_some_arms_do_not_take_says_which() -> None:
    spec = study(
        fixed("plain"),
        fixed("states", config={"a": {"b": 1}}),
        searching("searches", "random", "a.b"),
        fixed("found", after=After(arm="searches")),
        fixed("follows", after=After(arm="plain")),
        fixed("of-them", after=After(arm="states")),
        base={"a": {"b": 0, "c": 0}},
    )
    assert override(spec, sets=["a.b=2", "a.c=2"]).notes == (
        "a.b=2 reaches 2 of 6 arms. The others state or search it themselves: states, searches, found and 1 "
        "more.",
    )


def test_each_value_of_an_object_is_looked_at() -> None:
    spec = study(fixed("one", config={"a": {"b": 1}}), fixed("two", config={"a": {"b": 2}}))
    with pytest.raises(BadSpec, match=r"^a\.b=x would change nothing"):
        override(spec, sets=['a={"b": "x", "c": 3}'])
    assert override(spec, sets=['a={"c": 3}']).notes == ()


def test_a_later_setting_takes_an_earlier_ones_place() -> None:
    assert override(study(fixed("one")), sets=["a.b=1", "a=5"]) == Overridden(
        study(fixed("one"), base={"a": 5})
    )


def test_where_a_bayesian_search_begins_is_a_change_and_where_another_does_is_none() -> None:
    found = override(study(searching("bo", "gp", "a.b"), base={"a": {"b": 0.2}}), sets=["a.b=0.5"])
    assert found.notes == (
        "a.b=0.5 reaches 0 of 1 arms. The others state or search it themselves: bo. A Bayesian search of it "
        "begins there.",
    )
    with pytest.raises(BadSpec):
        override(study(searching("random", "random", "a.b"), base={"a": {"b": 0.2}}), sets=["a.b=0.5"])


def test_arms_that_replay_without_guidance_take_nothing_set_about_it() -> None:
    guiding = {"guidance": {"estimator": "lagged", "learn": ["alpha"]}}
    spec = study(
        fixed("guided", config=guiding), fixed("replayed", after=After(arm="guided", take="schedule"))
    )
    (note,) = override(spec, sets=["guidance.eta=0.1"]).notes
    assert note.startswith("guidance.eta=0.1 reaches 1 of 2 arms.")
    assert override(spec, sets=["optimizer.alpha=2"]).notes == ()


@pytest.mark.parametrize("path", ["seed", "seed.search"])
def test_a_seed_is_refused_since_every_run_is_given_its_own(path: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        override(study(fixed("one")), sets=[f"{path}=1"])
    assert refusal.value.problems == [
        f"{path}=1 would change nothing: the study gives each run its own seed. Write the spec to a file "
        "with orch study spec, and change seeds.search and seeds.fresh there."
    ]


def test_flags_about_arms_that_a_study_has_none_of_are_refused_together() -> None:
    space = (Parameter(path="a", values=(1.0, 2.0)),)
    grid = Arm(name="grid", method="grid", space=space, trials=2, replicates=1)
    with pytest.raises(BadSpec) as refusal:
        override(study(fixed("one", replicates=1), grid), trials=3, replicates=2, search="tpe")
    assert refusal.value.problems == [
        "trials 3 would change nothing: no arm of s searches without a grid (gp, tpe, random, sobol). "
        "Leave it out, or write a spec file (docs/specs.md).",
        "replicates 2 would change nothing: every arm of s states its own. "
        "Leave it out, or change the spec file.",
        "search tpe would change nothing: no arm of s is of method gp or tpe. "
        "Leave it out, or write a spec file (docs/specs.md).",
    ]


# -- what a setting does to the planned hours -------------------------------------------------------------


def test_steps_scale_the_hours_of_the_arms_that_they_reach() -> None:
    spec = study(
        fixed("one", run_hours=0.5),
        fixed("two", run_hours=0.5, config={"steps": 7}),
        fixed("three", run_hours=3.0, after=After(arm="one")),
        fixed("unknown"),
        base={"steps": 10},
    )
    found = override(spec, sets=["steps=40"])
    assert [arm.run_hours for arm in found.spec.arms] == [2.0, 0.5, 12.0, None]
    assert found.notes == (
        "steps=40 reaches 3 of 4 arms. The others state or search it themselves: two.",
        f"steps goes from 10 to 40, and the planned hours with it. {STEPS_ONLY}",
    )


def test_steps_that_cannot_be_compared_leave_the_hours_and_a_doubt() -> None:
    for base, value in (({}, "40"), ({"steps": 10}, "many"), ({"steps": 10}, "0")):
        found = override(study(fixed("one", run_hours=0.5), base=base), sets=[f"steps={value}"])
        assert found.spec.arms[0].run_hours == 0.5
        assert found.notes == (
            "The hours are those of the study as it stands; setting steps may change them.",
        )


def test_steps_beyond_all_hours_are_refused_in_a_sentence() -> None:
    with pytest.raises(BadSpec, match=r"arms\[0\]\.run_hours is infinite"):
        override(study(fixed("one", run_hours=1e300), base={"steps": 1}), sets=["steps=900000000000000000"])


def test_what_may_change_the_hours_is_named_and_what_cannot_is_not() -> None:
    spec = catalog.get("bo-vs-guided", "quick")
    sets = [
        "model.size=base",
        "data.pair=fi-en",
        "optimizer.alpha=2",
        "optimizer.learning_rate=1",
        "steps=240",
    ]
    assert override(spec, sets=[*sets, "data.level=phrases"]).notes[-1] == (
        "The hours are those of the study as it stands; setting model.size, data.pair may change them."
    )


def test_no_doubt_is_cast_on_hours_that_nobody_stated() -> None:
    found = override(study(fixed("one"), base={"steps": 10}), sets=["steps=20", "model.size=base"])
    assert found.notes == (f"steps goes from 10 to 20. {STEPS_ONLY}",)


# -- on the command line ----------------------------------------------------------------------------------


def test_settings_change_the_planned_cost_and_what_they_leave_is_told(orch: Orch) -> None:
    words = ("study", "plan", "beta1-inits", "--size", "smoke", "--json")
    before = orch(*words).json
    changes = ("--set", "steps=4000", "--set", "model.size=base")
    said = orch(*words, *changes)
    assert said.json["total"]["run_hours"] == pytest.approx(100 * before["total"]["run_hours"])
    assert said.json["wall_hours"] == pytest.approx(100 * before["wall_hours"])
    assert said.json["notes"] == said.err.splitlines()[-2:]
    doubt = "The hours are those of the study as it stands; setting model.size may change them."
    assert said.json["notes"][1] == doubt
    refused = orch(*words[:-1], *changes, "--refuse-above", "0.1")
    assert (refused.code, refused.out) == (output.USAGE, "")
    assert doubt in refused.err
    assert "is planned at" in refused.err


def test_a_setting_that_changes_nothing_is_refused(orch: Orch, home: Path) -> None:
    said = orch("study", "create", "language-pairs", "--size", "smoke", "--pair", "fi-en")
    assert said.code == output.USAGE
    assert "data.pair=fi-en would change nothing" in said.err
    assert not home.exists()


def test_create_tells_what_a_setting_leaves_before_it_begins(orch: Orch, spec: str) -> None:
    said = orch("study", "create", spec, "--set", "optimizer.beta1=0.8", "--no-run")
    assert said.code == 0
    assert said.err.splitlines()[1] == (
        "optimizer.beta1=0.8 reaches 3 of 4 arms. The others state or search it themselves: grid."
    )
