"""What is a population? Members in turn, copies of the best, one bill; the same one whatever befalls it."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.entrypoints import population
from orchestrator.entrypoints.exploit import FACTORS, Exploiting, start_point
from orchestrator.ledger.costs import added, run_hours
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Parameter
from tests.faults import invariants
from tests.faults.world import created, small_study, world
from trainer.protocol import Outcome, Place, Reply, Report

SPACE = (
    Parameter(path="optimizer.alpha", low=0.1, high=10, scale="log"),
    Parameter(path="optimizer.beta1", low=0.1, high=0.99, scale="logit"),
)
SECTION = {
    "members": 5,
    "every_steps": 10,
    "space": [p.model_dump(mode="json", exclude={"values"}) for p in SPACE],
    "metric": "loss",
    "entrypoint": "orchestrator.rehearsal",
}
PLAIN = {
    "seed": 3,
    "steps": 40,
    "eval_every_steps": 10,
    "checkpoint_every_steps": 40,
    "schedule": {"warmup_steps": 4},
    "optimizer": {"alpha": 1.0, "beta1": 0.9},
}
CONFIG = {**PLAIN, "population": SECTION}


def run(
    folder: Path, *, stop_at: int | None = None, resume: str | None = None, **config: Any
) -> tuple[Outcome, list[Report]]:
    folder.mkdir(exist_ok=True)
    if resume is not None:
        (folder / "resume.json").write_text(json.dumps({"checkpoint": resume}))
    said: list[Report] = []

    def reporter(report: Report) -> Reply:
        said.append(report)
        return Reply.SAVE_AND_STOP if len(said) == stop_at else Reply.GO

    return population.run({**CONFIG, **config}, reporter, folder, Place()), said


def history(folder: Path) -> list[dict[str, Any]]:
    stretches: list[dict[str, Any]] = json.loads((folder / population.HISTORY).read_text())
    return [{k: v for k, v in s.items() if k != "checkpoint"} for s in stretches]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, list[Report]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(folder)


# -- who takes over from whom ----------------------------------------------------------------------------


def exploiting(points: list[dict[str, float]], **changes: Any) -> Exploiting:
    given = {
        "space": SPACE,
        "minimize": True,
        "quantile": 0.25,
        "resample": 0.0,
        "seed": 1,
    }
    return Exploiting(points, **{**given, **changes})


@pytest.mark.parametrize("minimize", [True, False])
def test_the_worst_quarter_takes_over_from_the_best_quarter_one_factor_away(minimize: bool) -> None:
    points = [{"optimizer.alpha": 1.0 + i, "optimizer.beta1": 0.5 + i / 20} for i in range(8)]
    objectives = [5.0, 1.0, 8.0, 4.0, 2.0, 7.0, 3.0, 6.0]
    order = sorted(range(8), key=lambda i: objectives[i] if minimize else -objectives[i])
    moves = exploiting(points, minimize=minimize).round(objectives, [f"/kept/{i}" for i in range(8)])
    assert set(moves) == set(order[-2:])
    for move in moves.values():
        assert move.donor in order[:2]
        donors, taken = points[move.donor], move.point
        assert taken["optimizer.alpha"] / donors["optimizer.alpha"] == pytest.approx(
            FACTORS[taken["optimizer.alpha"] < donors["optimizer.alpha"]]
        )
        odds = [p["optimizer.beta1"] / (1 - p["optimizer.beta1"]) for p in (donors, taken)]
        assert min(abs(odds[1] / odds[0] - factor) for factor in FACTORS) < 1e-9


def test_a_point_stays_in_its_range_and_a_round_in_its_own_randomness() -> None:
    points = [{"optimizer.alpha": 9.9, "optimizer.beta1": 0.989} for _ in range(4)]
    state = random.getstate()
    made = [exploiting(points, resample=0.5, seed=7) for _ in range(2)]
    for step in range(10, 200, 10):
        objectives: list[float | None] = [1.0, 2.0, 3.0, None]
        moves = [each.round(objectives, [f"/{step}/{i}" for i in range(4)]) for each in made]
        assert moves[0] == moves[1]
        assert set(moves[0]) == {3}  # the one that diverged
        assert all(p.low <= moves[0][3].point[p.path] <= p.high for p in SPACE if p.low and p.high)
    assert random.getstate() == state


def test_nobody_takes_over_from_one_that_left_no_checkpoint() -> None:
    points = [start_point(SPACE, PLAIN, seed=0, member=i) for i in range(4)]
    assert exploiting(points).round([None] * 4, [None] * 4) == {}


def test_members_begin_at_the_default_and_at_random_points_of_their_own() -> None:
    points = [start_point(SPACE, PLAIN, seed=0, member=i) for i in range(50)]
    assert points[0] == {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9}
    assert len({p["optimizer.alpha"] for p in points}) == 50
    assert 15 < sum(p["optimizer.alpha"] < 1 for p in points) < 35  # log uniform: 1 is in the middle


# -- a population ----------------------------------------------------------------------------------------


def test_all_members_train_all_steps_in_turn_and_all_of_it_is_charged(
    whole: tuple[Path, Outcome, list[Report]],
) -> None:
    folder, outcome, said = whole
    stretches = history(folder)
    assert [(s["member"], s["step"]) for s in stretches] == [
        (member, step) for step in (10, 20, 30, 40) for member in range(5)
    ]
    assert outcome.status == "completed"
    assert outcome.clocks["steps"] == 5 * 40
    assert outcome.clocks["train_s"] == pytest.approx(5 * 40 * 0.05)
    steps = [(r.step, r.kind) for r in said]
    assert max(Counter(steps).values()) == 1
    assert [r.step for r in said] == sorted(r.step for r in said)
    assert [r.step for r in said if r.kind == "eval"] == list(range(10, 201, 10))
    assert [added(a.clocks) for a in said] == sorted((added(a.clocks) for a in said), key=run_hours)


def test_its_values_and_files_are_those_of_its_best_member(whole: tuple[Path, Outcome, list[Report]]) -> None:
    folder, outcome, _ = whole
    last = {s["member"]: s["values"]["loss"] for s in history(folder) if s["step"] == 40}
    best = min(last, key=lambda member: last[member])
    assert outcome.values["loss"] == last[best]
    assert outcome.values["best_member"] == best
    assert outcome.values["members"] == 5
    assert outcome.checkpoint == str(folder / "checkpoint-40.json")
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint-40.json", "population.json"]


def test_a_member_that_takes_over_stands_where_its_donor_stood(
    whole: tuple[Path, Outcome, list[Report]],
) -> None:
    """In a rehearsal the loss above its floor relaxes from the donor's; it shows whose it was."""
    folder, outcome, _ = whole
    stretches = history(folder)
    moved = [
        (before, after)
        for before, after in zip(stretches, stretches[5:], strict=False)
        if before["point"] != after["point"]
    ]
    assert len(moved) == outcome.values["copies"] > 0
    for before, _after in moved:
        worse = sum(
            s["values"]["loss"] <= before["values"]["loss"] for s in stretches if s["step"] == before["step"]
        )
        assert worse >= 4  # of five, two are replaced


