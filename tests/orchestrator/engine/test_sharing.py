"""Does the end of a trial whose GPU has no memory left say which GPU, who shared it, and what to do?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import simulated
from orchestrator.backends.placement import Node
from orchestrator.engine.sharing import in_full
from orchestrator.engine.skipping import kind_of
from orchestrator.ledger.records import AttemptRow, AttemptState, Event, TrialState
from orchestrator.runs import running
from orchestrator.runs.contract import Ended, Progress
from orchestrator.runs.folders import Journal, Storage
from tests.faults import invariants
from tests.faults.world import created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
NO_MEMORY = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."
NOWHERE = Storage(Path("/nowhere"))
SHORT = f"""
from orchestrator.rehearsal import *
from orchestrator import rehearsal
def run(config, reporter, workdir, place):
    if workdir.parent.name == "s1.random.0.1":
        raise RuntimeError({NO_MEMORY!r} + "\\nAllocation dump")
    return rehearsal.run(config, reporter, workdir, place)
"""


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("gpus", "trials", "said"),
    [
        (
            0.25,
            3,
            "Out of memory on GPU 0 of box, of which it held 0.25, beside s1.random.0.0 (0.25), "
            "s1.random.0.2 (0.25). Put fewer trials on one GPU (resources.gpus: 1), or make the batch "
            "smaller.",
        ),
        (1, 2, "Out of memory on GPU 0 of box, which it had to itself. Make the batch smaller."),
    ],
)
def test_the_reason_names_the_gpu_and_who_shared_it_and_the_others_go_on(
    tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch, gpus: float, trials: int, said: str
) -> None:
    monkeypatch.setattr(simulated, "started", partial(running.started, held={"GPU": ["0"]}))
    place = world(tmp_path, hosts=[Node("1", "box", {"CPU": 4.0, "GPU": 1.0})])
    arms = [{"name": "random", "method": "random", "trials": trials, "space": [ALPHA]}]
    spec = small_study(arms=arms, resources={"gpus": gpus}, entrypoint=module(SHORT))
    created(place, spec)
    place.drive(place.engine(), "s1")
    states = {trial.trial_id: trial for trial in place.store.trials("s1")}
    short = states.pop("s1.random.0.1")
    assert short.state is TrialState.FAILED
    assert short.reason == f"{said} RuntimeError: {NO_MEMORY}"
    assert {trial.state for trial in states.values()} <= {TrialState.COMPLETED, TrialState.DIVERGED}
    [attempt] = place.store.attempts(short.trial_id)
    assert attempt.provenance["accelerators"] == {"GPU": ["0"]}
    assert attempt.provenance["share"] == gpus
    assert "Allocation dump" in (attempt.traceback or "")
    invariants.check(place.store, "s1")


def _row(trial: str, host: str, held: dict[str, list[str]], share: float) -> AttemptRow:
    told = {"host": host, "accelerators": held, "share": share} if held else {"host": host}
    row = AttemptRow(trial_id=trial, number=1, state=AttemptState.RUNNING, started_at=0.0)
    return replace(row, provenance=told)


def _reason(
    live: list[AttemptRow],
    reason: str = f"E: {NO_MEMORY}",
    host: str = "",
    how: Any = "raised",
    storage: Storage = NOWHERE,
) -> str:
    news = {row.key: Progress(known=True) for row in live}
    news[live[0].key] = Progress(known=True, ended=Ended(how, reason=reason), host=host)
    ended = in_full(live, news, storage)[live[0].key].ended
    assert ended is not None
    return ended.reason


def test_one_that_has_begun_and_is_not_heard_of_yet_is_named_by_its_journal(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    folder = storage.folder("s", "s.b", 1)
    folder.mkdir(parents=True)
    told = {"host": "one", "accelerators": {"GPU": ["0"]}, "share": 0.25}
    journal = Journal(str(folder))
    journal.event(Event("s.b", 1, 1, "started", 0, told, 0.0))
    journal.close()
    silent = replace(_row("s.b", "one", {}, 1), provenance={})
    unbegun = replace(_row("s.c", "one", {}, 1), provenance={})  # it has no journal
    live = [_row("s.a", "one", {"GPU": ["0"]}, 0.5), silent, unbegun]
    assert "of which it held 0.5, beside s.b (0.25). Put" in _reason(live, storage=storage)


def test_only_those_on_the_same_gpu_of_the_same_host_are_named() -> None:
    live = [
        _row("a", "one", {"GPU": ["1"]}, 0.5),
        _row("b", "one", {"GPU": ["0"]}, 0.5),
        _row("c", "two", {"GPU": ["1"]}, 0.5),
        _row("d", "one", {}, 1),
    ]
    assert _reason(live).startswith(
        "Out of memory on GPU 1 of one, of which it held 0.5, and no other trial of this ledger was there."
    )
    live.append(_row("e", "one", {"GPU": ["1"]}, 0.25))
    assert "of which it held 0.5, beside e (0.25). Put" in _reason(live)


def test_of_chips_and_of_a_gang_it_says_whose_they_are() -> None:
    chips = [_row("a", "one", {"TPU": ["0", "1"]}, 1)]
    assert _reason(chips).startswith("Out of memory on TPU chips 0, 1 of one, which it had to itself. Make")
    gang = [_row("a", "one", {"GPU": ["3"]}, 1)]
    told = _reason(gang, host="two")  # another process of it, whose numbers are not known
    assert told.startswith("Out of memory on a GPU of two, which it had to itself. Make")


def test_without_an_accelerator_and_of_other_ends_the_words_stay() -> None:
    assert _reason([_row("a", "one", {}, 1)]) == f"E: {NO_MEMORY}"
    mine = [_row("a", "one", {"GPU": ["0"]}, 0.5)]
    assert _reason(mine, "E: shapes do not match") == "E: shapes do not match"
    assert _reason(mine, NO_MEMORY, how="lost") == NO_MEMORY


def test_an_arm_stops_where_its_first_trials_all_lack_memory() -> None:
    """Whoever shared the GPU, and whichever it was."""
    reasons = [
        _reason(
            [
                _row(f"s.a.0.{n}", "one", {"GPU": [str(n)]}, 0.5),
                _row(f"s.b.{n}", "one", {"GPU": [str(n)]}, 0.5),
            ]
        )
        for n in range(3)
    ]
    assert len(set(reasons)) == 3
    assert len(set(map(kind_of, reasons))) == 1
