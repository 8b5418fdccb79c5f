"""Row 13: a damaged newest checkpoint. The run falls back to the one before, of an earlier attempt too, and
the ledger names the one that it used and the damaged ones. With the trainer's real loop and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import pytest

from dashboards.web.trial import trial_view
from orchestrator.backends.simulated import Fault
from orchestrator.ledger.records import AttemptState, TrialState
from orchestrator.readings.overview import fallback_words
from orchestrator.runs.folders import Storage
from orchestrator.study.spec import StudySpec
from tests.faults.world import World, created, world

TRIAL = "s1.base.0.0"
BASE: dict[str, Any] = {
    "steps": 16,
    "eval_every_steps": 8,
    "checkpoint_every_steps": 4,
    "data": {"pairs": 600, "level": "phrases"},
    "model": {"size": "tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "schedule": {"warmup_steps": 2},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 4},
}


SMALL_JOB, WHOLE = "tests.faults.small_job", "trainer.run"


@dataclass
class Runs:
    """Where the runs of one entrypoint lie, and how an undisturbed study of it went."""

    entrypoint: str
    root: Path
    _calm: World | None = None

    def begun(self, name: str, *faults: Fault) -> World:
        there = world(self.root / name, slots=1, faults=faults)
        spec = {
            "name": "small",
            "entrypoint": self.entrypoint,
            "base": BASE if self.entrypoint == WHOLE else {},
            "objective": {"metric": "dev_loss"},
            "arms": [{"name": "base", "method": "fixed", "trials": 1}],
        }
        created(there, StudySpec.model_validate(spec))
        return there

    @property
    def calm(self) -> World:
        if self._calm is None:
            self._calm = self.begun("calm")
            self._calm.drive(self._calm.engine(), "s1")
            trial = self._calm.store.trial(TRIAL)
            assert trial.state is TrialState.COMPLETED, trial.reason
        return self._calm

    def reports(self, first: int, last: int) -> int:
        """How many an undisturbed run makes after the checkpoint of one step, to that of another."""
        said = [s.event for s in self.calm.store.events(trial_id=TRIAL) if s.event.kind != "started"]
        at = {event.step: number for number, event in enumerate(said, 1) if event.kind == "checkpoint"}
        return at[last] - at.get(first, 0)


@pytest.fixture(scope="module", params=[SMALL_JOB, pytest.param(WHOLE, marks=pytest.mark.slow)])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """One home for all runs, as in a warm worker."""
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield Runs(request.param, tmp_path_factory.mktemp("runs"))
    jax.config.update("jax_compilation_cache_dir", before)


def _until_attempt(there: World, engine: Any, number: int) -> Path:
    """Its folder, as it has left it: simulated workers run an attempt when it is submitted."""
    while not any(trial.attempts >= number for trial in there.store.trials("s1")):
        there.step(engine)
    return Storage(there.folder).folder("s1", TRIAL, number)


def _cut(checkpoint: Path) -> str:
    arrays = checkpoint / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[: arrays.stat().st_size // 2])
    return _key(checkpoint)


def _key(checkpoint: Path) -> str:
    """As the ledger names it."""
    return "/".join(checkpoint.parts[-4:])


@pytest.mark.fault(35, real=True)
def test_a_run_falls_back_over_attempts_and_the_ledger_names_what_it_used_and_what_was_damaged(
    runs: Runs,
) -> None:
    there = runs.begun(
        "damaged",
        Fault(TRIAL, 1, "die", runs.reports(0, 8) + 1),
        Fault(TRIAL, 2, "die", 1 + runs.reports(4, 8) + 1),
    )
    engine = there.engine()
    first = _until_attempt(there, engine, 1)
    damaged = [_cut(first / "checkpoint-8")]
    second = _until_attempt(there, engine, 2)
    assert (first / "checkpoint-4").is_dir()  # what a later attempt saves leaves it where it is
    damaged.insert(0, _cut(second / "checkpoint-8"))
    there.drive(engine, "s1")
    one, two, three = there.store.attempts(TRIAL)
    assert [a.state for a in (one, two)] == [AttemptState.LOST] * 2
    assert (one.resumed_from, one.damaged) == (None, ())
    good = _key(first / "checkpoint-4")
    assert (two.resumed_from, two.damaged) == (good, (_key(first / "checkpoint-8"),))
    assert (three.state, three.resumed_from) == (AttemptState.COMPLETED, good)
    assert three.damaged == tuple(damaged)
    assert three.provenance["host"]
    assert fallback_words(three) == (
        f"Attempt 3 went on from {good}, since {damaged[0]} and {damaged[1]} are damaged."
    )
    trial, calm = there.store.trial(TRIAL), runs.calm.store.trial(TRIAL)
    assert (trial.state, trial.value) == (TrialState.COMPLETED, calm.value)
    assert three.clocks["steps"] == 12
    view = trial_view(there.store, TRIAL, runs=None)
    assert view.fallbacks == [fallback_words(two), fallback_words(three)]
    line = next(line for line in view.log if line.kind == "fallback")
    assert line.words == f"went on from {good}, since {damaged[1]} is damaged"
    assert three.reason.endswith(f"The run goes on from {first / 'checkpoint-4'}.")


def test_with_every_checkpoint_damaged_it_begins_anew_and_the_trial_has_none(runs: Runs) -> None:
    deaths = [
        Fault(TRIAL, 1, "die", runs.reports(0, 4) + 1),
        Fault(TRIAL, 2, "die", 1),
    ]
    there = runs.begun("hopeless", *deaths)
    engine = there.engine()
    damaged = _cut(_until_attempt(there, engine, 1) / "checkpoint-4")
    _until_attempt(there, engine, 3)
    two, three = there.store.attempts(TRIAL)[1:]
    assert (two.resumed_from, two.damaged) == (None, (damaged,))
    assert fallback_words(two) == f"Attempt 2 began anew, since {damaged} is damaged."
    assert (three.resumed_from, three.damaged) == (None, ())
    there.drive(engine, "s1")
    assert there.store.trial(TRIAL).value == runs.calm.store.trial(TRIAL).value


def test_the_worker_tells_the_run_which_attempts_came_before(runs: Runs) -> None:
    there = runs.begun("told", *(Fault(TRIAL, n, "die", runs.reports(0, 4) + 1) for n in (1, 2)))
    third = _until_attempt(there, there.engine(), 3)
    note = json.loads((third / "resume.json").read_text())
    assert note["earlier"] == [str(third.with_name(f"attempt-{n}")) for n in (2, 1)]