@pytest.mark.parametrize("stop_at", [1, 9, 16, 30, 47, 60])
def test_one_that_was_preempted_goes_on_to_the_same_end(
    tmp_path: Path, whole: tuple[Path, Outcome, list[Report]], stop_at: int
) -> None:
    folder, expected, _ = whole
    first, said = run(tmp_path / "first", stop_at=stop_at)
    assert (first.status, len(said)) == ("stopped", pytest.approx(stop_at, abs=2))
    second, _ = run(tmp_path / "second", resume=first.checkpoint)
    assert second.values == expected.values
    assert history(tmp_path / "second") == history(folder)
    assert second.clocks["steps"] < expected.clocks["steps"] or first.checkpoint is None


OFTEN = {"eval_every_steps": 5, "checkpoint_every_steps": 5}  # twice in a stretch


@pytest.mark.parametrize("stop_at", [2, 12, 19, 41, 77, 103])
def test_one_that_is_cut_short_within_a_stretch_trains_nothing_twice(tmp_path: Path, stop_at: int) -> None:
    expected, _ = run(tmp_path / "whole", **OFTEN)
    first, _ = run(tmp_path / "first", stop_at=stop_at, **OFTEN)
    second, _ = run(tmp_path / "second", resume=first.checkpoint, **OFTEN)
    assert second.values == expected.values
    assert history(tmp_path / "second") == history(tmp_path / "whole")
    assert first.clocks["steps"] + second.clocks["steps"] == expected.clocks["steps"]


@pytest.mark.parametrize("nan_at_step", [3, 7, 15])
def test_no_two_checkpoints_or_words_of_a_population_are_of_one_step(
    tmp_path: Path, nan_at_step: int
) -> None:
    _, said = run(tmp_path / "run", **OFTEN, rehearsal={"nan_at_step": nan_at_step})
    assert set(Counter((report.step, report.kind) for report in said).values()) == {1}


def test_a_member_that_diverges_is_replaced_and_a_population_that_does_is_a_result(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path / "all", rehearsal={"nan_at_step": 15})
    assert outcome.status == "diverged"
    assert outcome.reason == "Every member of the population diverged."
    assert outcome.clocks["steps"] == 5 * 15


