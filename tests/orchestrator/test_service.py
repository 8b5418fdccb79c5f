"""Creating studies: checked before anything is written, attached to when equal, refused when not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import SystemClock
from orchestrator.errors import BadSpec, LedgerBusy, NameTaken
from orchestrator.ledger import open_ledger
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.records import StudyState
from orchestrator.service import Host, create, rehearse, run
from orchestrator.settings import Settings, from_environment
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


@pytest.mark.parametrize("take", ["schedule", "schedule-mean", "matched-decay"])
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
    monkeypatch.setattr("orchestrator.rehearsal.SCHEDULE", "elsewhere.npz")
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
