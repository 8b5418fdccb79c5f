"""Does an arm that takes a checkpoint start from the parameters of the run that it follows, which stay?"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dashboards.evidence import frames, tables
from orchestrator.backends.simulated import Fault
from orchestrator.engine.checks import require_runnable
from orchestrator.engine.inherit import taken
from orchestrator.engine.requests import closed
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import StudyState, TrialRow, TrialState
from orchestrator.runs.folders import Storage
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from orchestrator.study.spec_files import spec_from_dict
from tests.faults.world import World, created, small_study, world
from trainer.config.inherit import inherit

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
TRAINER: dict[str, Any] = {
    "steps": 8,
    "eval_every_steps": 8,
    "checkpoint_every_steps": 8,
    "data": {"pairs": 600, "vocabulary": 200},
    "model": {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "schedule": {"warmup_steps": 0},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 0},
}


def arms(first: dict[str, Any] | None = None, **second: Any) -> list[dict[str, Any]]:
    """Three runs on seeds of their own, and three that begin with theirs."""
    pretrain = {"name": "pretrain", "method": "fixed", "trials": 3, "fresh_seeds": True}
    finetune = {**pretrain, "name": "finetune", "after": {"arm": "pretrain", "take": "checkpoint"}}
    return [{**pretrain, **(first or {})}, {**finetune, **second}]


def study(first: dict[str, Any] | None = None, keep: str = "best", **second: Any) -> StudySpec:
    return spec_from_dict({**small_study().model_dump(), "arms": arms(first, **second), "keep": keep})


def ran(folder: Path, spec: StudySpec) -> tuple[World, dict[str, list[TrialRow]]]:
    place = world(folder)
    created(place, spec)
    place.drive(place.engine(), "s1")
    trials = place.store.trials("s1")
    return place, {arm.name: [t for t in trials if t.arm == arm.name] for arm in spec.arms}


def saved(place: World, trial: TrialRow) -> list[Path]:
    return list(place.folder.glob(f"s1/{trial.trial_id}/attempt-*/checkpoint*"))


# -- which run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["best", "none", "all"])
def test_run_i_starts_from_run_i_whose_parameters_stay_whatever_keep_says(tmp_path: Path, keep: str) -> None:
    place, trials = ran(tmp_path, study(keep=keep, config={"steps": 20}))
    for first, second in zip(trials["pretrain"], trials["finetune"], strict=True):
        assert second.config["init"] == f"runs:s1/{first.trial_id}/attempt-1"
        assert (second.state, second.config["steps"], second.config["seed"]) == (
            TrialState.COMPLETED, 20, first.config["seed"],
        )  # fmt: skip
        assert saved(place, first)
    kept = {"best": 1, "none": 0, "all": 3}[keep]
    assert sum(bool(saved(place, trial)) for trial in trials["finetune"]) == kept


def test_it_goes_on_from_where_that_run_ended(tmp_path: Path) -> None:
    place, trials = ran(tmp_path, study(keep="all"))
    for first, second in zip(trials["pretrain"], trials["finetune"], strict=True):
        before, after = (
            [json.loads(path.read_text())["excess"] for path in saved(place, trial)]
            for trial in (first, second)
        )
        assert max(after) < min(before)
        assert second.value is not None
        assert first.value is not None
        assert second.value < first.value


def test_all_start_from_the_only_run(tmp_path: Path) -> None:
    _, trials = ran(tmp_path, study({"trials": 1}, trials=2))
    assert {t.config["init"] for t in trials["finetune"]} == {"runs:s1/s1.pretrain.0.0/attempt-1"}


@pytest.mark.parametrize("keep", ["best", "none"])
def test_of_an_arm_that_searches_all_start_from_the_best(tmp_path: Path, keep: str) -> None:
    searching = {"method": "random", "trials": 4, "space": [ALPHA], "fresh_seeds": False}
    place, trials = ran(tmp_path, study(searching, keep=keep))
    best = min(trials["pretrain"], key=lambda t: t.value or 0.0)
    assert {t.config["init"] for t in trials["finetune"]} == {f"runs:s1/{best.trial_id}/attempt-1"}
    assert {t.config["optimizer"]["alpha"] for t in trials["finetune"]} == {best.point["optimizer.alpha"]}
    assert [t.trial_id for t in trials["pretrain"] if saved(place, t)] == [best.trial_id]


def test_a_run_whose_number_has_no_result_is_not_started(tmp_path: Path) -> None:
    failed = Fault("s1.pretrain.0.1", 0, "die")  # on every attempt
    place = world(tmp_path, faults=[failed])
    created(place, study())
    place.drive(place.engine(), "s1")
    states = [t.state for t in place.store.trials("s1", arm="finetune")]
    assert states == [TrialState.COMPLETED, TrialState.STOPPED, TrialState.COMPLETED]
    assert place.store.trial("s1.finetune.0.1").reason == (
        "No valid result in run 1 of pretrain, from which it starts."
    )
    assert place.store.trial("s1.finetune.0.2").config["init"] == "runs:s1/s1.pretrain.0.2/attempt-1"


@pytest.mark.fault(4)
def test_a_run_that_was_lost_once_is_gone_on_from_by_its_last_attempt(tmp_path: Path) -> None:
    place = world(tmp_path, faults=[Fault("*", 1, "die", 3)])
    created(place, study(keep="none"))
    place.drive(place.engine(), "s1")
    trials = place.store.trials("s1")
    assert {(t.state, t.attempts) for t in trials} == {(TrialState.COMPLETED, 2)}
    begun = [t.config["init"] for t in trials if t.arm == "finetune"]
    assert begun == [f"runs:s1/s1.pretrain.0.{i}/attempt-2" for i in range(3)]


def test_whoever_confirms_it_begins_with_the_same(tmp_path: Path) -> None:
    spec = study({"trials": 1}, method="random", trials=3, space=[ALPHA], fresh_seeds=False)
    confirm = {"name": "confirm", "method": "fixed", "trials": 2, "phase": "confirm", "fresh_seeds": True}
    spec = spec_from_dict({
        **spec.model_dump(), "keep": "none",
        "arms": [*spec.model_dump()["arms"], {**confirm, "after": {"arm": "finetune"}}],
    })  # fmt: skip
    place, trials = ran(tmp_path, spec)
    every = [*trials["finetune"], *trials["confirm"]]
    assert {t.config["init"] for t in every} == {"runs:s1/s1.pretrain.0.0/attempt-1"}
    assert {t.state for t in every} == {TrialState.COMPLETED}
    assert saved(place, trials["pretrain"][0])


def test_more_runs_may_be_added_to_both_as_numbers_stay(tmp_path: Path) -> None:
    assert closed(study(), "pretrain", begun=lambda arm: True) == ""
    searching = study({"method": "random", "space": [ALPHA], "fresh_seeds": False})
    assert "finetune has already begun with what pretrain found" in closed(
        searching, "pretrain", begun=lambda arm: True
    )


# -- before anything runs ---------------------------------------------------------------------------------


def test_more_runs_than_there_are_to_start_from_are_refused() -> None:
    with pytest.raises(BadSpec) as refusal:
        study(trials=4)
    assert str(refusal.value) == (
        "arm finetune: trials is 4, and each starts from the run of its number in pretrain, which has 3. "
        "Allowed are at most 3; or give pretrain one trial, from which all start."
    )
    study({"method": "random", "space": [ALPHA], "fresh_seeds": False}, trials=4)
    study(trials=2)


def test_others_and_a_confirmation_are_refused() -> None:
    with pytest.raises(BadSpec, match=r"after.others is given and after.take is 'checkpoint'"):
        study(after={"arm": "pretrain", "take": "checkpoint", "others": ["pretrain"]})
    with pytest.raises(BadSpec, match="A confirmation runs the same configuration again"):
        study(phase="confirm")


def trainer(**second: Any) -> StudySpec:
    made = {"name": "real", "entrypoint": "trainer.run", "base": TRAINER, "arms": arms(**second)}
    return spec_from_dict({**made, "objective": {"metric": "dev_loss"}})


def test_a_plan_needs_no_run_and_names_what_is_taken() -> None:
    spec = trainer(config={"steps": 20})
    require_runnable(spec)
    assert plan(spec, slots=2).arms[1].waits_for == "pretrain (checkpoint)"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"model": {"layers": 2}},
            "arm finetune: model.layers is 2 by the config, and the model of init (the run that it follows) "
            "has 1. Leave it out, or begin with another.",
        ),
        (
            {"data": {"vocabulary": 300}},
            "arm finetune: data.vocabulary is 300 and init brings a vocabulary, which is taken as it is. "
            "Leave one of them out.",
        ),
        (
            {"init": "/models/t5"},
            "arm finetune: it takes 'checkpoint' of pretrain. It states an init of its own, which would be "
            "in its place. Leave init out.",
        ),
    ],
)
def test_what_does_not_go_with_the_run_to_come_is_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadSpec) as refusal:
        require_runnable(trainer(config=config))
    assert refusal.value.problems[0] == sentence


def test_a_third_arm_may_go_on_from_the_second() -> None:
    spec = trainer()
    third = {**arms()[1], "name": "third", "after": {"arm": "finetune", "take": "checkpoint"}}
    data = spec.model_dump()
    require_runnable(spec_from_dict({**data, "arms": [*data["arms"], third]}))
    third["config"] = {"model": {"d_model": 32}}
    with pytest.raises(BadSpec, match=r"arm third: model.d_model is 32 by the config.*follows\) has 16"):
        require_runnable(spec_from_dict({**data, "arms": [*data["arms"], third]}))


def test_a_folder_without_parameters_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model": {}}))
    (sentence,) = inherit("checkpoint", TRAINER, tmp_path)
    assert sentence.startswith(f"{tmp_path} is a run's folder and has no params.npz and no vocabulary.model.")


def test_a_file_that_an_entrypoint_names_is_not_copied(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    trial = TrialRow("s1.a.0.0", "s1", "a", 0, 0, {}, {"seed": 1}, TrialState.COMPLETED, 1.0, 2)
    own = SimpleNamespace(inherit=lambda take, config, folder: {**config, "from": f"{folder}/params.bin"})
    config = taken("checkpoint", trial, storage, own, "own")
    assert config == {"seed": 1, "from": "runs:s1/s1.a.0.0/attempt-2/params.bin"}
    assert storage.placed(config)["from"] == str(tmp_path / "s1/s1.a.0.0/attempt-2/params.bin")
    assert not (tmp_path / "s1" / "schedules").exists()


# -- with the trainer itself ------------------------------------------------------------------------------


def test_the_trainer_s_second_arm_begins_with_the_first_one_s_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jax = pytest.importorskip("jax")
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    barely = {"steps": 1, "eval_every_steps": 1, "checkpoint_every_steps": 1}
    both = arms({"trials": 1}, trials=1, config={**barely, "optimizer": {"learning_rate": 1e-12}})
    data = {**trainer().model_dump(), "arms": both}
    place = world(tmp_path / "runs", slots=1)
    created(place, spec_from_dict({**data, "keep": "none"}))
    before = jax.config.jax_compilation_cache_dir
    try:
        place.drive(place.engine(), "s1")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    second, first = place.store.trials("s1")  # by name
    assert (first.state, second.state) == (TrialState.COMPLETED, TrialState.COMPLETED), second.reason
    assert second.value == pytest.approx(first.value, rel=1e-6)  # what one run ends with another begins with
    folder = place.folder / "s1" / first.trial_id / "attempt-1"
    own = json.loads((place.folder / "s1" / second.trial_id / "attempt-1" / "config.json").read_text())
    assert (own["init"], own["data"]["vocabulary"]) == (str(folder), 0)
    assert own["model"]["layers"] == 1
    words = [p.read_bytes() for p in place.folder.glob("s1/*/attempt-1/vocabulary.model")]
    assert len(words) == 2
    assert words[0] == words[1]
    with np.load(folder / "params.npz") as kept:
        assert kept.files
    assert not (folder.parent.parent / second.trial_id / "attempt-1" / "params.npz").exists()


# -- runs that prepare others -------------------------------------------------------------------------------


def preparing(**first: Any) -> StudySpec:
    """Pretraining reports losses, and the tasks after it a score, by which the study judges."""
    objective = {"metric": "score", "goal": "maximize"}
    of = arms(
        {"phase": "prepare", **first}, config={"data": {"task": "numbers"}}, row="base", column="numbers"
    )
    return spec_from_dict({**small_study().model_dump(), "objective": objective, "arms": of, "claim": None})


def test_a_run_that_prepares_others_need_not_report_the_objective(tmp_path: Path) -> None:
    place, trials = ran(tmp_path, preparing())
    assert {(t.state, t.value) for t in trials["pretrain"]} == {(TrialState.COMPLETED, None)}
    assert all("dev_loss" in t.values for t in trials["pretrain"])
    for first, second in zip(trials["pretrain"], trials["finetune"], strict=True):
        assert second.config["init"] == f"runs:s1/{first.trial_id}/attempt-1"
        assert second.value is not None
    assert place.store.study("s1").state == StudyState.COMPLETED


def test_another_runs_lack_of_the_objective_is_a_failure(tmp_path: Path) -> None:
    _, trials = ran(tmp_path, preparing(phase="search"))
    assert {t.state for t in trials["pretrain"]} == {TrialState.FAILED}
    assert "reported no 'score'" in trials["pretrain"][0].reason


def test_it_stands_in_no_row_and_no_column_and_is_planned_apart(tmp_path: Path) -> None:
    spec = preparing(column="text")
    place, _ = ran(tmp_path, spec)
    assert spec.columns() == ("numbers",)
    assert spec.compared == (spec.arm("finetune"),)
    planned = plan(spec, slots=1)
    assert (planned.prepare.runs, planned.search.runs, planned.total.runs) == (3, 3, 6)
    assert [row.name for row in tables.table(frames.read(place.store, "s1")).rows] == ["base"]


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (
            {"phase": "prepare", "method": "random", "space": [ALPHA]},
            {},
            "arm pretrain: its phase is 'prepare' and it has a space. Its runs are compared with nothing, so "
            "none can be chosen. Drop the space, or make the phase 'search'.",
        ),
        (
            {"phase": "prepare"},
            {"after": {"arm": "pretrain", "take": "config"}},
            "arm finetune: it takes 'config' of pretrain, whose phase is 'prepare'. Allowed is take "
            "'checkpoint': its runs are compared with nothing, so none is the best.",
        ),
    ],
)
def test_what_cannot_be_prepared_is_refused(
    first: dict[str, Any], second: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadSpec) as refusal:
        study(first, **second)
    assert sentence in str(refusal.value)


def test_a_claim_names_no_arm_that_prepares() -> None:
    claim = {"text": "", "challenger": "finetune", "incumbent": "pretrain"}
    with pytest.raises(BadSpec) as refusal:
        spec_from_dict({**study({"phase": "prepare"}).model_dump(), "claim": claim})
    assert "The claim names 'pretrain', whose phase is 'prepare'." in str(refusal.value)