def test_it_is_no_trial_for_a_gang(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as refusal:
        population.run(CONFIG, lambda report: Reply.GO, tmp_path, Place(1, 2, "127.0.0.1:1"))
    assert str(refusal.value) == (
        "A population trains its members in one process, and this is one of 2 of a gang. "
        "Set resources.hosts to 1."
    )


def test_a_config_without_a_population_is_the_trainers() -> None:
    assert population.check(PLAIN) == []
    assert population.check({**PLAIN, "population": None}) == []
    assert population.shape_key({**PLAIN, "population": None}) == population.shape_key(PLAIN)
    assert population.check({**PLAIN, "stpes": 3})[0].startswith("Unknown key 'stpes'")


def test_members_may_be_trained_by_a_module_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from orchestrator.rehearsal import check, run\ndef shape_key(c): return 'a member'\n"
    (tmp_path / "a_member_of_mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    config = {**PLAIN, "population": {**SECTION, "entrypoint": "a_member_of_mine"}}
    assert population.check(config) == []
    assert population.shape_key(config) == "a member"
    del sys.modules["a_member_of_mine"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"members": 1}, "population.members is 1. Allowed is a number of at least 2. Change it."),
        ({"every_stps": 3}, "Unknown key 'every_stps' in population. Did you mean 'every_steps'? Allowed:"),
        (
            {"every_steps": 40},
            "population.every_steps is 40 and steps is 40. Allowed is fewer than the steps",
        ),
        (
            {"every_steps": 15},
            "population.every_steps is 15 and eval_every_steps is 10. Allowed is a multiple of it",
        ),
        (
            {"entrypoint": "no.such"},
            "population.entrypoint is 'no.such'. The entrypoint 'no.such' cannot be imported (No module",
        ),
        (
            {"space": [{"path": "optimizer.alpha", "values": [1.0]}]},
            "population.space: optimizer.alpha is a list of values. Give low and high, or choices.",
        ),
        ({"space": [{"path": "optimizer.alhpa", "low": 1.0, "high": 2.0}]}, "Unknown key 'optimizer.alhpa'"),
    ],
)
def test_a_population_that_cannot_be_is_refused_with_a_sentence(changes: Any, sentence: str) -> None:
    (first, *_) = population.check({**PLAIN, "population": {**SECTION, **changes}})
    assert first.startswith(sentence)


def test_a_metric_that_no_member_reports_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"population.metric is 'bleu'. Allowed is what the members report: "
    ):
        run(tmp_path / "run", population={**SECTION, "metric": "bleu"})


@pytest.mark.parametrize(
    "fault",
    [
        Fault("*", 0, "preempt", 1),  # its machine is taken again and again, each time within a stretch
        *(Fault("s1.pbt.0.0", 1, "die", reports) for reports in (3, 4, 24, 60)),
    ],
    ids=str,
)
def test_what_a_member_has_saved_within_a_stretch_outlives_its_worker(tmp_path: Path, fault: Fault) -> None:
    spec = small_study(
        arms=[{"name": "pbt", "method": "fixed"}],
        entrypoint="orchestrator.backends.population",
        base={**{k: v for k, v in CONFIG.items() if k != "seed"}, **OFTEN},
    )
    places = [world(tmp_path / str(i), slots=1, faults=faults) for i, faults in enumerate([(), (fault,)])]
    for place in places:
        created(place, spec)
        place.drive(place.engine(), "s1", most_ticks=2000)
        invariants.check(place.store, "s1")
    calm, hurt = (place.store.trial("s1.pbt.0.0") for place in places)
    assert (hurt.state, hurt.values) == (TrialState.COMPLETED, calm.values)
    assert len(places[1].store.attempts("s1.pbt.0.0")) > 1
    again = hurt.charged["steps"] - calm.charged["steps"]
    assert 0 <= again <= (5 if fault.kind == "die" else 0)  # one checkpoint interval; nothing


