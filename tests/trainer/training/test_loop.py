"""Does a run train, evaluate, save and stop when it should, and go on as if it had never stopped?"""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.mlp import equal_bits, loss_fn, start
from tests.trainer.training.loop_job import (
    CADENCE,
    DATA,
    TRACED,
    Data,
    Killed,
    Told,
    evaluate,
    job,
    params_at,
    run,
    same_end,
)
from trainer.optim import schedules
from trainer.protocol import FALLBACK, SECONDS, Outcome, Place, Reply, Report
from trainer.training import checkpoint
from trainer.training.checkpoint import CheckpointError, Unwritten
from trainer.training.clocks import Clocks
from trainer.training.loop import Cadence, Job
from trainer.training.step import compiled_scan


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Told]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, *run(folder)


# -- cadence ---------------------------------------------------------------------------------------------


def test_a_run_evaluates_and_saves_on_schedule_and_at_its_end(undisturbed: Any) -> None:
    folder, outcome, told = undisturbed
    assert told.steps("train") == list(range(1, 17))
    assert told.steps("eval") == [8, 16]
    assert told.steps("checkpoint") == [4, 8, 12, 16]
    assert told.steps("final") == [16]
    assert outcome.checkpoint == str(folder / "checkpoint-16")
    assert outcome.files == ("schedule.npz", "trajectory.npz")
    assert outcome.values.keys() == {"train_loss", "dev_loss"}
    assert outcome.values["dev_loss"] == told.said("eval")[-1][2]["dev_loss"]
    assert outcome.values["train_loss"] == told.said("train")[-1][2]["train_loss"]
    assert told.reports[-1].values["peak_memory_bytes"] > 1e6
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoint-12", "checkpoint-16", "schedule.npz", "trajectory.npz",
    ]  # fmt: skip


def test_the_numbers_are_those_of_a_plain_loop_over_the_step(undisturbed: Any) -> None:
    folder, _, told = undisturbed
    plain = job()
    state, metrics = plain.scan(plain.state, jax.tree.map(lambda x: x[:16], DATA), jax.random.key(3))
    assert equal_bits(params_at(folder / "checkpoint-16").params, state.params)
    by_step = told.said("train")
    assert [v["train_loss"] for *_, v, _ in by_step] == np.asarray(metrics["loss"]).tolist()
    assert [h["alpha"] for *_, h in by_step] == np.asarray(metrics["hyper"]["alpha"]).tolist()
    grads = np.asarray(metrics["hypergrad"]["beta1"])
    assert np.isnan(grads[1::2]).all()
    assert [v["hypergrad.beta1"] for *_, v, _ in by_step] == np.repeat(grads[::2], 2).tolist()
    numbers = schedules.load(folder / "schedule.npz")
    assert equal_bits(numbers["values"]["beta1"], metrics["hyper"]["beta1"])
    assert equal_bits(numbers["multiplier"], metrics["multiplier"])


def chunks(cadence: Cadence, step: int = 0) -> list[int]:
    lengths = []
    while length := cadence.next_length(step):
        lengths.append(length)
        step += length
    return lengths


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400), st.integers(1, 60), st.data())
def test_chunks_end_where_something_is_due(
    steps: int, every: int, other: int, chunk_steps: int, data: st.DataObject
) -> None:
    every, other = min(every, steps), min(other, steps)
    cadence = Cadence(steps, every, other, chunk_steps=chunk_steps)
    lengths = chunks(cadence)
    ends = np.cumsum(lengths).tolist()
    assert ends[-1] == steps
    assert set(range(every, steps, every)) | set(range(other, steps, other)) <= set(ends)
    assert max(lengths) <= chunk_steps
    at = data.draw(st.sampled_from(ends))  # a run that goes on from any end
    assert chunks(cadence, at) == lengths[ends.index(at) + 1 :]


def test_batches_are_made_one_chunk_ahead_by_another_thread(tmp_path: Path) -> None:
    threads, ready = set(), []

    class Watched(Data):
        def chunk(self, cursor: int, steps: int) -> Any:
            threads.add(threading.current_thread().name)
            return super().chunk(cursor, steps)

    data = Watched()

    def looked(params: Any) -> dict[str, float]:
        ready.append(list(data.asked))
        return evaluate(params)

    run(tmp_path, batches=data, evaluate=looked, put=lambda batches: batches)
    assert data.asked == [(0, 4), (4, 4), (8, 4), (12, 4)]
    assert all(name.startswith("batches") for name in threads)
    assert len(ready[1]) == 4


