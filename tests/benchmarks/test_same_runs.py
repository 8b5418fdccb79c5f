"""The script that the study is compared with does the study's own runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.same_runs import Run, Runs
from orchestrator import rehearsal
from orchestrator.backends.simulated import SimulatedBackend, VirtualClock
from orchestrator.engine.tick import Engine
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.spec import Arm, StudySpec
from studies import catalog
from trainer.config.paths import value_at, with_values
from trainer.protocol import Place, Reply

Configs = dict[str, list[dict[str, Any]]]
UNLIKE = "whatever was found"  # in the place of what a search found, or a run learned
SEARCHED = ("optimizer.alpha", "optimizer.beta1", "guidance.eta", "schedule.course")


def small() -> StudySpec:
    """The study at smoke, of the workload that stands in for the trainer. Two seeds where it has one, so that
    something is taken of runs on other seeds; no model is asked for a point, which takes seconds to load."""
    spec = catalog.get("bo-vs-guided", "smoke")
    blind = next(a for a in catalog.get("bo-vs-guided", "quick").arms if a.name.startswith("blind-"))
    arms = []
    for arm in (*spec.arms, blind):
        more = {"trials": 2} if arm.fresh_seeds else {"startup_trials": arm.trials} if arm.bayesian else {}
        arms.append(arm.model_copy(update=more))
    return spec.model_copy(update={"entrypoint": "orchestrator.rehearsal", "arms": tuple(arms)})


def by_the_engine(spec: StudySpec, folder: Path) -> Configs:
    clock, store = VirtualClock(), MemoryLedger()
    backend = SimulatedBackend(clock, slots=2)
    study = create(store, spec, clock=clock).study
    engine = Engine(store, backend, clock=clock, storage=Storage(folder), who="test")
    while store.study(study.study_id).state is StudyState.RUNNING:
        tick = engine.tick()
        assert not tick.unrunnable
        ahead = backend.next_event_at(ends_only=True)
        if tick.idle and ahead is not None:
            clock.advance_to(ahead)
    configs: Configs = defaultdict(list)
    for trial in store.trials(study.study_id):
        assert trial.state is TrialState.COMPLETED
        configs[trial.arm].append(dict(trial.config))
    return configs


def by_the_script(spec: StudySpec, folder: Path, *, at_a_time: int = 2) -> Configs:
    runs = Runs(spec, schedules=folder / "schedules")
    configs: Configs = defaultdict(list)
    under_way: list[Run] = []
    while runs.ended < runs.total:
        while len(under_way) < at_a_time and (run := runs.next(_proposal)):
            under_way.append(run)
        run = under_way.pop(0)
        own = folder / f"{run.arm}-{run.index}"
        own.mkdir()
        outcome = rehearsal.run(run.config, lambda report: Reply.GO, own, Place())
        runs.end(run, value=outcome.values["dev_loss"], folder=own)
        configs[run.arm].append(run.config)
    assert not under_way
    return configs


def _proposal(arm: Arm) -> dict[str, Any]:
    return {parameter.path: parameter.bounds[0] for parameter in arm.space}


def comparable(configs: Configs, spec: StudySpec) -> dict[str, list[str]]:
    """Without the values that a search proposes and a run learns; in any order."""
    grids = {arm.name for arm in spec.arms if arm.is_grid}

    def told(arm: str, config: dict[str, Any]) -> str:
        paths = () if arm in grids else SEARCHED
        hidden = {path: UNLIKE for path in paths if value_at(config, path) is not None}
        schedule = str(value_at(config, "schedule.name"))
        if schedule.endswith(".npz"):  # of a replay
            hidden["schedule.name"] = UNLIKE
        return repr(_sorted(with_values(config, hidden)))

    return {arm: sorted(told(arm, config) for config in given) for arm, given in configs.items()}


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudySpec, Configs, Configs]:
    spec = small()
    engine, script = (tmp_path_factory.mktemp(name) for name in ("engine", "script"))
    return spec, by_the_engine(spec, engine), by_the_script(spec, script)


def test_the_script_does_as_many_runs_as_the_study_in_every_arm(
    both: tuple[StudySpec, Configs, Configs],
) -> None:
    spec, engine, script = both
    wanted = {arm.name: arm.trials for arm in spec.arms}
    assert {arm: len(configs) for arm, configs in script.items()} == wanted
    assert {arm: len(configs) for arm, configs in engine.items()} == wanted


def test_the_script_runs_the_studys_configs_arm_by_arm_but_for_what_is_searched_and_learned(
    both: tuple[StudySpec, Configs, Configs],
) -> None:
    spec, engine, script = both
    assert comparable(script, spec) == comparable(engine, spec)


def test_a_replay_has_its_schedule_of_the_best_run_that_it_follows(
    both: tuple[StudySpec, Configs, Configs],
) -> None:
    spec, _, script = both
    takes = {arm.name: arm.after.take for arm in spec.arms if arm.after and arm.after.take != "config"}
    assert Counter(takes.values()).keys() == {"schedule", "schedule-mean", "matched-decay", "blind-course"}
    for arm, take in takes.items():
        files = [Path(str(value_at(config, "schedule.name"))) for config in script[arm]]
        assert all(file.is_file() for file in files) is (take != "schedule-mean")


def test_the_blind_courses_of_two_seeds_are_a_file_each(both: tuple[StudySpec, Configs, Configs]) -> None:
    _, _, script = both
    (arm,) = (arm for arm in script if arm.startswith("blind-"))
    assert len({config["schedule"]["name"] for config in script[arm]}) == len(script[arm]) == 2


def test_a_bayesian_arm_has_no_more_runs_under_way_than_in_the_study(tmp_path: Path) -> None:
    spec = small()
    runs = Runs(spec, schedules=tmp_path)
    begun = []
    while run := runs.next(_proposal):
        begun.append(run.arm)
    under_way = Counter(begun)
    bayesian = [arm for arm in spec.arms if arm.bayesian and arm.after is None]
    assert bayesian
    assert {arm.name: under_way[arm.name] for arm in bayesian} == {arm.name: arm.window for arm in bayesian}


def test_the_longest_sequence_begins_first(tmp_path: Path) -> None:
    spec = small()
    longest = max((arm for arm in spec.arms if arm.bayesian), key=lambda arm: arm.trials / arm.window)
    first = Runs(spec, schedules=tmp_path).next(_proposal)
    assert first is not None
    assert first.arm == longest.name


def test_a_run_that_diverged_is_no_ones_choice(tmp_path: Path) -> None:
    spec = small()
    runs = Runs(spec, schedules=tmp_path)
    run = runs.next(_proposal)
    assert run is not None
    runs.end(run, value=None, folder=tmp_path)
    assert runs.values()[run.arm] == []
    assert runs.ended == 1
