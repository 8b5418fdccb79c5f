"""Whatever an entrypoint, which is somebody's own code, does when it is asked: a sentence, and soon?"""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.engine.checks import ENOUGH, expected_starts, programs, require_runnable
from orchestrator.ground.errors import BadSpec
from orchestrator.search import check_arm
from orchestrator.study.configs import default_point, expected_configs, laid_over
from orchestrator.study.entrypoint import find_entrypoint, inherit_of
from orchestrator.study.spec import MOST_TRIALS, StudySpec
from tests.faults.world import small_study
from tests.orchestrator.engine.conftest import SOUND, Write

SOURCES = ("config", "schedule-mean", "config")  # what the arms of a chain take in turn


def _problems(spec: StudySpec) -> list[str]:
    with pytest.raises(BadSpec) as caught:
        require_runnable(spec)
    return caught.value.problems


def test_a_seed_of_ones_own_is_refused_wherever_it_stands(module: Write) -> None:
    study = small_study(entrypoint=module(SOUND))
    first, second, *_ = study.arms
    space = ({"path": "seed", "low": 0, "high": 9},)
    data = study.model_dump(mode="json")
    data["base"]["seed"] = 7
    data["arms"][0] |= {"config": {"seed": 8}}
    data["arms"][1] |= {"method": "random", "space": space}
    said = _problems(StudySpec.model_validate(data))
    assert [sentence.split(", which")[0] for sentence in said] == [
        "base.seed is 7",
        f"arm {first.name}: config.seed is 8",
        f"arm {second.name}: it searches seed",
    ]
    assert all(sentence.endswith("state seeds.search and seeds.fresh.") for sentence in said)


def test_a_claim_on_a_metric_of_unknown_direction_is_refused(module: Write) -> None:
    claim = {"text": "Better.", "challenger": "random", "incumbent": "base", "metric": "reward"}
    entrypoint = module(SOUND)
    assert _problems(small_study(entrypoint=entrypoint, claim=claim)) == [
        "claim.metric is 'reward', and whether high or low is better is not known: it is not the study's "
        "objective (loss), and its name does not say it. Add claim.goal. Allowed: minimize, maximize."
    ]
    for known in ({"goal": "maximize"}, {"metric": "recall"}, {"metric": "loss"}):
        require_runnable(small_study(entrypoint=entrypoint, claim={**claim, **known}))
    rewarded = {"metric": "reward", "goal": "maximize"}
    require_runnable(small_study(entrypoint=entrypoint, claim=claim, objective=rewarded))


