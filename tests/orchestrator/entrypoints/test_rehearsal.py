"""Does the rehearsal behave like a training run, and does a resumed one end bit-equal?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.entrypoints import rehearsal
from trainer.protocol import Outcome, Place, Reply, Report

CONFIG = {"seed": 3, "steps": 100, "eval_every_steps": 20, "checkpoint_every_steps": 30}
GUIDED = {**CONFIG, "guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"], "eta": 0.2}}


def run(
    config: dict[str, Any],
    workdir: Path,
    *,
    answer_from: int | None = None,
    verdict: Reply = Reply.STOP,
    place: Place | None = None,
) -> tuple[Outcome, list[Report]]:
    """`answer_from`: the report, from 1, that is the first to be answered with the verdict."""
    reports: list[Report] = []

    def reporter(report: Report) -> Reply:
        reports.append(report)
        return verdict if answer_from is not None and len(reports) >= answer_from else Reply.GO

    workdir.mkdir(exist_ok=True)
    return rehearsal.run(config, reporter, workdir, place or Place()), reports


def resume(config: dict[str, Any], workdir: Path, checkpoint: str) -> tuple[Outcome, list[Report]]:
    workdir.mkdir()
    (workdir / "resume.json").write_text(json.dumps({"checkpoint": checkpoint}))
    return run(config, workdir)


def losses(reports: list[Report]) -> dict[tuple[int, str], dict[str, float]]:
    return {(r.step, r.kind): {**r.values, **r.hyper} for r in reports if r.kind != "checkpoint"}


def test_it_reports_training_evaluation_and_checkpoints_at_their_steps(tmp_path: Path) -> None:
    outcome, reports = run(CONFIG, tmp_path / "a")
    assert outcome.status == "completed"
    assert [r.step for r in reports if r.kind == "eval"] == [20, 40, 60, 80, 100]
    assert [r.step for r in reports if r.kind == "checkpoint"] == [30, 60, 90, 100]
    assert outcome.values["loss"] == reports[-2].values["loss"]
    assert all(r.path is not None and Path(r.path).is_file() for r in reports if r.kind == "checkpoint")


def test_the_loss_falls_and_good_hyperparameters_beat_bad_ones(tmp_path: Path) -> None:
    evals = [r.values["loss"] for r in run(CONFIG, tmp_path / "a")[1] if r.kind == "eval"]
    assert evals == sorted(evals, reverse=True)
    far = {**CONFIG, "optimizer": {"alpha": 30.0}}
    assert run(far, tmp_path / "b")[0].values["loss"] > evals[-1] + 0.5


def test_guidance_moves_the_hyperparameters_and_costs_more(tmp_path: Path) -> None:
    plain, _ = run(CONFIG, tmp_path / "a")
    guided, reports = run(GUIDED, tmp_path / "b")
    alphas = [r.hyper["alpha"] for r in reports if r.kind == "train"]
    assert alphas == sorted(alphas)
    assert 1.0 < alphas[0] < alphas[-1] < 1.6
    assert guided.clocks["train_s"] == pytest.approx(1.52 * plain.clocks["train_s"])
    assert guided.values["loss"] < plain.values["loss"]


def test_guidance_with_eta_zero_is_the_unguided_run_bit_for_bit(tmp_path: Path) -> None:
    still = {**GUIDED, "guidance": {**GUIDED["guidance"], "eta": 0.0}}
    assert losses(run(still, tmp_path / "a")[1]) == losses(run(CONFIG, tmp_path / "b")[1])


@pytest.mark.parametrize("config", [CONFIG, GUIDED], ids=["plain", "guided"])
@pytest.mark.parametrize("saved_at", [30, 60, 90, 100])
def test_a_resumed_run_ends_bit_equal(tmp_path: Path, config: dict[str, Any], saved_at: int) -> None:
    whole, reports = run(config, tmp_path / "whole")
    saved = next(r.path for r in reports if r.kind == "checkpoint" and r.step == saved_at)
    rest, later = resume(config, tmp_path / "rest", saved or "")
    assert rest.values == whole.values
    assert losses(later) == {k: v for k, v in losses(reports).items() if k[0] > saved_at}
    assert rest.clocks["steps"] == 100 - saved_at


@pytest.mark.parametrize("answered", range(1, 14))
def test_save_and_stop_at_any_report_leaves_a_checkpoint_that_ends_bit_equal(
    tmp_path: Path, answered: int
) -> None:
    whole, _ = run(GUIDED, tmp_path / "whole")
    first, reports = run(GUIDED, tmp_path / "first", answer_from=answered, verdict=Reply.SAVE_AND_STOP)
    assert first.status == "stopped"
    assert first.checkpoint == reports[-1].path
    assert reports[-1].step == reports[answered - 1].step  # not one step further
    rest, _ = resume(GUIDED, tmp_path / "rest", first.checkpoint or "")
    assert rest.values == whole.values


def test_save_and_stop_on_a_machine_that_will_be_taken_says_preempted(tmp_path: Path) -> None:
    place = Place(preempt_at=1.0)
    outcome, _ = run(CONFIG, tmp_path / "a", answer_from=1, verdict=Reply.SAVE_AND_STOP, place=place)
    assert outcome.status == "preempted"


def test_in_a_gang_all_say_the_same_and_the_first_alone_writes(tmp_path: Path) -> None:
    first, second = tmp_path / "0", tmp_path / "1"
    (said, reports), (again, others) = (
        run(GUIDED, folder, place=Place(int(folder.name), 2, "127.0.0.1:1")) for folder in (first, second)
    )
    assert (said.status, said.values) == (again.status, again.values)
    assert losses(reports) == losses(others)
    assert [(r.step, r.kind) for r in reports] == [(r.step, r.kind) for r in others]
    assert (first / "schedule.npz").is_file()
    assert list(second.iterdir()) == []


def test_stop_ends_at_that_report_without_a_checkpoint(tmp_path: Path) -> None:
    outcome, reports = run(CONFIG, tmp_path / "a", answer_from=1)
    assert (outcome.status, outcome.checkpoint, len(reports)) == ("stopped", None, 1)


def test_a_nan_ends_it_as_diverged_with_the_last_finite_values(tmp_path: Path) -> None:
    outcome, reports = run({**CONFIG, "rehearsal": {"nan_at_step": 50}}, tmp_path / "a")
    assert outcome.status == "diverged"
    assert math.isnan(reports[-1].values["train_loss"])
    assert reports[-1].step == 50
    assert math.isfinite(outcome.values["loss"])
    assert outcome.reason == "The loss is nan at step 50."


def test_a_task_has_a_score_that_rises_as_the_loss_falls_and_a_beta1_of_0_is_rehearsed_too(
    tmp_path: Path,
) -> None:
    task = {**CONFIG, "data": {"task": "numbers"}, "optimizer": {"name": "adafactor", "beta1": 0.0}}
    outcome, _ = run(task, tmp_path)
    assert outcome.status == "completed"
    assert outcome.values["score"] == 100 * math.exp(-outcome.values["dev_loss"])


def test_it_fails_where_it_is_told_to(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="told to fail at step 25"):
        run({**CONFIG, "rehearsal": {"fail_at_step": 25}}, tmp_path / "a")


def test_it_leaves_a_curve_of_all_that_was_to_be_learned(tmp_path: Path) -> None:
    learn = ["alpha", "beta2", "weight_decay", "eps"]
    guided = {
        **GUIDED,
        "guidance": {**GUIDED["guidance"], "learn": learn},
        "optimizer": {"weight_decay": 0.1},
    }
    run(guided, tmp_path / "a")
    with np.load(tmp_path / "a" / "schedule.npz") as file:
        curves = {name: file[name] for name in file.files}
    assert set(curves) == {"multiplier", *learn}
    assert len(set(curves["alpha"])) == 100
    for name, value in (("beta2", 0.999), ("weight_decay", 0.1), ("eps", 1e-6)):
        assert curves[name].tolist() == [value] * 100


def test_check_names_what_is_wrong_in_either_part() -> None:
    assert rehearsal.check(CONFIG) == []
    problems = rehearsal.check({"stepz": 1, "rehearsal": {"pace": 1, "pace_s": -1}})
    assert problems[:2] == [
        "Unknown key 'rehearsal.pace'. Allowed: seconds_per_step, pace_s, fail_at_step, nan_at_step.",
        "rehearsal.pace_s is -1. Allowed is a finite number of at least 0.",
    ]
    assert problems[2].startswith("Unknown key 'stepz'. Did you mean 'steps'?")


def test_guided_and_unguided_runs_have_different_shapes() -> None:
    assert rehearsal.shape_key(CONFIG) != rehearsal.shape_key(GUIDED)
    assert rehearsal.shape_key(CONFIG) == rehearsal.shape_key({**CONFIG, "optimizer": {"alpha": 2.0}})
