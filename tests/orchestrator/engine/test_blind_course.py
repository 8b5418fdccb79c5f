"""Does an arm that takes a blind course get the mean of what runs on other seeds and cells learned?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.engine.checks import require_runnable
from orchestrator.engine.tick import Engine
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import TrialRow, TrialState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import ask
from orchestrator.study.canonical import canonical
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from orchestrator.study.spec_files import spec_from_dict
from tests.faults import invariants
from tests.faults.world import ACTS, WRITES, Killed, Tripwire, World, created, small_study, world
from tests.orchestrator.engine.conftest import SOUND, Write
from trainer.config.inherit import curves_in

GUIDED = {"guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"], "eta": 0.3}}
LONG = {**GUIDED, "steps": 80, "schedule": {"warmup_steps": 8}}
FRESH: dict[str, Any] = {"method": "fixed", "fresh_seeds": True, "run_hours": 1.0}
AFTER = {"arm": "here", "take": "blind-course", "others": ["there"]}


def study(
    *, here: int = 2, there: int = 1, blind: int = 2, after: dict[str, Any] | None = None, **more: Any
) -> StudySpec:
    """Two cells of guided runs on fresh seeds, of 40 and of 80 steps, and a blind course in the first."""
    arms = [
        {"name": "here", "trials": here, "config": GUIDED, **FRESH},
        {"name": "there", "trials": there, "config": LONG, **FRESH, **more.pop("other_cell", {})},
        {"name": "blind", "trials": blind, "phase": "control", "after": after or AFTER, **FRESH, **more},
    ]
    return spec_from_dict(small_study().model_dump(mode="json") | {"arms": arms})


def engine(place: World, wire: Tripwire) -> Engine:
    place.lives += 1
    store, backend = wire.around(place.store, WRITES), wire.around(place.backend, ACTS)
    storage = wire.around(Storage(place.folder), ("keep",))
    return Engine(store, backend, clock=place.clock, storage=storage, who="one")


def driven(place: World, spec: StudySpec, wire: Tripwire | None = None) -> dict[str, list[TrialRow]]:
    created(place, spec)
    place.drive(engine(place, wire or Tripwire()), "s1")
    invariants.check(place.store, "s1")
    return by_arm(place)


def by_arm(place: World) -> dict[str, list[TrialRow]]:
    trials = place.store.trials("s1")
    return {arm: [t for t in trials if t.arm == arm] for arm in dict.fromkeys(t.arm for t in trials)}


def learned(place: World, trial: TrialRow) -> dict[str, np.ndarray]:
    return curves_in(place.folder / "s1" / trial.trial_id / f"attempt-{trial.attempts}")


def test_each_follower_replays_unguided_the_mean_of_the_runs_on_other_seeds_than_its_own(
    tmp_path: Path,
) -> None:
    place = world(tmp_path)
    trials = driven(place, study())
    assert [t.config["seed"] for t in trials["here"] + trials["there"]] == [1000, 1001, 1000]
    long = {n: c.astype("float64") for n, c in learned(place, trials["there"][0]).items()}
    pool = {1000: trials["here"][1:], 1001: trials["here"][:1]}  # by the follower's seed, of its own cell
    for trial in trials["blind"]:
        seed = trial.config["seed"]
        assert trial.state is TrialState.COMPLETED
        assert trial.config["guidance"] == {"estimator": "off", "learn": []}
        assert trial.config["steps"] == 40
        file = _file(place, trial)
        assert file == tmp_path / "s1" / "schedules" / f"{trial.trial_id}.blind-course.npz"
        with np.load(file) as kept:
            made = {name: kept[name].astype("float64") for name in kept.files}
        (own,) = (learned(place, t) for t in pool[seed])
        logs, logits = np.log(own["alpha"]), np.log(own["beta1"] / (1 - own["beta1"]))
        if seed == 1001:  # the other cell ran on 1000: every second of its 80 steps
            logs = (logs + np.log(long["alpha"][::2])) / 2
            logits = (logits + np.log(long["beta1"] / (1 - long["beta1"]))[::2]) / 2
        np.testing.assert_allclose(np.log(made["alpha"]), logs, atol=1e-6)
        np.testing.assert_allclose(np.log(made["beta1"] / (1 - made["beta1"])), logits, atol=1e-5)
        np.testing.assert_array_equal(made["multiplier"], own["multiplier"])
    assert len({t.config["schedule"]["name"] for t in trials["blind"]}) == 2


def _file(place: World, trial: TrialRow) -> Path:
    return Path(Storage(place.folder).placed(trial.config)["schedule"]["name"])


def outcome(place: World) -> tuple[str, dict[str, bytes]]:
    report = json.dumps(invariants.report(place.store, "s1")).replace(str(place.folder), "ROOT")
    files = {path.name: path.read_bytes() for path in (place.folder / "s1" / "schedules").iterdir()}
    return report, files


@pytest.mark.parametrize("before", [False, True], ids=["after the call", "before the call"])
def test_whoever_dies_at_any_write_is_followed_by_one_who_writes_the_same_bytes(
    tmp_path: Path, before: bool
) -> None:
    undisturbed, wire = world(tmp_path / "undisturbed"), Tripwire()
    driven(undisturbed, study(), wire)
    told = outcome(undisturbed)
    for at in range(1, wire.count + 1):
        place = world(tmp_path / f"{at}")
        created(place, study())
        try:
            place.drive(engine(place, Tripwire(at=at, before=before)), "s1")
        except Killed:
            place.drive(place.next_life(), "s1")
        invariants.check(place.store, "s1")
        assert outcome(place) == told, f"{wire.seen[at - 1]} (call {at})"


def test_a_follower_waits_for_all_the_arms_that_it_takes_of(tmp_path: Path) -> None:
    place = world(tmp_path, slots=1)
    driven(place, study())
    begun = {t.trial_id: place.store.attempts(t.trial_id)[0].started_at for t in place.store.trials("s1")}
    ended = max(t.ended_at or 0.0 for arm in ("here", "there") for t in by_arm(place)[arm])
    assert min(at for trial, at in begun.items() if ".blind." in trial) >= ended


def test_a_follower_with_no_result_on_another_seed_is_written_down_as_stopped(tmp_path: Path) -> None:
    """The one run on 1001 is lost as often as is allowed, so that the follower on 1000 has no other seed."""
    place = world(tmp_path, faults=[Fault("s1.here.0.1", 0, "die", 1)])
    trials = driven(place, study())
    assert [t.state for t in trials["blind"]] == [TrialState.STOPPED, TrialState.COMPLETED]
    assert trials["blind"][0].reason == (
        "No valid result on another training seed than its own in here, there, which it follows."
    )


def test_a_study_whose_other_cells_file_is_gone_waits_and_goes_on_once_it_is_back(tmp_path: Path) -> None:
    place = world(tmp_path, slots=1)
    created(place, study())
    life, gone = place.engine(), tmp_path / "gone.npz"
    while not (found := list(tmp_path.rglob("s1.there.0.0/attempt-1/schedule.npz"))):
        place.step(life)
    found[0].rename(gone)
    for _ in range(100):
        tick = place.step(life)
    assert "s1.there.0.0/attempt-1 has no schedule.npz" in tick.unrunnable["s1"]
    gone.rename(found[0])
    place.drive(place.engine(), "s1")
    assert {t.state for t in place.store.trials("s1")} == {TrialState.COMPLETED}


# -- what is refused -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kinds", "sentence"),
    [
        (
            {"here": 1, "blind": 1},
            "arm blind: it takes 'blind-course', the mean of runs on other training seeds than its own, and "
            "here, there will train on its own alone (1000). Follow arms with more trials on fresh seeds.",
        ),
        (
            {"other_cell": {"config": {"steps": 80, "schedule": {"warmup_steps": 8}}}},
            "arm blind: it takes 'blind-course' of there. Its runs learn nothing (guidance.estimator, "
            "guidance.learn). Follow a guided arm.",
        ),
        (
            {"other_cell": {"config": {"guidance": {"estimator": "held-out", "learn": ["alpha"]}}}},
            "arm blind: it takes 'blind-course' of there. Its runs do not learn beta1, as those of here do. "
            "Leave it out.",
        ),
    ],
)
def test_what_has_no_course_to_take_is_refused_before_anything_runs(
    kinds: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadSpec) as refusal:
        require_runnable(study(**kinds))
    assert refusal.value.problems == [sentence]


def test_a_course_of_search_runs_needs_no_second_seed_of_theirs() -> None:
    data = study().model_dump(mode="json")
    data["arms"][0] |= {"fresh_seeds": False, "trials": 1}
    data["arms"][2]["after"]["others"] = []
    require_runnable(spec_from_dict(data))


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (
            {"arm": "here", "take": "schedule", "others": ["there"]},
            "after.others is given and after.take is 'schedule'. Allowed are others with take "
            "'blind-course'. Leave others out, or take 'blind-course'.",
        ),
        (
            {"arm": "here", "take": "blind-course", "others": ["there", "here"]},
            "after names 'here' twice, in arm and others. Name each arm once.",
        ),
        (
            {"arm": "here", "take": "blind-course", "others": ["later"]},
            "arm blind: it follows 'later', which is no earlier arm. Earlier arms are: here, there.",
        ),
    ],
)
def test_others_that_make_no_sense_are_refused_with_what_to_do(after: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        study(after=after)
    assert sentence in str(refusal.value)


def test_a_confirmation_takes_no_blind_course() -> None:
    with pytest.raises(BadSpec, match="A confirmation runs the same configuration again"):
        study(phase="confirm")


def test_the_others_stand_in_the_canonical_text_where_there_are_some() -> None:
    plain = study(after={"arm": "here", "take": "blind-course"})
    assert json.loads(canonical(plain))["arms"][2]["after"] == {"arm": "here", "take": "blind-course"}
    assert json.loads(canonical(study()))["arms"][2]["after"] == AFTER
    assert StudySpec.stored(json.loads(canonical(study()))) == study()


def test_runs_that_are_added_later_are_left_out_of_the_courses(tmp_path: Path) -> None:
    """So that more seeds can be added to an arm that a blind course takes of."""
    place = world(tmp_path)
    driven(place, study())
    clock = place.clock
    ask(place.store, place.store.study("s1"), "extend", {"here": 1, "there": 1, "blind": 1}, clock=clock)
    living = place.next_life()
    place.step(living)
    place.drive(living, "s1")
    assert place.store.wishes("s1")[-1].answer == ""
    trials = by_arm(place)
    assert {arm: len(of) for arm, of in trials.items()} == {"here": 3, "there": 2, "blind": 3}
    with np.load(_file(place, trials["blind"][2])) as kept:
        made = np.log(kept["alpha"].astype("float64"))
    pool = [np.log(learned(place, t)["alpha"].astype("float64")) for t in trials["here"][:2]]
    pool.append(np.log(learned(place, trials["there"][0])["alpha"].astype("float64"))[::2])
    np.testing.assert_allclose(made, np.mean(pool, axis=0), atol=1e-6)


def test_a_plan_begins_a_blind_course_when_the_last_of_its_arms_has_ended() -> None:
    planned = plan(study(there=5), slots=7)
    assert planned.arms[2].waits_for == "here (blind-course) and 1 more"
    assert planned.wall_hours == 2.0
    assert plan(study(there=5), slots=1).wall_hours == 9.0
    longer = study(other_cell={"run_hours": 5.0})
    assert plan(longer, slots=4).wall_hours == 6.0


# -- other people's entrypoints --------------------------------------------------------------------------
OWN = """
from trainer.protocol import Outcome
def learns(config): return ['alpha']
def inherit(take, config, folder, *others):
    if folder is None or take != 'blind-course': return dict(config)
    return {**config, 'pool': [len(o) for o in others], 'seen': [p.parent.name for p in others[0]]}
def run(config, reporter, workdir, place): return Outcome('completed', {'loss': 1.0}, {})
"""


def test_an_entrypoint_is_given_the_folders_of_the_pooled_runs_by_arm_and_seed(
    tmp_path: Path, module: Write
) -> None:
    place = world(tmp_path)
    spec = study().model_copy(update={"entrypoint": module(f"{SOUND}{OWN}")})
    trials = driven(place, spec)
    assert [(t.config["pool"], t.config["seen"]) for t in trials["blind"]] == [
        ([1], ["s1.here.0.1"]),
        ([2], ["s1.here.0.0", "s1.there.0.0"]),
    ]


def test_an_inherit_of_three_parameters_refuses_the_course_in_its_own_words(module: Write) -> None:
    three = (
        "def inherit(take, config, folder): return config if take == 'schedule' else [f'No {take} here.']\n"
    )
    spec = study().model_copy(update={"entrypoint": module(f"{SOUND}{three}")})
    with pytest.raises(BadSpec) as refusal:
        require_runnable(spec)
    assert refusal.value.problems == ["arm blind: it takes 'blind-course' of here. No blind-course here."]