def test_arms_of_one_shape_share_a_program(module: Write) -> None:
    study = small_study(entrypoint=module(f"{SOUND}def shape_key(c): return str(c['optimizer']['alpha'])\n"))
    assert len(study.arms) > 1
    assert programs(study) == 1
    first, *others = study.arms
    apart = first.model_copy(update={"config": {"optimizer": {"alpha": 7.0}}})
    assert programs(study.model_copy(update={"arms": (apart, *others)})) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("import no_such_library\n", "No module named 'no_such_library'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_sentence(module: Write, text: str, why: str) -> None:
    name = module(text)
    (problem,) = _problems(small_study(entrypoint=name))
    assert problem.startswith(f"The entrypoint {name!r} cannot be imported ({why}")


@pytest.mark.parametrize("name", ["..", ".relative", "a b", "/etc/passwd", "", "a..b"])
def test_a_name_that_is_no_module_s_is_a_sentence(name: str) -> None:
    (problem,) = _problems(small_study(entrypoint=name))
    assert problem.startswith(f"The entrypoint {name!r} cannot be imported (it is no dotted name). Name a ")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("raise KeyError('lr')", "KeyError: 'lr'"),
        ("return 'all is well'", "TypeError: it returned 'all is well', which is no list of sentences"),
        ("return None", "TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_check_that_fails_is_a_sentence(module: Write, answer: str, why: str) -> None:
    name = module(SOUND.replace("return []", answer))
    assert _problems(small_study(entrypoint=name)) == [
        f"arm base: {name}.check failed ({why}). Mend it, or the config that it was asked about."
    ]


def test_a_shape_key_that_fails_is_found_before_anything_runs(module: Write) -> None:
    name = module(SOUND.replace("return ''", "return c['nothing']"))
    (problem,) = _problems(small_study(entrypoint=name))
    assert problem == f"{name}.shape_key failed on a trial's config (KeyError: 'nothing'). Mend it."


def test_thousands_of_mistakes_are_told_in_a_second() -> None:
    """1 MiB holds so many; each was compared with each."""
    began = time.process_time()
    many = [{"path": f"p{i}", "low": 0, "high": 1} for i in range(20_000)]
    assert len(_problems(small_study(arms=[{"name": "a", "method": "random", "space": many}]))) == 20_000
    arms = [{"name": f"a{i}", "method": "fixed", "config": {f"k{i}": 1}} for i in range(1000)]
    assert len(_problems(small_study(arms=arms))) == ENOUGH
    assert time.process_time() - began < 5  # 1 s, and 90 s before


def test_the_largest_study_is_allowed_and_no_larger() -> None:
    arms = [{"name": "a", "method": "fixed", "trials": MOST_TRIALS}]
    require_runnable(small_study(arms=arms))
    with pytest.raises(ValueError, match="less than or equal to 1000000"):
        small_study(arms=[{**arms[0], "trials": MOST_TRIALS + 1}])


def _chain(count: int) -> StudySpec:
    """Each arm follows the one before, and has an optimizer key of its own."""
    guided: dict[str, Any] = {"guidance": {"estimator": "lagged", "learn": ["alpha"]}}
    arms: list[dict[str, Any]] = [{"name": "a0", "method": "fixed", "config": guided}]
    for i in range(1, count):
        after = {"arm": f"a{i - 1}", "take": SOURCES[i % 3]}
        arms.append({"name": f"a{i}", "method": "fixed", "after": after, "config": {"x": {f"k{i}": i}}})
    return small_study(arms=arms)


def test_what_every_arm_of_a_chain_starts_from_is_what_each_starts_from_alone() -> None:
    study = _chain(7)
    together = {arm.name: config for arm, config in expected_configs(study, inherit_of(study.entrypoint))}
    by_hand = laid_over(study.base, study.arms[0].config)
    for i, arm in enumerate(study.arms):
        if i:
            if SOURCES[i % 3] != "config":
                by_hand["guidance"] = {"estimator": "off", "learn": []}
            by_hand = laid_over(by_hand, arm.config)
        assert together[arm.name] == by_hand


def test_a_chain_of_a_thousand_arms_is_checked_at_once(module: Write) -> None:
    arms: list[dict[str, Any]] = [{"name": "a0", "method": "fixed"}]
    arms += [{"name": f"a{i}", "method": "fixed", "after": {"arm": f"a{i - 1}"}} for i in range(1, 1000)]
    study = small_study(arms=arms)
    began = time.process_time()
    require_runnable(study)
    assert programs(study) == 1
    assert expected_starts(study)["a999"] == study.base
    assert time.process_time() - began < 5  # 0.15 s; at 900 arms 43 s where each chain is followed anew


def test_a_study_that_would_be_gigabytes_written_out_is_refused_before_anything_is_imported() -> None:
    many = [{"name": f"a{i}", "method": "fixed"} for i in range(100)]
    study = small_study(entrypoint="nowhere.at_all", base={"note": "x" * 250_000}, arms=many)
    (problem,) = _problems(study)
    assert problem == (
        "The configurations of the study's 100 arms, written out one by one, have more than 20,000,000 "
        "characters. Allowed are so many. Make the base smaller (250,012), or the arms fewer."
    )
    arms: list[dict[str, Any]] = [{"name": "a0", "method": "fixed"}]
    for i in range(1, 300):  # what an arm adds, all that follow it carry on
        note = {f"k{i}": "x" * 900}
        arms.append({"name": f"a{i}", "method": "fixed", "after": {"arm": f"a{i - 1}"}, "config": note})
    (problem,) = _problems(small_study(entrypoint="nowhere.at_all", arms=arms))
    assert problem.startswith("The configurations of the study's 300 arms, written out one by one, have more")


def test_an_entrypoint_that_finds_much_is_not_asked_again(module: Write) -> None:
    name = module(f"{SOUND}asked = []\ndef check(c): asked.append(c); return list(map(str, range(200)))\n")
    space = [{"path": "optimizer.alpha", "low": 0.1, "high": 10}]
    arms = [{"name": "a", "method": "random", "space": space}]
    assert len(_problems(small_study(entrypoint=name, arms=arms))) == 200
    assert len(find_entrypoint(name).asked) == 1


CHOOSY = """
ASKED = []
def check(config):
    ASKED.append((config["name"], config["layers"]))
    return [f"There is no {config['name']}."] if config["name"] == "lion" else []
def shape_key(config):
    return f"{config['name']} {config['layers']}"
def run(*args): ...
"""
CHOICES = [
    {"path": "name", "choices": ["sgd", "adam", "lion"]},
    {"path": "layers", "type": "int", "low": 1, "high": 4},
]


def choosing(entrypoint: str, *, method: str = "random", trials: int = 30) -> StudySpec:
    arm = {"name": "a", "method": method, "space": CHOICES, "trials": trials}
    return small_study(entrypoint=entrypoint, base={"name": "sgd", "layers": 2}, arms=[arm])


def test_the_entrypoint_is_asked_about_every_choice_and_both_ends(module: Write) -> None:
    name = module(CHOOSY)
    assert _problems(choosing(name)) == ["arm a: There is no lion."]
    asked = find_entrypoint(name).ASKED
    assert {a for a, _ in asked} == {"sgd", "adam", "lion"}
    assert {layers for _, layers in asked} == {1, 2, 4}


def test_whole_numbers_and_choices_may_each_be_a_program(module: Write) -> None:
    name = module(CHOOSY)
    assert programs(choosing(name)) == 12
    assert programs(choosing(name, trials=5)) == 5


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (
            {"name": "adamw", "layers": 2},
            "arm a: the default configuration has name = adamw, which is none of its choices (sgd, adam, "
            "lion), and it is trial 0 of every tpe arm. Add it, or change the base.",
        ),
        (
            {"layers": 2},
            "arm a: the default configuration has no text, number, true or false at name, and it is trial 0 "
            "of every tpe arm. Give name a value in the base.",
        ),
        (
            {"name": "sgd", "layers": 2.5},
            "arm a: the default configuration has no whole number at layers, and it is trial 0 of every tpe "
            "arm. Give layers a value in the base.",
        ),
        (
            {"name": "sgd", "layers": 9},
            "arm a: the default configuration has layers = 9, outside the range 1 to 4, and it is trial 0 of "
            "every tpe arm. Widen the range, or change the base.",
        ),
    ],
)
def test_a_default_that_the_space_does_not_hold_is_refused(base: dict[str, Any], said: str) -> None:
    study = choosing("orchestrator.rehearsal", method="tpe").model_copy(update={"base": base})
    assert check_arm(study.arms[0], default_point(study, study.arms[0])) == [said]


def test_a_default_between_two_steps_is_refused() -> None:
    space = [{"path": "batch", "type": "int", "low": 8, "high": 64, "step": 8}]
    study = small_study(
        base={"batch": 20}, arms=[{"name": "a", "method": "tpe", "space": space, "trials": 3}]
    )
    assert check_arm(study.arms[0], default_point(study, study.arms[0])) == [
        "arm a: the default configuration has batch = 20, between the steps of 8 to 64 in steps of 8, and it "
        "is trial 0 of every tpe arm. Change the step, or the base."
    ]
