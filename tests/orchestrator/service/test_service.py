"""Creating studies: checked before anything is written, attached to when equal, refused when not."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ground.clock import SystemClock
from orchestrator.ground.errors import BackendLost, BadSpec, LedgerBusy, MoveRefused, NameTaken
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.ledger import open_ledger
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import StudyState
from orchestrator.service.creation import create
from orchestrator.service.drive import run
from orchestrator.service.host import Host, claimed, open_host
from orchestrator.service.rehearse import rehearse
from orchestrator.service.runner import Runner
from tests.faults.world import World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}


def _problems(**changes: Any) -> list[str]:
    store = MemoryLedger()
    with pytest.raises(BadSpec) as caught:
        create(store, small_study(**changes), clock=SystemClock())
    assert store.studies() == []  # nothing was written
    return caught.value.problems


def test_an_unknown_entrypoint() -> None:
    assert _problems(entrypoint="trainer.nothing") == [
        "The entrypoint 'trainer.nothing' cannot be imported (No module named 'trainer.nothing'). "
        "Name a module on the Python path that offers check, shape_key, run, such as "
        "'orchestrator.rehearsal'."
    ]
    assert _problems(entrypoint="json") == [
        "The entrypoint 'json' does not offer check, shape_key, run. "
        "An entrypoint is a module with check, shape_key, run (see trainer/protocol.py)."
    ]


def test_an_unknown_path_is_found_by_the_entrypoint_s_own_rules() -> None:
    arms = [{"name": "r", "method": "random", "space": [{**ALPHA, "path": "optimizer.alhpa"}]}]
    assert _problems(arms=arms) == [
        "arm r: Unknown key 'optimizer.alhpa'. Did you mean 'alpha'? "
        "Allowed: name, learning_rate, alpha, beta1, beta2, eps, weight_decay, more."
    ]


def test_a_space_is_tried_at_both_its_ends() -> None:
    arms = [{"name": "r", "method": "random", "space": [{"path": "optimizer.alpha", "low": -1, "high": 1}]}]
    (problem,) = _problems(arms=arms)
    assert problem.startswith("arm r: optimizer.alpha is -1")


def test_an_equal_spec_attaches_and_another_is_refused() -> None:
    store = MemoryLedger()
    first = create(store, small_study(), clock=SystemClock())
    again = create(store, small_study(), clock=SystemClock())
    assert (first.attached, again.attached) == (False, True)
    assert again.study.study_id == first.study.study_id
    with pytest.raises(NameTaken) as caught:
        create(store, small_study(replicates=2), clock=SystemClock())
    assert caught.value.study_id == first.study.study_id


def test_fifty_at_once_make_one_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    open_ledger(url).close()

    def one(_: int) -> tuple[str, bool]:
        store = open_ledger(url)
        try:
            made = create(store, small_study(), clock=SystemClock())
            return made.study.study_id, made.attached
        finally:
            store.close()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(one, range(50)))
    assert len({study_id for study_id, _ in answers}) == 1
    assert sorted(attached for _, attached in answers) == [False] + [True] * 49


def _host(place: World) -> Host:
    settings = Settings(place.folder, "memory://", 1)
    return Host(settings, place.store, place.clock, place.engine(), 1)


def test_a_foreground_run_waits_for_a_ledger_that_is_away_for_a_while(tmp_path: Path) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    host, away = _host(place), iter([True] * 5)
    real = place.store.open_wishes

    def sometimes() -> Any:
        if next(away, False):
            raise LedgerBusy("The ledger does not answer.")
        return real()

    place.store.open_wishes = sometimes  # type: ignore[method-assign]

    def wait(seconds: float) -> None:
        ahead = place.backend.next_event_at()
        place.clock.advance_to(ahead if ahead is not None else place.clock.monotonic() + seconds)

    assert run(host, study.study_id, wait=wait).state is StudyState.COMPLETED


def test_a_foreground_run_gives_up_on_a_ledger_that_stays_away(tmp_path: Path) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    host = _host(place)

    def never() -> Any:
        raise LedgerBusy("The ledger does not answer.")

    place.store.open_wishes = never  # type: ignore[method-assign]
    with pytest.raises(LedgerBusy):
        run(host, study.study_id, wait=place.clock.advance)
    assert place.clock.monotonic() > 60


def test_a_rehearsal_counts_search_confirmation_and_control_apart() -> None:
    done = rehearse(small_study(), slots=2)
    seen = done.overview.to_dict()
    assert (seen["trials"], seen["confirmations"], seen["controls"]) == (6, 2, 0)
    assert seen["ended"] == 8
    assert done.virtual_hours > 0


def test_a_rehearsal_stands_in_for_the_trainer_alone() -> None:
    with pytest.raises(BadSpec) as caught:
        rehearse(small_study(entrypoint="my_model"), slots=1)
    assert str(caught.value).startswith("A rehearsal stands in for the trainer, and my_model has a config")


GUIDED = {
    "guidance": {"estimator": "held-out", "learn": ["alpha", "weight_decay"]},
    "optimizer": {"weight_decay": 0.1},
}


@pytest.mark.parametrize("take", ["schedule", "schedule-mean", "matched-decay", "blind-course"])
def test_a_rehearsal_takes_whatever_a_run_learns(take: str) -> None:
    control = {"name": "replay", "method": "fixed", "phase": "control", "fresh_seeds": True}
    arms = [
        {"name": "guided", "method": "fixed", "config": GUIDED},
        {**control, "after": {"arm": "guided", "take": take}},
    ]
    assert rehearse(small_study(arms=arms), slots=1).overview.to_dict()["ended"] == 2


def test_a_rehearsal_of_a_study_that_cannot_go_on_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.entrypoints.rehearsal.SCHEDULE", "elsewhere.npz")
    guided = {"name": "guided", "method": "fixed", "config": GUIDED}
    replay = {"name": "replay", "method": "fixed", "phase": "control", "fresh_seeds": True}
    arms = [guided, {**replay, "after": {"arm": "guided", "take": "schedule"}}]
    with pytest.raises(BadSpec, match=r"has no schedule\.npz"):
        rehearse(small_study(arms=arms), slots=1)


def test_a_rehearsal_stops_whoever_lags_behind_at_a_rung() -> None:
    values = [1.6, 1.5, 0.2, 0.1]
    race = {
        "name": "race",
        "method": "grid",
        "trials": 4,
        "space": [{"path": "optimizer.alpha", "values": values}],
        "rungs": {"steps": [10]},
    }
    base = {**small_study().base, "eval_every_steps": 10}
    whole = rehearse(small_study(arms=[{**race, "rungs": None}], base=base), slots=1)
    done = rehearse(small_study(arms=[race], base=base), slots=1)
    assert done.virtual_hours < 0.7 * whole.virtual_hours


def test_settings_come_from_the_environment_and_are_checked(tmp_path: Path) -> None:
    settings = from_environment({"ORCH_HOME": str(tmp_path), "ORCH_WORKERS": "3"})
    assert settings.ledger == f"sqlite:///{tmp_path / 'ledger.db'}"
    assert settings.workers == 3
    with pytest.raises(BadSpec) as caught:
        from_environment({"ORCH_LEDGER": "mysql://user:secret@host/x", "ORCH_WORKERS": "many"})
    assert caught.value.problems == [
        "ORCH_LEDGER begins with 'mysql'. Allowed: sqlite:///path/to/file or postgresql://user@host/name.",
        "ORCH_WORKERS is 'many'. Allowed: a whole number from 1 to 1024.",
    ]


# -- two ledgers on one home ------------------------------------------------------------------------------
def _of(home: Path, ledger: str) -> Settings:
    return Settings(home, ledger, 1)


def test_workers_belong_to_one_ledger_at_a_time_however_it_is_written(tmp_path: Path) -> None:
    mine = claimed(_of(tmp_path, f"sqlite:///{tmp_path}/ledger.db"))
    assert mine is not None
    other = _of(tmp_path, "postgresql://ada:secret@host/orch")
    assert claimed(other) is None
    # Who takes over does not wait for a former leader that has not noticed yet.
    again = claimed(_of(tmp_path, f"sqlite:///{tmp_path}/runs/../ledger.db"))
    assert again is not None
    mine.close()
    assert claimed(other) is None  # one of them is left
    again.close()
    theirs = claimed(other)
    assert theirs is not None
    with theirs:
        assert claimed(_of(tmp_path, f"sqlite:///{tmp_path}/ledger.db")) is None
        as_another_user = claimed(_of(tmp_path, "postgresql://bob:hidden@host/orch"))
        assert as_another_user is not None
        as_another_user.close()
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_what_a_killed_process_had_is_free(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from orchestrator.service.host import claimed\n"
        "from orchestrator.ground.settings import Settings\n"
        "claim = claimed(Settings(Path(sys.argv[1]), 'postgresql://host/orch', 1))\n"
        "print('claimed', flush=True)\n"
        "threading.Event().wait(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "claimed\n"
            assert claimed(_of(tmp_path, "postgresql://host/other")) is None
        finally:
            holder.kill()
    free = claimed(_of(tmp_path, "postgresql://host/other"))
    assert free is not None
    free.close()


def test_a_host_for_another_ledger_is_refused_before_it_touches_the_workers(tmp_path: Path) -> None:
    held = claimed(_of(tmp_path, "postgresql://host/orch"))
    assert held is not None
    with held, pytest.raises(MoveRefused) as refused:
        open_host(_of(tmp_path, "postgresql://host/other"), MemoryLedger())
    assert str(refused.value) == (
        f"Another process runs studies of another ledger on the workers of {tmp_path}, and two would end "
        f"each other's trials. Wait until that one has ended, or give the studies of this ledger a home of "
        f"their own with ORCH_HOME."
    )


def test_a_host_that_cannot_be_opened_leaves_the_workers_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(home: Path, **options: object) -> str:
        raise BackendLost("The Ray daemon could not be started.")

    monkeypatch.setattr("orchestrator.backends.daemon.start", start)
    with pytest.raises(BackendLost):
        open_host(_of(tmp_path, "postgresql://host/orch"), MemoryLedger())
    free = claimed(_of(tmp_path, "postgresql://host/other"))
    assert free is not None
    free.close()


@pytest.mark.parametrize("end", [Host.close, Host.leave])
def test_a_host_that_lets_go_frees_the_workers_before_it_stops_to_lead(
    tmp_path: Path, end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = world(tmp_path)
    claim = claimed(_of(tmp_path, "postgresql://host/orch"))
    assert claim is not None
    host = replace(_host(place), claim=claim)
    free_at_release: list[bool] = []
    monkeypatch.setattr(place.store, "release", lambda epoch=None: free_at_release.append(claim.closed))
    end(host)
    assert free_at_release == ([True] if end is Host.close else [])
    assert claim.closed


@pytest.mark.parametrize("trouble", [MoveRefused, BackendLost, OSError])
def test_an_engine_that_cannot_open_the_workers_leads_no_more_and_tries_again(
    tmp_path: Path, trouble: type[Exception]
) -> None:
    place = world(tmp_path)
    said: list[str] = []
    led: list[str | None] = []
    asked = threading.Event()

    def open_host(settings: Settings, store: Any, *, workers: int | None = None) -> Host:
        led.append(store.leader())
        if len(led) == 1:
            raise trouble("Another process has the workers.")
        asked.set()
        return _host(place)

    def told(sentence: str) -> None:
        said.append(sentence)
        led.append(place.store.leader())

    runner = Runner(_of(tmp_path, "memory://"), place.store, say=told, open_host=open_host)
    runner.start()
    assert asked.wait(20)
    runner.ask_to_end()
    assert runner.join(20)
    assert "Another process has the workers." in said[0]
    assert led[0] is not None
    assert led[1] is None
