"""Is a run that goes on stretch by stretch the run that it would have been, and what may change between?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.tune import Training, trainable
from orchestrator.materialize import with_values
from trainer.protocol import Report, Verdict

REHEARSAL = "orchestrator.rehearsal"
CONFIG = {
    "seed": 2,
    "steps": 40,
    "eval_every_steps": 10,
    "checkpoint_every_steps": 20,
    "schedule": {"warmup_steps": 4},
    "guidance": {"estimator": "held-out", "learn": ["alpha"], "eta": 0.05},
}


def begun(folder: Path, config: Any = CONFIG) -> Training:
    return Training(config, entrypoint=REHEARSAL, folder=folder)


def test_stretches_make_the_run_that_was_never_stopped(tmp_path: Path) -> None:
    whole, parts, steps = begun(tmp_path / "whole"), begun(tmp_path / "parts"), []
    whole.advance(math.inf)
    while parts.status != "completed":
        parts.advance()
        steps.append(parts.step)
        parts.tidy()
        assert len(list(parts.folder.iterdir())) <= 2
    assert steps[:4] == [10, 20, 30, 40]
    assert parts.values == whole.values
    assert parts.hyper == whole.hyper
    assert parts.clocks["steps"] == whole.clocks["steps"] == 40
    assert parts.clocks["train_s"] == pytest.approx(whole.clocks["train_s"])


def test_one_that_takes_over_starts_what_is_named_anew_and_keeps_the_rest(tmp_path: Path) -> None:
    donor = begun(tmp_path / "donor")
    donor.advance(20)
    learned = donor.hyper["alpha"]
    assert learned != 1.0
    taken = {}
    for name, paths in (("eta", ["guidance.eta"]), ("alpha", ["optimizer.alpha"])):
        changed = with_values(CONFIG, {"guidance.eta": 0.0, "optimizer.alpha": 3.0})
        taken[name] = begun(tmp_path / name, changed)
        taken[name].go_on_from(donor.checkpoint, step=donor.step, paths=paths)
        taken[name].advance()
        assert taken[name].step == 30
    assert taken["eta"].hyper["alpha"] == pytest.approx(learned)  # what was learned goes on, at the new η̂
    assert taken["alpha"].hyper["alpha"] == pytest.approx(3.0)
    assert taken["eta"].values["loss"] < taken["alpha"].values["loss"]


def test_who_listens_hears_of_all_stretches_and_can_end_one(tmp_path: Path) -> None:
    run, heard = begun(tmp_path), list[tuple[int, float]]()

    def hear(report: Report, clocks: Any) -> Verdict:
        heard.append((report.step, clocks["steps"]))
        return Verdict.STOP if report.step == 20 else Verdict.GO

    run.advance(10, hear=hear)
    run.advance(math.inf, hear=hear)
    assert (run.status, heard[-1]) == ("stopped", (20, 20.0))
    assert all(step == steps for step, steps in heard)


def trial(config: dict[str, Any], base: Any = CONFIG) -> Any:
    return trainable(base, entrypoint=REHEARSAL)(config)


def test_a_trial_reports_each_evaluation_and_says_when_it_is_done() -> None:
    each = trial({"optimizer.alpha": 2.0})
    results = [each.train()]
    while not results[-1]["done"]:
        results.append(each.train())
    each.stop()
    assert [r["step"] for r in results][:4] == [10, 20, 30, 40]
    assert results[0]["loss"] > results[-1]["loss"]
    assert results[-1]["clock.steps"] == 40
    assert results[0]["hyper.alpha"] != results[1]["hyper.alpha"]


def test_a_trial_goes_on_from_its_own_checkpoint_and_from_anothers(tmp_path: Path) -> None:
    one, again, other = trial({}), trial({}), trial({"guidance.estimator": "off", "guidance.learn": []})
    for _ in range(2):
        one.train()
    one.save(str(tmp_path))
    again.restore(str(tmp_path))
    assert [again.train()[k] for k in ("step", "loss")] == [one.train()[k] for k in ("step", "loss")]
    other.restore(str(tmp_path))
    assert other.train()["step"] == 30
    assert other.reset({"seed": 5})
    assert other.train()["step"] == 10
    for each in (one, again, other):
        each.stop()


def test_a_trial_that_diverged_ends_with_nan() -> None:
    each = trial({}, {**CONFIG, "rehearsal": {"nan_at_step": 15}})
    first, second = each.train(), each.train()
    each.stop()
    assert math.isfinite(first["loss"])
    assert not first["done"]
    assert math.isnan(second["loss"])
    assert (second["diverged"], second["done"]) == (True, True)
