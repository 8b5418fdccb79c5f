"""Fresh seeds, and trials of arms that others follow, are added to a study that has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.requests import more_seeds
from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.ledger.records import StudyState
from orchestrator.service.creation import ask
from orchestrator.study.spec import StudySpec
from studies import catalog
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}


def again(name: str, after: str) -> dict[str, Any]:
    fresh = {"method": "fixed", "trials": 2, "phase": "confirm", "fresh_seeds": True}
    return {"name": name, **fresh, "after": {"arm": after}}


ARMS: list[dict[str, Any]] = [
    {"name": "base", "method": "fixed"},
    {"name": "random", "method": "random", "trials": 3, "space": [ALPHA]},
    {"name": "repeated", "method": "fixed", "phase": "control", "fresh_seeds": True},
    again("confirm-base", "base"),
    again("confirm-random", "random"),
]
CLAIM = {"text": "x", "challenger": "random", "incumbent": "base"}


def ended(folder: Path, **changes: Any) -> World:
    place = world(folder)
    created(place, small_study(**{"arms": ARMS, "claim": CLAIM, **changes}))
    place.drive(place.engine(), "s1")
    return place


def extended(place: World, more: dict[str, int]) -> str:
    """The answer; what was granted is run to its end."""
    engine = place.engine()
    ask(place.store, place.store.study("s1"), "extend", more, clock=place.clock)
    place.step(engine)
    place.drive(engine, "s1")
    answer = place.store.wishes("s1")[-1].answer
    assert answer is not None
    return answer


def spec_of(place: World) -> StudySpec:
    return StudySpec.stored(place.store.study("s1").spec)


def test_seeds_are_added_to_both_sides_of_the_claim_and_paired(tmp_path: Path) -> None:
    place = ended(tmp_path)
    more = more_seeds(spec_of(place), 3)
    assert more == {"confirm-random": 3, "confirm-base": 3}
    assert extended(place, more) == ""
    assert place.store.study("s1").state is StudyState.COMPLETED
    for arm in more:
        assert [t.config["seed"] for t in place.store.trials("s1", arm=arm)] == [1000, 1001, 1002, 1003, 1004]
    chosen = min(place.store.trials("s1", arm="random"), key=lambda t: t.value or 0.0)
    for trial in place.store.trials("s1", arm="confirm-random"):
        assert trial.config["optimizer"] == chosen.config["optimizer"]
    invariants.check(place.store, "s1")


@pytest.mark.parametrize(
    ("arm", "found"),
    [("base", {"confirm-base": 2}), ("confirm-base", {"confirm-base": 2}), ("repeated", {"repeated": 2})],
)
def test_seeds_of_one_arm_are_those_of_its_choice(tmp_path: Path, arm: str, found: dict[str, int]) -> None:
    assert more_seeds(small_study(arms=ARMS), 2, arm) == found


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (None, "small registered no claim. Name the arm whose choice is to run on more seeds."),
        ("grid", "No arm of small runs what grid chose on fresh seeds. Create one that does."),
    ],
)
def test_where_no_seeds_can_be_added_it_is_said_why(arm: str | None, said: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        more_seeds(small_study(), 2, arm)
    assert str(refusal.value) == said


def test_seeds_for_an_arm_that_is_not_there_are_answered_with_the_arms(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refusal:
        more_seeds(small_study(), 2, "randon")
    assert str(refusal.value) == "small has no arm 'randon'. Did you mean 'random', 'grid' or 'confirm'?"


def test_a_search_that_was_confirmed_is_refused_and_what_is_possible_is_named(tmp_path: Path) -> None:
    place = ended(tmp_path)
    assert extended(place, {"random": 1}) == (
        "confirm-random has already begun with what random found, and more trials of random could change "
        "that. Make a new study with more trials. More seeds for its choice: orch study extend small --arm "
        "random --seeds N"
    )


@pytest.mark.parametrize("arm", ["base", "repeated", "confirm-base"])
def test_an_arm_of_one_configuration_is_extended_whoever_follows_it(tmp_path: Path, arm: str) -> None:
    place = ended(tmp_path)
    before = {t.trial_id: t for t in place.store.trials("s1")}
    assert extended(place, {arm: 2}) == ""
    after = {t.trial_id: t for t in place.store.trials("s1")}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    invariants.check(place.store, "s1")


def test_what_a_guided_run_learned_is_taken_of_the_runs_that_were_there(tmp_path: Path) -> None:
    """More of them could be better, and what follows replays one's schedule."""
    guided = {"guidance": {"estimator": "held-out", "learn": ["alpha"]}}
    arms = [
        {"name": "guided", "method": "fixed", "fresh_seeds": True, "config": guided},
        {"name": "replay", "method": "fixed", "phase": "control", "fresh_seeds": True},
    ]
    arms[1]["after"] = {"arm": "guided", "take": "schedule"}
    place = ended(tmp_path, arms=arms, claim=None)
    answer = extended(place, {"guided": 1})
    assert answer.startswith("replay has already begun with what guided found, and more trials of guided")


def test_the_preset_of_the_first_study_takes_more_seeds() -> None:
    spec = catalog.get("bo-vs-guided", "quick")
    assert more_seeds(spec, 5) == {"confirm-guided-alpha+beta1": 5, "confirm-bo-alpha+beta1": 5}


def prepared_and_averaged() -> list[dict[str, Any]]:
    """Two pretrainings, and in two columns a row that starts from each, run by run."""
    fresh = {"method": "fixed", "trials": 2, "fresh_seeds": True}
    arms: list[dict[str, Any]] = [
        {"name": f"pretrain-{row}", **fresh, "phase": "prepare"} for row in ("plain", "guided")
    ]
    for column in ("a", "b"):
        for row in ("plain", "guided"):
            after = {"arm": f"pretrain-{row}", "take": "checkpoint"}
            arms.append({"name": f"{row}-{column}", "row": row, "column": column, "after": after, **fresh})
    return arms


def test_seeds_for_an_average_come_to_all_columns_and_to_what_their_runs_begin_with(tmp_path: Path) -> None:
    claim = {"text": "x", "challenger": "guided-a", "incumbent": "plain-a", "average": True}
    place = ended(tmp_path, arms=prepared_and_averaged(), claim=claim)
    more = more_seeds(spec_of(place), 1)
    assert more == dict.fromkeys([arm["name"] for arm in prepared_and_averaged()], 1)
    assert extended(place, more) == ""
    for arm in more:
        runs = place.store.trials("s1", arm=arm)
        assert [(t.config["seed"], str(t.state)) for t in runs] == [
            (1000, "completed"), (1001, "completed"), (1002, "completed"),
        ]  # fmt: skip
    invariants.check(place.store, "s1")
