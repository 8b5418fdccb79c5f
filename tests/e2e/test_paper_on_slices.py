"""Does a study of the size `paper` come to its report on TPU slices? Its arms, resources and runs, on Ray
nodes that only say that they are hosts of two v3-16; the rehearsal stands in for the trainer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.report import files
from dashboards.report.answer import gather
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ground.settings import Settings
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import StudyState
from orchestrator.runs.folders import Storage
from orchestrator.service import drive
from orchestrator.service.creation import create
from orchestrator.service.host import Host
from orchestrator.service.rehearse import REHEARSAL
from orchestrator.service.room import room_on
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from orchestrator.tracking.destination import destination
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from studies import catalog
from tests.orchestrator.backends.tpu_cluster import TpuCluster, tpu_cluster

SLICES = {"slice-a": ("v3-16", (0, 1)), "slice-b": ("v3-16", (0, 1))}


@pytest.fixture
def cluster() -> Iterator[TpuCluster]:
    with tpu_cluster(SLICES) as made:
        yield made


def rehearsed() -> StudySpec:
    """Its clocks say what the study says of a plain run."""
    spec = catalog.get("bo-vs-guided", "paper")
    (base,) = [arm for arm in spec.arms if arm.name == "base"]
    assert base.run_hours is not None
    paced = {"rehearsal": {"seconds_per_step": base.run_hours * 3600 / spec.base["steps"]}}
    resources = spec.resources.model_copy(update={"cpus": 1.0})  # of this machine's
    return spec.model_copy(
        update={"entrypoint": REHEARSAL, "base": {**spec.base, **paced}, "resources": resources}
    )


@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")  # Ray's cluster utility
@pytest.mark.slow  # test_slices_on_ray.py has whole slices, in seconds
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own
def test_a_study_of_papers_shape_comes_to_its_report_on_two_slices(
    cluster: TpuCluster, tmp_path: Path
) -> None:
    settings = Settings(tmp_path, f"sqlite:///{tmp_path}/ledger.db", 2, f"sqlite:///{tmp_path}/mlflow.db")
    store, spec, clock = open_ledger(settings.ledger), rehearsed(), SystemClock()
    study = create(store, spec, clock=clock).study
    backend = cluster.connected()
    engine = Engine(store, backend, clock=clock, storage=Storage(settings.runs), who="test")
    began = time.monotonic()
    try:
        ended = drive.run(Host(settings, store, clock, engine, 2), study.study_id)
        number, said = room_on(spec.resources, store.hosts(), workers=2)
        assert backend.attempts() == []
    finally:
        backend.close(end_workers=True)
    ran_s = time.monotonic() - began
    assert ended.state is StudyState.COMPLETED
    assert number == 2
    assert said.endswith("slices: slice-a (v3-16), slice-b (v3-16).")
    planned = plan(spec, slots=number)
    answer = gather(store, study.study_id, slots=number, runs=settings.runs)
    trials = store.trials(study.study_id)
    hosts = [store.attempts(t.trial_id)[-1].provenance["hosts"] for t in trials]
    assert len(trials) == planned.total.runs
    assert {len(names) for names in hosts} == {2}
    assert len({tuple(names) for names in hosts}) == 2  # two slices, always in their order
    page = files.write(answer, tmp_path / "report").read_text(encoding="utf-8")
    assert "v3-16" in page
    charged = sum(t.charged[name] for t in trials for name in ("train_s", "eval_s", "compile_s")) / 3600 * 8
    assert sum(each.chip_hours for _, of, each in answer.costs if of == "sum") == pytest.approx(charged)
    assert charged == pytest.approx(planned.total.chip_hours, rel=0.02)
    began = time.monotonic()
    place = destination(settings)
    assert place is not None
    StudyMirror(store, MlflowStore(place), place, study.study_id, restore=False).advance()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)
    (run,) = client.search_runs(
        [each.experiment_id for each in client.search_experiments()],
        f"tags.`orch.study_id` = '{study.study_id}' and tags.`orch.kind` = 'study'",
    )
    assert run.data.metrics["cost/chip_hours"] == pytest.approx(charged)
    print(f"{len(trials)} runs in {ran_s:.0f} s, MLflow in {time.monotonic() - began:.0f} s")
    print(f"chip-hours: planned {planned.total.chip_hours:,.0f}, charged {charged:,.0f}")