def test_a_study_holds_one_as_one_trial_on_one_slot_and_survives_its_worker(tmp_path: Path) -> None:
    arms = [
        {"name": "pbt", "method": "fixed"},
        {"name": "confirm", "method": "fixed", "trials": 1, "fresh_seeds": True, "after": {"arm": "pbt"}},
    ]
    spec = small_study(
        arms=arms,
        entrypoint="orchestrator.backends.population",
        base={k: v for k, v in CONFIG.items() if k != "seed"},
    )
    places = [
        world(tmp_path / str(i), slots=1, faults=faults)
        for i, faults in enumerate([(), (Fault("s1.pbt.0.0", 1, "die", 21), Fault("*", 2, "preempt", 8))])
    ]
    for place in places:
        created(place, spec)
        place.drive(place.engine(), "s1")
        invariants.check(place.store, "s1")
        assert [t.state for t in place.store.trials("s1")] == [TrialState.COMPLETED] * 2
    calm, hurt = places
    assert invariants.report(hurt.store, "s1") == invariants.report(calm.store, "s1")
    assert len(hurt.store.attempts("s1.pbt.0.0")) == 3
    for trial in calm.store.trials("s1"):
        kept = list((tmp_path / "0" / "s1" / trial.trial_id).rglob("checkpoint*"))
        assert [path.relative_to(tmp_path / "0").as_posix() for path in kept] == [trial.checkpoint]


# -- whole numbers and choices -------------------------------------------------------------------------------
MIXED = (
    Parameter(path="batch", type="int", low=8, high=64, step=8),
    Parameter(path="layers", type="int", low=-2, high=3),
    Parameter(path="name", choices=("a", "b", "c")),
    Parameter(path="tied", choices=(False, True)),
)


def moved(point: dict[str, Any], *, resample: float, seed: int) -> dict[str, Any]:
    """What the worse of two members takes over of the better."""
    exploiting = Exploiting(
        [point, point], space=MIXED, minimize=True, quantile=0.5, resample=resample, seed=seed
    )
    (move,) = exploiting.round([0.0, 1.0], ["here", "there"]).values()
    assert all(p.takes(move.point[p.path]) for p in MIXED)
    return move.point


def test_a_whole_number_is_moved_by_a_step_at_least_and_a_choice_stays_the_donors() -> None:
    point = {"batch": 16, "layers": 0, "name": "b", "tied": True}
    found = [moved(point, resample=0, seed=seed) for seed in range(40)]
    assert {p["batch"] for p in found} == {8, 24}  # 16 · 0.8 and 16 · 1.2 round to 16
    assert {p["layers"] for p in found} == {-1, 1}
    assert {(p["name"], p["tied"]) for p in found} == {("b", True)}
    large = {**point, "batch": 48, "layers": 3}
    assert {moved(large, resample=0, seed=s)["batch"] for s in range(40)} == {40, 56}  # 38.4 and 57.6
    assert {moved(large, resample=0, seed=s)["layers"] for s in range(40)} == {2, 3}  # 3 is the end


def test_whole_numbers_and_choices_are_drawn_anew_over_their_whole_space() -> None:
    point = {"batch": 16, "layers": 0, "name": "b", "tied": True}
    found = [moved(point, resample=1, seed=seed) for seed in range(300)]
    assert {p["batch"] for p in found} == set(range(8, 65, 8))
    assert {p["layers"] for p in found} == set(range(-2, 4))
    assert {p["name"] for p in found} == {"a", "b", "c"}
    assert {type(p["tied"]) for p in found} == {bool}
    assert found[:5] == [moved(point, resample=1, seed=seed) for seed in range(5)]


def test_the_first_member_begins_at_the_default_in_its_types() -> None:
    config = {"batch": 32, "layers": 1, "name": "c", "tied": True}
    assert json.dumps(start_point(MIXED, config, seed=1, member=0)) == json.dumps(config)
    others = [start_point(MIXED, config, seed=1, member=n) for n in range(1, 30)]
    assert all(p.takes(point[p.path]) for point in others for p in MIXED)


def test_a_population_trains_over_whole_numbers_and_choices(tmp_path: Path) -> None:
    space = [
        {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"},
        {"path": "batch.sentences", "type": "int", "low": 16, "high": 64},
        {"path": "model.remat", "choices": [False, True]},
    ]
    config = {**CONFIG, "population": {**SECTION, "space": space}}
    assert population.check(config) == []
    outcome, said = run(tmp_path / "run", population={**SECTION, "space": space})
    assert outcome.status == "completed"
    points = [stretch["point"] for stretch in history(tmp_path / "run")]
    assert {tuple(map(type, point.values())) for point in points} == {(float, int, bool)}
    assert all(set(report.hyper) <= {"optimizer.alpha", "batch.sentences"} for report in said)


def test_a_path_that_changes_the_program_is_refused() -> None:
    """Members hand on their parameters."""
    layers = {"path": "model.layers", "type": "int", "low": 1, "high": 2}
    section = {**SECTION, "entrypoint": "trainer.run", "metric": "dev_loss", "space": [layers]}
    assert population.check({**PLAIN, "population": section}) == [
        "population.space: model.layers = 2 is another program than model.layers = 1, and members hand on "
        "their parameters. Allowed are paths that leave the program as it is (its shape_key). Take it out, "
        "or search it with another method."
    ]
