"""Is a run that goes on stretch by stretch the run that it would have been, and what may change between?"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.entrypoints.tune import Training, trainable
from trainer.config.paths import with_values
from trainer.protocol import Outcome, Place, Reply, Report

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


def test_a_stretch_that_could_not_be_saved_is_not_trained_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begun(tmp_path / "run")
    training.advance()

    def run(config: Any, reporter: Any, workdir: Path, place: Place) -> Outcome:
        assert reporter(Report(20, "eval", {"loss": 1.0})) is Reply.SAVE_AND_STOP
        return Outcome("stopped", reason="The disk is full.")

    monkeypatch.setattr("orchestrator.rehearsal.run", run)
    with pytest.raises(RuntimeError, match=r"^The disk is full\.$"):
        training.advance()


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

    def hear(report: Report, clocks: Any) -> Reply:
        heard.append((report.step, clocks["steps"]))
        return Reply.STOP if report.step == 20 else Reply.GO

    run.advance(10, hear=hear)
    run.advance(math.inf, hear=hear)
    assert (run.status, heard[-1]) == ("stopped", (20, 20.0))
    assert all(step == steps for step, steps in heard)


def trial(config: dict[str, Any], base: Any = CONFIG, **named: Any) -> Any:
    return trainable(base, entrypoint=REHEARSAL, **named)(config)


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


def clocks(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result.items() if name.startswith("clock.")}


def test_the_clocks_of_a_trial_that_is_paused_and_restored_are_those_of_one_that_never_was(
    tmp_path: Path,
) -> None:
    undisturbed, now = trial({}), trial({})
    whole, parts = [undisturbed.train() for _ in range(4)], [now.train(), now.train()]
    for folder in (tmp_path / "first", tmp_path / "second"):
        now.save(str(folder))
        now.stop()
        now = trial({})
        now.restore(str(folder))
        parts.append(now.train())
    for each in (undisturbed, now):
        each.stop()
    assert [r["step"] for r in parts] == [r["clock.steps"] for r in parts] == [10, 20, 30, 40]
    assert [clocks(r) for r in parts] == [pytest.approx(clocks(r)) for r in whole]
    seconds = [r["clock.train_s"] + r["clock.eval_s"] + r["clock.compile_s"] for r in parts]
    assert seconds == sorted(set(seconds))


def test_one_that_goes_on_from_anothers_checkpoint_has_the_clocks_of_what_led_there(tmp_path: Path) -> None:
    donor, taker = trial({}), trial({"optimizer.alpha": 2.0})
    for _ in range(3):
        donor.train()
    donor.save(str(tmp_path))
    taker.train()
    taker.restore(str(tmp_path))
    result = taker.train()
    assert (result["step"], result["clock.steps"]) == (40, 40)
    for each in (donor, taker):
        each.stop()


def test_a_trial_that_diverged_ends_with_nan() -> None:
    each = trial({}, {**CONFIG, "rehearsal": {"nan_at_step": 15}})
    first, second = each.train(), each.train()
    each.stop()
    assert math.isfinite(first["loss"])
    assert not first["done"]
    assert math.isnan(second["loss"])
    assert (second["diverged"], second["done"]) == (True, True)


@pytest.mark.parametrize(
    ("named", "missing"),
    [({}, {"dev_loss"}), ({"metrics": ("loss", "bleu")}, {"loss", "bleu"})],
)
def test_one_that_diverged_before_its_first_evaluation_has_nan_for_what_was_promised(
    named: Any, missing: set[str]
) -> None:
    each = trial({}, {**CONFIG, "rehearsal": {"nan_at_step": 5}}, **named)
    result = each.train()
    each.stop()
    assert {name for name, value in result.items() if value != value} == missing
    assert (result["step"], result["diverged"], result["done"]) == (0, True, True)


def test_nan_is_for_runs_that_diverged_and_hides_no_misspelt_metric() -> None:
    each = trial({}, metrics=("dev_los",))
    result = each.train()
    each.stop()
    assert "dev_los" not in result


TUNED = f"""
import json
from orchestrator.backends.tune import trainable
from ray import tune

found = tune.Tuner(
    trainable({CONFIG!r}, entrypoint={REHEARSAL!r}),
    param_space={{"rehearsal.nan_at_step": tune.grid_search([5, 1000])}},
    tune_config=tune.TuneConfig(
        metric="dev_loss",
        mode="min",
        reuse_actors=True,
        scheduler=tune.schedulers.ASHAScheduler(time_attr="step", max_t=40, grace_period=10),
    ),
).fit()
told = [[r.metrics[name] for name in ("dev_loss", "step", "clock.steps")] for r in found]
best = found.get_best_result().config["rehearsal.nan_at_step"]
print(json.dumps({{"errors": found.num_errors, "told": told, "best": best}}))
"""


def test_a_tuner_survives_a_trial_that_diverges_at_once_and_does_not_choose_it(
    tmp_path: Path, ray_home: Path
) -> None:
    own = {
        "HOME": str(tmp_path),  # where Tune keeps its results
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "RAY_ADDRESS": daemon.find(ray_home) or "",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(daemon.token_path(ray_home)),
    }
    done = subprocess.run(
        [sys.executable, "-c", TUNED],
        cwd=tmp_path,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    diverged, sound = found["told"]
    assert math.isnan(diverged[0])
    assert math.isfinite(sound[0])
    assert [diverged[1:], sound[1:]] == [[0, 5], [40, 40]]
    assert (found["errors"], found["best"]) == (0, 1000)