def test_an_error_in_the_data_ends_the_run_with_that_error(tmp_path: Path) -> None:
    class Broken(Data):
        def chunk(self, cursor: int, steps: int) -> Any:
            if cursor >= 8:
                raise LookupError("shard 3 is gone")
            return super().chunk(cursor, steps)

    with pytest.raises(LookupError, match="shard 3 is gone"):
        run(tmp_path, batches=Broken())


# -- killed, and resumed ---------------------------------------------------------------------------------


@pytest.mark.fault(4)
@pytest.mark.parametrize("killed_at", range(1, 24))
def test_killed_at_any_report_it_resumes_to_the_same_bits(
    killed_at: int, undisturbed: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "attempt-1", tmp_path / "attempt-2"
    told = Told(killed_at=killed_at)
    with pytest.raises(Killed):
        run(first, told)
    saved = [r.path for r in told.reports[:-1] if r.kind == "checkpoint"]  # what the host has heard of
    outcome, after = run(second, resume=saved[-1] if saved else None)
    same_end(second, outcome, undisturbed)
    whole = undisturbed[2].said()
    assert told.said() == whole[:killed_at]
    resumed_after = max((i for i in range(killed_at - 1) if whole[i][1] == "checkpoint"), default=-1)
    assert after.said() == whole[resumed_after + 1 :]


@pytest.mark.parametrize("number", [1, 4, 5, 8, 10, 13])
def test_told_to_save_and_stop_it_goes_on_to_the_same_bits(
    number: int, undisturbed: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "attempt-1", tmp_path / "attempt-2"
    outcome, told = run(first, Told({number: Reply.SAVE_AND_STOP}))
    assert outcome.status == "stopped"
    assert told.reports[-1].kind == "checkpoint"
    assert outcome.checkpoint == told.reports[-1].path
    again, after = run(second, resume=outcome.checkpoint)
    same_end(second, again, undisturbed)
    assert told.said() + after.said() == undisturbed[2].said()


def test_a_finished_run_that_is_resumed_is_finished(undisturbed: Any, tmp_path: Path) -> None:
    outcome, told = run(tmp_path, resume=undisturbed[0] / "checkpoint-16")
    same_end(tmp_path, outcome, undisturbed)
    assert told.said() == undisturbed[2].said("final")


def test_resuming_compiles_nothing_and_has_clocks_of_its_own(undisturbed: Any, tmp_path: Path) -> None:
    clocks = Clocks()
    before = len(TRACED)
    outcome, _ = run(tmp_path, resume=undisturbed[0] / "checkpoint-12", clocks=clocks)
    assert len(TRACED) == before > 0
    assert (outcome.clocks["steps"], outcome.clocks["tokens"]) == (4, 64)
    assert (clocks.earlier["steps"], clocks.earlier["tokens"]) == (12, 192)


def test_the_state_before_the_first_step_is_not_held_beside_the_restored_one(
    undisturbed: Any, tmp_path: Path
) -> None:
    made = job()
    run(tmp_path, resume=undisturbed[0] / "checkpoint-16", state=made.state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(made.state.kept()))


@pytest.mark.fault(13, real=True)
def test_a_corrupt_newest_one_falls_back_to_the_one_before_and_says_so(
    undisturbed: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "attempt"
    outcome, _ = run(folder, Told({9: Reply.SAVE_AND_STOP}))
    arrays = Path(outcome.checkpoint) / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    outcome, told = run(folder, resume=outcome.checkpoint)  # in the same folder: it is written again
    same_end(folder, outcome, undisturbed)
    used, damaged = str(folder / "checkpoint-4"), str(folder / "checkpoint-8")
    assert told.reports[0] == Report(4, FALLBACK, path=used, damaged=(damaged,))
    assert told.reports[1].step == 5
    assert "checkpoint-8 is damaged" in outcome.reason
    assert outcome.reason.endswith("The run goes on from checkpoint-4.")


def test_it_falls_back_to_a_checkpoint_of_an_earlier_attempt(undisturbed: Any, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"attempt-{number}" for number in (1, 2, 3))
    outcome, _ = run(first, Told({9: Reply.SAVE_AND_STOP}))
    outcome, _ = run(second, Told({5: Reply.SAVE_AND_STOP}), resume=outcome.checkpoint)
    assert sorted(p.name for p in first.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    for each in second.glob("checkpoint-*"):
        (each / "arrays.npz").write_bytes(b"")
    third.mkdir()
    note = {"checkpoint": outcome.checkpoint, "earlier": [str(second), str(first)]}
    (third / "resume.json").write_text(json.dumps(note))
    damaged = tuple(map(str, checkpoint.finished(second)))
    outcome, told = run(third)
    same_end(third, outcome, undisturbed)
    assert told.reports[0] == Report(8, FALLBACK, path=str(first / "checkpoint-8"), damaged=damaged)
    assert outcome.reason.endswith(f"The run goes on from {first / 'checkpoint-8'}.")


def test_with_no_whole_checkpoint_it_starts_anew_and_says_so(undisturbed: Any, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    outcome, told = run(tmp_path, resume=tmp_path / "checkpoint-4")
    same_end(tmp_path, outcome, undisturbed)
    assert told.reports[0] == Report(0, FALLBACK, damaged=(str(tmp_path / "checkpoint-4"),))
    assert outcome.reason == f"{tmp_path / 'checkpoint-4'} was damaged, and the run started anew."


def test_a_checkpoint_of_another_config_is_refused(undisturbed: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is of another config"):
        run(tmp_path, resume=undisturbed[0] / "checkpoint-12", fingerprint="e" * 64)


# -- verdicts --------------------------------------------------------------------------------------------


def test_told_to_stop_it_neither_evaluates_nor_saves_any_more(tmp_path: Path) -> None:
    outcome, told = run(tmp_path, Told({9: Reply.STOP}))  # among the reports of the second chunk
    assert outcome.status == "stopped"
    assert (told.steps("eval"), told.steps("checkpoint")) == ([], [4])
    assert outcome.checkpoint == str(tmp_path / "checkpoint-4")
    assert len(np.load(tmp_path / "schedule.npz")["multiplier"]) == 8


def test_asked_to_save_it_first_evaluates_what_is_due(tmp_path: Path) -> None:
    outcome, told = run(tmp_path, Told({9: Reply.SAVE_AND_STOP}))
    assert [(r.step, r.kind) for r in told.reports[-2:]] == [(8, "eval"), (8, "checkpoint")]
    assert outcome.values["dev_loss"] == told.reports[-2].values["dev_loss"]


def test_a_verdict_that_is_heard_once_is_not_forgotten(tmp_path: Path) -> None:
    outcome, told = run(tmp_path, Told({6: Reply.SAVE_AND_STOP}))  # in the middle of a chunk's reports
    assert (outcome.status, told.reports[-1].step) == ("stopped", 8)


def test_a_verdict_after_all_is_done_changes_nothing(undisturbed: Any, tmp_path: Path) -> None:
    last_checkpoint = len(undisturbed[2].reports) - 1
    outcome, _ = run(tmp_path, Told({last_checkpoint: Reply.STOP}))
    same_end(tmp_path, outcome, undisturbed)


def test_it_leaves_before_the_machine_is_taken(undisturbed: Any, tmp_path: Path) -> None:
    now = [1000.0]

    def evaluate_slowly(params: Any) -> dict[str, float]:
        now[0] += 60
        return evaluate(params)

    # After the evaluation at 8 it is 1060; a chunk like that one, and half of it to spare, ends at 1150.
    first, second = tmp_path / "1", tmp_path / "2"
    place = Place(preempt_at=1149.0)
    outcome, told = run(first, place=place, unix_s=lambda: now[0], evaluate=evaluate_slowly)
    assert (outcome.status, told.reports[-1].step) == ("preempted", 8)
    assert outcome.reason == "The machine is about to be taken away."
    same_end(second, run(second, resume=outcome.checkpoint)[0], undisturbed)
    late = run(tmp_path / "3", place=Place(preempt_at=10.0), unix_s=lambda: now[0])[0]
    assert (late.status, Path(late.checkpoint).name) == ("preempted", "checkpoint-0")
    same_end(tmp_path / "4", run(tmp_path / "4", resume=late.checkpoint)[0], undisturbed)


def test_a_process_that_is_not_the_first_of_its_gang_reports_the_same_and_writes_no_curves(
    undisturbed: Any, tmp_path: Path
) -> None:
    outcome, told = run(tmp_path, place=Place(process_index=1))
    assert [(r.step, r.kind) for r in told.reports] == [(r.step, r.kind) for r in undisturbed[2].reports]
    assert outcome.files == ()
    assert not list(tmp_path.glob("*.npz"))


# -- divergence ------------------------------------------------------------------------------------------


def scaled_loss(params: Any, batch: Any, key: Any, train: bool) -> jax.Array:
    return loss_fn(params, batch, key, train) * batch.get("scale", 1.0)


@functools.cache
def scaled_job() -> Job:
    recipe, _ = start("sgd", None, loss=scaled_loss)
    return replace(job(), scan=compiled_scan(recipe))


def run_scaled(folder: Path, data: Data, **changes: Any) -> tuple[Outcome, Told]:
    _, state = start("sgd", None, loss=scaled_loss)
    return run(folder, scan=scaled_job().scan, state=state, batches=data, **changes)


@pytest.mark.fault(17)
def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_finite_values(tmp_path: Path) -> None:
    outcome, told = run_scaled(tmp_path, Data(nan_at=10))
    assert outcome.status == "diverged"
    assert outcome.reason == "The training loss of step 11 is nan."
    losses = np.load(tmp_path / "trajectory.npz")["loss"]
    assert np.isfinite(losses[:10]).all()
    assert np.isnan(losses[10:]).all()
    assert len(losses) == 12
    assert outcome.values["train_loss"] == losses[9]
    assert outcome.values["dev_loss"] == told.said("eval")[-1][2]["dev_loss"]
    assert told.steps("checkpoint") == [4, 8]
    assert all(np.isfinite(list(r.values.values())).all() for r in told.reports)


def test_a_loss_that_is_never_finite_leaves_no_values(tmp_path: Path) -> None:
    outcome, _ = run_scaled(tmp_path, Data(nan_at=0))
    assert (outcome.status, outcome.values, outcome.checkpoint) == ("diverged", {}, None)


def test_a_loss_far_above_the_first_one_ends_the_run(tmp_path: Path) -> None:
    cadence = replace(CADENCE, diverged_at=0.9)  # so that an ordinary loss is above it
    outcome, _ = run(tmp_path, cadence=cadence)
    assert outcome.status == "diverged"
    first = np.load(tmp_path / "trajectory.npz")["loss"][0]
    assert outcome.reason == (
        f"The training loss of step 1 is {first:.6g}, above 0.9 times the first one ({first:.6g})."
    )


def test_an_evaluation_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    outcome, told = run(tmp_path, evaluate=lambda params: {"dev_loss": float("inf"), "bleu": 1.0})
    assert outcome.status == "diverged"
    assert outcome.reason == "At the evaluation after step 8 dev_loss is inf."
    assert outcome.values.keys() == {"train_loss"}
    assert (told.steps("eval"), told.steps("checkpoint")) == ([], [4])


# -- a full disk, clocks, points -------------------------------------------------------------------------


@pytest.mark.fault(12)
def test_a_full_disk_costs_checkpoints_and_not_the_run(undisturbed: Any, tmp_path: Path) -> None:
    def save(folder: Path, snapshot: Any) -> Path:
        if snapshot.step >= 12:
            raise Unwritten(28, f"The disk is full at {snapshot.step}.")
        return checkpoint.save(folder, snapshot)

    outcome, told = run(tmp_path / "1", save=save)
    assert (outcome.status, outcome.values) == ("completed", undisturbed[1].values)
    assert outcome.checkpoint is None, "an older one is not its result"
    assert outcome.reason == "The disk is full at 12. The disk is full at 16."
    assert told.steps("checkpoint") == [4, 8]
    last = told.said("checkpoint")[-1][0]
    again = run(tmp_path / "2", resume=tmp_path / "1" / f"checkpoint-{last}")[0]
    same_end(tmp_path / "2", again, undisturbed)


def test_every_second_of_a_run_is_on_a_clock(tmp_path: Path) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 1  # every look at the clock takes a second
        return now[0]

    def evaluate_slowly(params: Any) -> dict[str, float]:
        now[0] += 1000
        return evaluate(params)

    clocks = Clocks(now=tick)
    outcome, told = run(tmp_path, clocks=clocks, evaluate=evaluate_slowly, flops_of=lambda b: 7.0)
    read = outcome.clocks
    assert sum(read[name] for name in SECONDS) == now[0] - 1  # less the first look
    assert 2000 <= read["eval_s"] < 2010
    assert (read["steps"], read["tokens"], read["flops"]) == (16, 256, 28.0)
    totals = [sum(r.clocks[name] for name in SECONDS) for r in told.reports]
    assert totals == sorted(totals)


def test_a_long_run_tells_few_points_and_its_extremes_but_hears_every_chunk(tmp_path: Path) -> None:
    outcome, told = run(tmp_path, cadence=replace(CADENCE, points=16))
    trajectory = [r for r in told.reports if r.kind == "train" and r.hyper]
    assert len(trajectory) <= 16
    steps = {r.step for r in trajectory}
    rest = np.load(tmp_path / "trajectory.npz")
    schedule = np.load(tmp_path / "schedule.npz")
    curves = [
        rest["loss"],
        schedule["alpha"],
        schedule["beta1"],
        rest["hypergrad.alpha"],
        rest["guidance_loss"],
    ]
    for curve in curves:
        assert {1, 16, int(np.nanargmin(curve)) + 1, int(np.nanargmax(curve)) + 1} <= steps
    assert {4, 8, 12, 16} <= set(told.steps("train"))
    assert len(rest["loss"]) == len(schedule["alpha"]) == 16
    assert outcome.status == "completed"
