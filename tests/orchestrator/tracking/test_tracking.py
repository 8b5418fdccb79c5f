"""Does MLflow hold what the ledger holds, whatever happens on the way? On real MLflow, over SQLite."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.ground.errors import MirrorDeleted, MirrorLost, MoveRefused
from orchestrator.ledger.records import StudyState
from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import Journal
from orchestrator.tracking.background import Mirror
from orchestrator.tracking.destination import Destination, writing
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.sync import lag, sync
from tests.faults import mirrored
from tests.faults.world import Killed, Tripwire, World, created, small_study, world
from tests.orchestrator.conftest import DIES, Copied
from trainer.protocol import Outcome

# MLflow's own use of SQLAlchemy and of Python, which is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SINK = ("create_run", "write", "set_status", "restore_run", "artifact")


def _mirror_all(there: World, place: Destination, *, restore: bool = False) -> dict[tuple[str, str], Any]:
    StudyMirror(there.store, MlflowStore(place), place, "s1", restore=restore).advance()
    return mirrored.look(place.uri, "s1")


def _client(place: Destination) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)


# -- what is there -----------------------------------------------------------------------------------------
def test_a_study_with_lost_workers_is_in_mlflow_as_the_ledger_has_it(
    ended: World, place: Destination
) -> None:
    runs = _mirror_all(ended, place)
    mirrored.check(ended.store, "s1", runs)
    assert lag(ended.store, place, "s1") == 0
    assert {kind for kind, _ in runs} == {"study", "arm", "trial"}
    trial = next(t for t in ended.store.trials("s1", arm="random") if t.attempts == 3)
    twice = [s.event.step for s in ended.store.events(trial_id=trial.trial_id) if s.event.kind == "eval"]
    assert len(twice) > len(set(twice))  # the ledger holds what was said again
    run = runs["trial", trial.trial_id]
    assert run.params["optimizer.alpha"] == str(trial.point["optimizer.alpha"])
    assert not [name for name in run.params if name.startswith("point/")]  # no value is there twice
    assert json.loads(run.tags["orch.point"]) == trial.point
    assert run.params["eval_every_steps"] == "20"
    newest = ended.store.attempts(trial.trial_id)[-1].provenance
    assert json.loads(run.tags["orch.provenance"])["packages"] == newest["packages"]
    assert run.tags["mlflow.source.git.commit"] == newest["code"]["commit"]
    assert run.metrics["objective"][-1][2] == trial.value
    costs = {name: points for name, points in run.metrics.items() if name.startswith(("clock/", "cost/"))}
    assert all(name.startswith("cost/") and len(points) == 1 for name, points in costs.items())
    assert run.metrics["cost/wasted_hours"][-1][2] > 0
    arm, study = runs["arm", "random"], runs["study", ""]
    assert (arm.status, study.status, study.tags["orch.state"]) == ("FINISHED", "FINISHED", "completed")
    assert arm.metrics["runs/requested"][-1][2] == arm.metrics["runs/completed"][-1][2] == 3
    best = min(t.value for t in ended.store.trials("s1", arm="random") if t.value is not None)
    assert arm.metrics["best/loss"][-1][2] == best
    assert study.metrics["runs/confirm"][-1][2] == 2


def test_a_study_followed_while_it_runs_equals_one_written_in_the_end(
    place: Destination, copied: Copied, tmp_path: Path
) -> None:
    there = world(tmp_path / "runs", faults=DIES)
    created(there, small_study())
    engine, follower = there.engine(), StudyMirror(there.store, MlflowStore(place), place, "s1")
    while there.store.study("s1").state is StudyState.RUNNING:
        for _ in range(7):
            there.step(engine)
        follower.advance()
    follower.advance()
    assert follower.settled
    runs = mirrored.look(place.uri, "s1")
    mirrored.check(there.store, "s1", runs)
    assert len(runs["study", ""].metrics["runs/ended"]) > 1  # counted along the way
    at_once = mirrored.trials(_mirror_all(there, copied("at-once")))
    assert {of: run.content for of, run in mirrored.trials(runs).items()} == {
        of: run.content for of, run in at_once.items()
    }


def test_trials_that_never_ran_and_trials_tried_again_are_there(place: Destination, tmp_path: Path) -> None:
    from orchestrator.service.creation import ask

    there = world(tmp_path / "runs", faults=[Fault("s1.grid.0.1", n, "die", 3) for n in (1, 2, 3)])
    study = created(there, small_study())
    engine, follower = there.engine(), StudyMirror(there.store, MlflowStore(place), place, "s1")
    there.drive(engine, "s1")
    follower.advance()
    failed = mirrored.look(place.uri, "s1")["trial", "s1.grid.0.1"]
    assert (failed.status, failed.tags["orch.state"]) == ("FAILED", "failed")
    assert failed.tags["orch.reason"]
    ask(there.store, study, "retry", {"trial_id": "s1.grid.0.1"}, clock=there.clock)
    engine.tick()
    ask(there.store, study, "extend", {"base": 2}, clock=there.clock)
    engine.tick()
    follower.advance()
    assert mirrored.look(place.uri, "s1")["study", ""].status == "RUNNING"
    ask(there.store, study, "cancel", {}, clock=there.clock)
    there.drive(engine, "s1")
    for _ in range(50):
        there.step(engine)
    assert [wish.answer for wish in there.store.wishes("s1")] == ["", "", ""]
    follower.advance()
    runs = mirrored.look(place.uri, "s1")
    mirrored.check(there.store, "s1", runs)
    assert (runs["study", ""].status, runs["study", ""].tags["orch.state"]) == ("KILLED", "cancelled")


def test_diverged_trials_are_told_from_good_ones_and_infinities_are_nan(
    place: Destination, tmp_path: Path
) -> None:
    base = {**small_study().base, "rehearsal": {"nan_at_step": 25}}
    there = world(tmp_path / "runs")
    created(there, small_study(base=base))
    there.drive(there.engine(), "s1")
    runs = _mirror_all(there, place)
    mirrored.check(there.store, "s1", runs)
    assert runs["trial", "s1.base.0.0"].status == "FAILED"
    assert runs["trial", "s1.base.0.0"].metrics["train_loss"][-1][2] == "NaN"
    assert runs["trial", "s1.confirm.0.0"].status == "KILLED"  # nothing to confirm


# -- killed, repeated, emptied -----------------------------------------------------------------------------
@pytest.mark.parametrize("before", [False, True], ids=["after the call", "before the call"])
def test_a_kill_between_any_two_writes_leaves_each_point_once(
    ended: World, place: Destination, copied: Copied, before: bool
) -> None:
    whole = {where: run.content for where, run in _mirror_all(ended, place).items()}
    for at in [1, *range(2 + before, 300, 17)]:
        here = copied(f"{at}")
        wire = Tripwire(at=at, before=before)
        ledger = wire.around(ended.store, ("move_cursor",))
        try:
            StudyMirror(ledger, wire.around(MlflowStore(here), SINK), here, "s1").advance()
        except Killed:
            runs = _mirror_all(ended, here)
            assert {where: run.content for where, run in runs.items()} == whole, wire.seen[-1]
        else:
            break  # there are no more writes
    assert wire.count > 50
    assert {"create_run", "write", "set_status", "move_cursor"} == set(wire.seen)


def test_an_emptied_store_is_written_anew(ended: World, place: Destination, copied: Copied) -> None:
    whole = {where: run.content for where, run in _mirror_all(ended, place).items()}
    there = replace(copied("other"), shown=place.shown)  # the same place, as the ledger's cursor knows it
    runs = _mirror_all(ended, there)
    assert {where: run.content for where, run in runs.items()} == whole


def test_a_run_that_was_made_twice_is_kept_once(ended: World, place: Destination) -> None:
    _mirror_all(ended, place)
    client = _client(place)
    run = client.search_runs(
        [client.get_experiment_by_name("orch/small").experiment_id], "tags.`orch.arm` = 'base'"
    )[0]
    ghost = client.create_run(run.info.experiment_id, tags=run.data.tags)
    kept = {r.run_id for r in _mirror_all(ended, place).values()}  # each is there once, or it would say so
    assert len(kept & {run.info.run_id, ghost.info.run_id}) == 1


@pytest.mark.parametrize("at", [9, None])
def test_of_runs_that_were_made_twice_the_one_that_was_written_to_is_kept(
    ended: World, place: Destination, copied: Copied, at: int | None
) -> None:
    """As where each create was carried out, answered by an error, and asked for again."""
    whole = {where: run.content for where, run in _mirror_all(ended, copied("whole")).items()}
    wire = Tripwire(at=at)
    sink = MlflowStore(place)
    twice: Any = wire.around(sink, SINK)
    real = sink.create_run

    def create_run(*given: Any, **named: Any) -> Any:
        return max((real(*given, **named) for _ in range(2)), key=lambda run: run.run_id)

    sink.create_run = create_run  # type: ignore[method-assign]
    with contextlib.suppress(Killed):
        StudyMirror(ended.store, twice, place, "s1").advance()
    runs = _mirror_all(ended, place)
    mirrored.check(ended.store, "s1", runs)
    assert {where: run.content for where, run in runs.items()} == whole
    ids = {run.run_id for run in runs.values()}
    assert {run.parent for run in runs.values()} <= ids | {None}


def test_one_alone_writes_to_a_mirror(ended: World, place: Destination) -> None:
    with writing(place) as mine, writing(place) as yours:
        assert (mine, yours) == (True, False)
        with pytest.raises(MoveRefused, match="Another process writes to MLflow"):
            sync(ended.store, place, [ended.store.study("s1")], told=lambda *_: None)
    with writing(place) as again:
        assert again


# -- deleted by a person -----------------------------------------------------------------------------------
def test_a_study_deleted_in_mlflow_is_left_alone_until_asked_for(place: Destination, tmp_path: Path) -> None:
    there = world(tmp_path / "runs")
    study = created(there, small_study())
    engine, follower = there.engine(), StudyMirror(there.store, MlflowStore(place), place, "s1")
    for _ in range(12):
        there.step(engine)
    follower.advance()
    client = _client(place)
    client.delete_experiment(client.get_experiment_by_name("orch/small").experiment_id)
    there.drive(engine, "s1")
    said: list[str] = []
    watching = Mirror(there.store, place, "s1", say=said.append)
    watching.begin()
    assert watching.finish(60) == []
    assert said == [
        "The study small was deleted in MLflow, so it is mirrored no more. To have it there again "
        "(stop orch serve first, which writes there alone): orch mlflow sync small"
    ]
    assert mirrored.look(place.uri, "s1") == {}
    sync(there.store, place, [study], told=lambda *_: None)
    mirrored.check(there.store, "s1", mirrored.look(place.uri, "s1"))


def test_a_trial_deleted_in_mlflow_stays_so_and_the_others_go_on(place: Destination, tmp_path: Path) -> None:
    there = world(tmp_path / "runs", slots=1)
    created(there, small_study())
    engine, sink = there.engine(), MlflowStore(place)
    follower = StudyMirror(there.store, sink, place, "s1")
    while not there.store.events():
        there.step(engine)
    follower.advance()
    gone = mirrored.look(place.uri, "s1")["trial", "s1.base.0.0"]
    _client(place).delete_run(gone.run_id)
    there.drive(engine, "s1")
    with pytest.raises(MirrorLost):
        follower.advance()
    StudyMirror(there.store, sink, place, "s1").advance()
    runs = mirrored.look(place.uri, "s1")
    assert set(mirrored.trials(runs)) == {t.trial_id for t in there.store.trials("s1")} - {"s1.base.0.0"}
    mirrored.check(there.store, "s1", _mirror_all(there, place, restore=True))
    _client(place).delete_run(runs["study", ""].run_id)
    with pytest.raises(MirrorDeleted):
        StudyMirror(there.store, sink, place, "s1")


# -- files -------------------------------------------------------------------------------------------------
def test_schedules_and_the_report_are_attached_once_each_time_they_change(
    ended: World, place: Destination, tmp_path: Path
) -> None:
    place = replace(place, runs=tmp_path / "runs")
    trials = ended.store.trials("s1")
    for trial in trials:
        folder = place.runs / "s1" / trial.trial_id / f"attempt-{trial.attempts}"
        folder.mkdir(parents=True)
        (folder / "schedule.npz").write_bytes(trial.trial_id.encode())
    report = place.reports / "small"
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text("<p>one</p>")
    (report / "figures" / "a.csv").write_text("x")
    runs = _mirror_all(ended, place)
    client = _client(place)

    def holds(run: Any) -> list[str]:
        return [f.path for f in client.list_artifacts(run.run_id)]

    assert holds(runs["study", ""]) == ["figures", "report.html"]
    best = min(
        (t for t in trials if t.arm == "random" and t.value is not None), key=lambda t: t.value or 0.0
    ).trial_id
    kept = {of for of, run in mirrored.trials(runs).items() if holds(run)}
    assert {of for of in kept if ".random." in of} == {best}
    assert {of for of in kept if ".confirm." in of} == {t.trial_id for t in trials if t.arm == "confirm"}
    wire = Tripwire()
    StudyMirror(ended.store, wire.around(MlflowStore(place), SINK), place, "s1").advance()
    assert "artifact" not in wire.seen
    (report / "report.html").write_text("<p>two</p>")
    again = StudyMirror(ended.store, MlflowStore(place), place, "s1")
    for path in (report, tmp_path / "nowhere"):
        again.attach(path)
    local = client.download_artifacts(runs["study", ""].run_id, "report.html", str(tmp_path))
    assert Path(local).read_text() == "<p>two</p>"


def test_files_that_outcomes_named_are_at_their_trials_runs_up_to_so_many_bytes(
    ended: World, place: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.study.MOST_ARTIFACT_BYTES", 10)
    place = replace(place, runs=tmp_path / "runs")
    folder = place.runs / "s1" / "s1.base.0.0" / "attempt-1"
    (folder / "plots").mkdir(parents=True)
    sizes = {"a.txt": 6, "big.txt": 5, "plots/b.txt": 4, "c.txt": 1, "params.npz": 0, "schedule.npz": 0}
    for name, size in sizes.items():
        (folder / name).write_bytes(b"x" * size)
    Journal(folder).end(Ended("outcome", outcome=Outcome("completed", files=tuple(sizes))))
    wire = Tripwire()
    StudyMirror(ended.store, wire.around(MlflowStore(place), SINK), place, "s1").advance()
    assert wire.seen.count("artifact") >= 2
    run = mirrored.trials(mirrored.look(place.uri, "s1"))["s1.base.0.0"]
    client = _client(place)
    found = [each.path for each in client.list_artifacts(run.run_id)]
    assert set(found) - {"schedule.npz"} == {"a.txt", "plots"}
    assert [each.path for each in client.list_artifacts(run.run_id, "plots")] == ["plots/b.txt"]


def test_the_report_of_a_deleted_study_is_not_that_of_the_next_of_its_name(
    ended: World, place: Destination
) -> None:
    page = place.reports / "small" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>of another</p>")
    before = ended.store.study("s1").created_at - 1
    os.utime(page, (before, before))
    run = _mirror_all(ended, place)["study", ""]
    assert _client(place).list_artifacts(run.run_id) == []
    page.write_text("<p>its own</p>")
    _mirror_all(ended, place)
    assert [file.path for file in _client(place).list_artifacts(run.run_id)] == ["report.html"]


# -- limits ------------------------------------------------------------------------------------------------
def test_long_names_long_values_and_many_points_fit(place: Destination, tmp_path: Path) -> None:
    from orchestrator.tracking import mapping

    sink = MlflowStore(place)
    experiment = sink.experiment("e", folder="e")
    run = sink.create_run(experiment, title="r", at_ms=1, tags={"orch.study_id": "s9"}, parent=None)
    points = [mapping.measurement("many", float(i), float(i), i) for i in range(2500)]
    points += [mapping.measurement("inf", float("inf"), 1.0, 1)]
    config = {f"p{i}": "x" * 7000 if i == 0 else i for i in range(250)}
    spec: Any = type("T", (), {"point": {}, "config": config})
    tags = {f"t{i}": "y" for i in range(230)}
    sink.write(run.run_id, points, params=mapping.trial_params(spec), tags=tags)
    client = _client(place)
    seen = client.get_run(run.run_id)
    assert len(client.get_metric_history(run.run_id, "many")) == 2500
    assert seen.data.metrics["inf"] != seen.data.metrics["inf"]  # NaN
    assert len(seen.data.params) == 250
    assert len(seen.data.params["p0"]) == 6000
    assert len({k for k in seen.data.tags if k.startswith("t")}) == 230


AWKWARD = [
    "a",
    "../../x",
    "/abs",
    "a//b/",
    ".",
    "..",
    "",
    "α β",
    "50%",
    "x" * 400,
    "a/./b",
    "a\0b",
    "η̂",
    "-",
    ". .",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils import validation

    from orchestrator.tracking import mapping

    made = mapping.key(name)
    validation._validate_metric_name(made)
    validation._validate_param_name(made)
    validation._validate_tag_name(made)
    assert 0 < len(made) <= 250
