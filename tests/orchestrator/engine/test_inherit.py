"""Is what a following arm takes of a learned run the thing that its name says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer.run
from orchestrator.engine import inherit
from orchestrator.engine.checks import learned_by_arms, require_runnable
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import TrialRow, TrialState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.plan import plan
from orchestrator.study.spec import Take
from orchestrator.study.spec_files import spec_from_dict
from tests.faults.world import created, small_study, world
from tests.orchestrator.engine.conftest import SOUND, Write
from trainer.config.inherit import curves_in

CONFIG: dict[str, Any] = {
    "steps": 4,
    "seed": 7,
    "schedule": {"name": "inverse-sqrt", "warmup_steps": 1},
    "optimizer": {"learning_rate": 0.04, "alpha": 1.0, "beta1": 0.9},
    "guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"], "eta": 0.5, "every_steps": 2},
}
CURVES = {
    "multiplier": np.array([0.0, 1.0, 0.7, 0.5], np.float32),
    "alpha": np.array([1.0, 0.9, 0.5, 0.6], np.float32),
    "beta1": np.array([0.9, 0.8, 0.6, 0.5], np.float32),
    "eps": np.full(4, 1e-6, np.float32),
}


def left(folder: Path, *, attempts: int = 2, **changes: Any) -> tuple[TrialRow, Storage]:
    """A trial whose last attempt has left its schedule."""
    storage = Storage(folder)
    trial = TrialRow(
        "s1.guided.0.1", "s1", "guided", 0, 1, {}, {**CONFIG, **changes}, TrialState.COMPLETED, 1.0, attempts
    )
    last = storage.folder("s1", trial.trial_id, attempts)
    last.mkdir(parents=True)
    np.savez(last / "schedule.npz", **CURVES)  # type: ignore[arg-type]
    return trial, storage


def taken(take: Take, trial: TrialRow, storage: Storage) -> dict[str, Any]:
    """As a worker is given it, with the path of the file."""
    return storage.placed(inherit.taken(take, trial, storage, trainer.run, "trainer.run"))


def schedule_of(config: dict[str, Any]) -> dict[str, np.ndarray]:
    with np.load(config["schedule"]["name"], allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_learned_schedule_is_replayed_unguided_from_the_studys_own_folder(tmp_path: Path) -> None:
    trial, storage = left(tmp_path)
    config = taken("schedule", trial, storage)
    assert config["guidance"] == {"estimator": "off", "learn": []}
    assert config["schedule"]["name"] == str(tmp_path / "s1" / "schedules" / "s1.guided.0.1.schedule.npz")
    assert {**config, "guidance": 0, "schedule": 0} == {**CONFIG, "guidance": 0, "schedule": 0}
    kept = schedule_of(config)
    assert kept.keys() == CURVES.keys()
    for name, curve in CURVES.items():
        np.testing.assert_array_equal(kept[name], curve)


def test_the_mean_of_what_was_learned_becomes_constant_on_the_studys_own_schedule(tmp_path: Path) -> None:
    config = taken("schedule-mean", *left(tmp_path))
    assert config["optimizer"] == pytest.approx(
        {"learning_rate": 0.04, "alpha": 0.75, "beta1": 0.7}, rel=1e-6
    )
    assert config["schedule"] == CONFIG["schedule"]
    assert config["guidance"]["estimator"] == "off"


def test_the_matched_decay_goes_straight_from_where_the_learned_values_began_to_where_they_ended(
    tmp_path: Path,
) -> None:
    kept = schedule_of(taken("matched-decay", *left(tmp_path)))
    alpha, beta1 = (CURVES[name].astype(np.float64) for name in ("alpha", "beta1"))
    np.testing.assert_allclose(np.log(kept["alpha"]), np.linspace(*np.log(alpha[[0, -1]]), 4), atol=1e-6)
    logits = np.log(kept["beta1"] / (1 - kept["beta1"].astype(np.float64)))
    ends = np.log(beta1[[0, -1]] / (1 - beta1[[0, -1]]))
    np.testing.assert_allclose(logits, np.linspace(*ends, 4), atol=1e-5)
    for name in ("multiplier", "eps"):
        np.testing.assert_array_equal(kept[name], CURVES[name])


def test_a_static_course_beside_what_was_learned_is_in_the_file_and_no_longer_in_the_config(
    tmp_path: Path,
) -> None:
    course = {"name": "linear", "warmup_steps": 1, "course": {"beta1": {"end": 0.5}}}
    guided = {**CONFIG["guidance"], "learn": ["alpha"]}
    trial, storage = left(tmp_path, schedule=course, guidance=guided)
    for take in ("schedule", "matched-decay"):
        config = taken(take, trial, storage)
        assert config["schedule"].keys() == {"name", "warmup_steps"}
        np.testing.assert_array_equal(schedule_of(config)["beta1"], CURVES["beta1"])
    means = taken("schedule-mean", trial, storage)
    assert (means["schedule"], means["optimizer"]["beta1"]) == (course, 0.9)  # of alpha alone


def test_what_is_written_depends_on_the_run_alone_and_is_written_once(tmp_path: Path) -> None:
    files = []
    for attempts in (1, 3):
        trial, storage = left(tmp_path / f"{attempts}", attempts=attempts)
        for take in ("schedule", "matched-decay"):
            file = Path(taken(take, trial, storage)["schedule"]["name"])
            written = file.stat().st_mtime_ns
            assert taken(take, trial, storage)["schedule"]["name"] == str(file)
            assert file.stat().st_mtime_ns == written
            files.append(file)
    assert [f.read_bytes() for f in files[:2]] == [f.read_bytes() for f in files[2:]]
    assert sorted(f.name for f in files[0].parent.iterdir()) == sorted(f.name for f in files[:2])


def test_a_torn_file_is_replaced_by_the_whole_one(tmp_path: Path) -> None:
    trial, storage = left(tmp_path)
    file = Path(taken("schedule", trial, storage)["schedule"]["name"])
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    taken("schedule", trial, storage)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("take", ["schedule", "schedule-mean", "matched-decay"])
def test_a_run_that_left_no_schedule_is_told_of(tmp_path: Path, take: Take) -> None:
    trial, storage = left(tmp_path)
    (storage.folder("s1", trial.trial_id, 2) / "schedule.npz").unlink()
    with pytest.raises(BadSpec, match=r"has no schedule\.npz.*put it back, or cancel the study"):
        taken(take, trial, storage)


def test_curves_by_parameter_group_are_refused(tmp_path: Path) -> None:
    trial, storage = left(tmp_path)
    path = storage.folder("s1", trial.trial_id, 2) / "schedule.npz"
    np.savez(path, **{**CURVES, "alpha": np.ones((4, 2), np.float32)})  # type: ignore[arg-type]
    with pytest.raises(BadSpec, match="has alpha by parameter group"):
        taken("schedule", trial, storage)


# -- as a study asks for it ------------------------------------------------------------------------------
def study(take: str, guidance: dict[str, Any], **more: Any) -> dict[str, Any]:
    guided = {"name": "guided", "method": "fixed", "config": {"guidance": guidance}}
    follows = {"name": "follows", "method": "fixed", "phase": "control", "run_hours": 1.0}
    after = {"after": {"arm": "guided", "take": take}}
    return small_study().model_dump() | {"arms": [{**guided, "run_hours": 2.0}, {**follows, **after, **more}]}


@pytest.mark.parametrize(
    ("guidance", "take", "sentence"),
    [
        ({}, "schedule", "it takes 'schedule' of guided. Its runs learn nothing"),
        (
            {
                "estimator": "held-out",
                "learn": ["alpha"],
                "groups": {"words": "embedding"},
                "hypers": {"alpha": {"per_group": True}},
            },
            "schedule",
            "Its runs learn alpha by parameter group",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_before_anything_runs(
    guidance: dict[str, Any], take: str, sentence: str
) -> None:
    with pytest.raises(BadSpec, match=sentence):
        require_runnable(spec_from_dict(study(take, guidance)))


@pytest.mark.parametrize(
    ("offered", "why"),
    [
        ("", "The entrypoint {name} offers no inherit. Allowed is take: config."),
        ("def inherit(take, config, folder): return [f'No {take} here.']\n", "No schedule here."),
    ],
)
def test_what_an_entrypoint_does_not_hand_on_is_refused_in_its_words(
    module: Write, offered: str, why: str
) -> None:
    name = module(f"{SOUND}{offered}")
    with pytest.raises(BadSpec) as refusal:
        require_runnable(spec_from_dict(study("schedule", {}) | {"entrypoint": name}))
    told = f"arm follows: it takes 'schedule' of guided. {why.format(name=name)}"
    assert refusal.value.problems == [told]


@pytest.mark.parametrize(
    ("answer", "why"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("'all'", "TypeError: it returned 'all'")],
)
def test_an_entrypoint_that_fails_to_say_what_it_learns_or_hands_on_is_a_sentence(
    module: Write, answer: str, why: str
) -> None:
    failing = f"def learns(c): return {answer}\ndef inherit(take, config, folder): return {answer}\n"
    name = module(f"{SOUND}{failing}")
    spec = spec_from_dict(study("schedule", {}) | {"entrypoint": name})
    with pytest.raises(BadSpec, match=rf"{name}\.inherit failed \({why}.*\)\. Mend it\."):
        require_runnable(spec)
    plain = spec_from_dict(study("config", {}) | {"entrypoint": name})
    with pytest.raises(BadSpec, match=rf"{name}\.learns failed on an arm's config \({why}.*\)\. Mend it\."):
        learned_by_arms(plain)


def test_what_each_arm_learns_is_asked_of_the_entrypoint_and_kept_with_the_study(
    tmp_path: Path, module: Write
) -> None:
    own = study("schedule", {"estimator": "held-out", "learn": ["alpha"]})
    assert learned_by_arms(spec_from_dict(own)) == {"guided": ["alpha"], "follows": []}
    name = module(f"{SOUND}def learns(c): return ['rate'] if c.get('guidance') else []\n")
    plain = {**own, "entrypoint": name, "arms": own["arms"][:1]}
    place = world(tmp_path, slots=1)
    row = create(place.store, spec_from_dict(plain), clock=place.clock).study
    assert place.store.study(row.study_id).learns == {"guided": ["rate"]}


def test_an_unknown_take_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(BadSpec) as refusal:
        spec_from_dict(study("replay", {}))
    assert str(refusal.value) == (
        "arms[1].after.take is 'replay'. Allowed: config, schedule, schedule-mean, matched-decay, "
        "blind-course, checkpoint."
    )
    with pytest.raises(BadSpec, match="A confirmation runs the same configuration again"):
        spec_from_dict(study("schedule", {}, phase="confirm"))


def test_a_plan_says_what_is_taken_and_costs_it_as_a_plain_run() -> None:
    planned = plan(
        spec_from_dict(study("schedule", {"estimator": "next-batch", "learn": ["alpha"]})), slots=2
    )
    assert planned.arms[1].waits_for == "guided (schedule)"
    assert planned.to_dict()["arms"][1]["take"] == "schedule"
    assert planned.wall_hours == 3.0  # it begins when the guided run has ended


def test_a_study_whose_schedule_file_is_gone_waits_and_goes_on_once_it_is_back(tmp_path: Path) -> None:
    place = world(tmp_path, slots=1)
    made = study("schedule", {"estimator": "held-out", "learn": ["alpha"]})
    created(place, spec_from_dict(made))
    engine, gone = place.engine(), tmp_path / "gone.npz"
    while not (found := list(tmp_path.rglob("attempt-1/schedule.npz"))):
        place.step(engine)
    found[0].rename(gone)
    for _ in range(100):
        tick = place.step(engine)
    assert "has no schedule.npz" in tick.unrunnable["s1"]
    gone.rename(found[0])
    place.drive(place.engine(), "s1")
    assert [t.state for t in place.store.trials("s1")] == [TrialState.COMPLETED] * 2


# -- with the trainer itself ------------------------------------------------------------------------------
@pytest.mark.slow  # compiles three programs; by parts in tests/trainer/training/test_step.py and above
def test_a_replay_uses_at_each_step_what_the_guided_run_used_and_costs_a_plain_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jax = pytest.importorskip("jax")
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    guiding = {"estimator": "held-out", "learn": ["alpha", "beta1"], "eta": 0.05}
    base = {
        "steps": 24,
        "eval_every_steps": 24,
        "checkpoint_every_steps": 24,
        "data": {"pairs": 600},
        "model": {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
        "schedule": {"warmup_steps": 2},
        "batch": {"sentences": 8},
        "score": {"dev_sentences": 0},
    }
    arms = [
        {"name": "base", "method": "fixed"},
        {"name": "guided", "method": "fixed", "config": {"guidance": guiding}},
        {"name": "replay", "method": "fixed", "after": {"arm": "guided", "take": "schedule"}},
    ]
    made = {"name": "real", "entrypoint": "trainer.run", "base": base, "arms": arms}
    place = world(tmp_path / "runs", slots=1)
    created(place, spec_from_dict({**made, "objective": {"metric": "dev_loss"}}))
    before = jax.config.jax_compilation_cache_dir
    try:
        place.drive(place.engine(), "s1")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    trials = {t.arm: t for t in place.store.trials("s1")}
    guided, replayed = (
        curves_in(place.folder / "s1" / trials[arm].trial_id / "attempt-1") for arm in ("guided", "replay")
    )
    assert np.ptp(guided["alpha"]) > 0.1
    assert guided.keys() == replayed.keys()
    for name, curve in guided.items():
        np.testing.assert_array_equal(replayed[name], curve)
    # The same arithmetic in another program: the last bits may differ.
    assert trials["replay"].value == pytest.approx(trials["guided"].value, rel=1e-4)
    assert trials["base"].value != pytest.approx(trials["guided"].value, rel=1e-3)
    assert trials["replay"].charged["flops"] == trials["base"].charged["flops"]
    assert trials["guided"].charged["flops"] > 1.9 * trials["base"].charged["flops"]
