"""Does a run end with the parameters of its best evaluation, also after kill -9, and is it judged by rows
that did not choose them?"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.trainer.mlp import equal_bits
from tests.trainer.training import chosen_program
from tests.trainer.training.chosen_program import STEPS, config
from tests.trainer.training.loop_job import CADENCE, FINGERPRINT, Killed, Told, evaluate, job, run
from trainer.data.contract import DataError
from trainer.data.splits import halves
from trainer.protocol import PARAMS, Outcome
from trainer.training import checkpoint
from trainer.training.chosen import better

ROOT = Path(__file__).parents[3]
EVERY_STEP = replace(CADENCE, eval_every_steps=1)


# -- the loop --------------------------------------------------------------------------------------------


def wavy(params: Any) -> dict[str, float]:
    """A score that rises and falls with the loss."""
    loss = evaluate(params)["dev_loss"]
    return {"dev_loss": loss, "choosing": round(math.sin(200 * loss), 6)}


def chooses(folder: Path, told: Told | None = None, **changes: Any) -> tuple[Outcome, Told, Any]:
    """What a run ended with too: the parameters that it scored."""
    scored = []

    def score(params: Any) -> dict[str, float]:
        scored.append(jax.tree.map(np.array, params))
        return {"final": evaluate(params)["dev_loss"]}

    made = {"cadence": EVERY_STEP, "evaluate": wavy, "choose_by": "choosing", "score": score}
    outcome, told = run(folder, told, **{**made, **changes})
    return outcome, told, scored[-1] if scored else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Told, Any]:
    return chooses(tmp_path_factory.mktemp("whole"))


def test_the_run_ends_with_the_best_evaluation_s_parameters_and_values(whole: Any) -> None:
    outcome, told, _ = whole
    by_step = {step: values for step, _, values, _ in told.said("eval")}
    best = max(by_step, key=lambda step: by_step[step]["choosing"])
    assert 1 < best < 16, "else the test shows nothing"
    assert outcome.values.keys() == {"train_loss", "dev_loss", "final", "chosen_score", "chosen_step"}
    assert (outcome.values["chosen_step"], outcome.values["chosen_score"]) == (
        best,
        by_step[best]["choosing"],
    )
    assert outcome.values["final"] == outcome.values["dev_loss"] == by_step[best]["dev_loss"]
    assert outcome.values["dev_loss"] != by_step[16]["dev_loss"]
    assert told.said("final")[-1][2] == dict(outcome.values)


def test_of_equal_evaluations_the_earlier_is_chosen_and_worse_ones_are_not_copied() -> None:
    params = {"w": jax.numpy.ones(3)}
    first = better(None, 1, 2.0, {"a": 1.0}, params)
    assert better(first, 2, 2.0, {}, params) is first
    assert better(first, 2, 1.0, {}, params) is first
    assert better(first, 2, 2.5, {}, params).step == 2
    assert isinstance(first.arrays["w"], np.ndarray)


def test_a_chosen_array_is_a_copy_on_the_host_and_comes_back_as_it_lay() -> None:
    params = {"w": jax.numpy.arange(3.0), "of a vector": np.arange(2.0)}
    chosen = better(None, 1, 2.0, {}, params)
    like = {name: leaf + 0 for name, leaf in params.items()}
    params["w"].delete()  # as a donated step does
    again = chosen.params(like)
    assert isinstance(again["w"], jax.Array)
    assert isinstance(again["of a vector"], np.ndarray)
    assert equal_bits(again, like)


@pytest.mark.fault(4)
@pytest.mark.parametrize("killed_at", [5, 12, 19, 27, 33, 36])
def test_killed_at_any_report_it_chooses_the_same(killed_at: int, whole: Any, tmp_path: Path) -> None:
    told = Told(killed_at=killed_at)
    with pytest.raises(Killed):
        chooses(tmp_path / "1", told)
    saved = [r.path for r in told.reports[:-1] if r.kind == "checkpoint"]
    outcome, _, params = chooses(tmp_path / "2", resume=saved[-1] if saved else None)
    assert outcome.values == whole[0].values
    assert equal_bits(params, whole[2])


def test_a_checkpoint_of_before_runs_chose_is_gone_on_with(whole: Any, tmp_path: Path) -> None:
    run(tmp_path / "1", cadence=EVERY_STEP, evaluate=wavy)
    kept = tmp_path / "1" / "checkpoint-12"
    assert "chosen" not in json.loads((kept / "manifest.json").read_text())
    assert not [n for n in json.loads((kept / "manifest.json").read_text())["arrays"] if "chosen" in n]
    outcome, told, _ = chooses(tmp_path / "2", resume=kept)
    late = {step: values["choosing"] for step, _, values, _ in told.said("eval")}
    assert min(late) == 13
    assert outcome.values["chosen_score"] == max(late.values())


def test_a_run_that_chooses_nothing_holds_no_second_copy(whole: Any, tmp_path: Path) -> None:
    chooses(tmp_path / "1")
    snapshot = checkpoint.read(tmp_path / "1" / "checkpoint-16", job().state.kept(), fingerprint=FINGERPRINT)
    assert snapshot.chosen is not None
    assert snapshot.chosen["step"] == whole[0].values["chosen_step"]
    last, _ = run(tmp_path / "2", resume=tmp_path / "1" / "checkpoint-16", evaluate=evaluate)
    assert "chosen_step" not in last.values


# -- rows ------------------------------------------------------------------------------------------------


def rows(*inputs: str) -> list[tuple[str, str]]:
    return [(each, "x") for each in inputs]


def test_half_of_the_rows_choose_and_no_reported_one_has_their_input() -> None:
    select = rows(*(f"p: {n % 30}" for n in range(80)))
    chosen, reported = halves(select, most=40, prefix="p: ")
    assert {select[i] for i in chosen}.isdisjoint({select[i] for i in reported})
    assert len({select[i] for i in chosen}) == 15
    assert chosen.max() < 40
    assert len(reported) == sum(select[i] not in {select[j] for j in chosen} for i in range(80))
    other = rows(*(f"q: {n % 30}" for n in range(80)))
    again = halves(other, most=40, prefix="q: ")
    assert [part.tolist() for part in again] == [chosen.tolist(), reported.tolist()]


def test_the_half_is_of_the_text_and_not_of_its_order() -> None:
    labels = [f"{'even' if n % 2 else 'odd'} {n}" for n in range(40)]
    chosen, _ = halves(rows(*labels), most=40, prefix="")
    turned, _ = halves(rows(*reversed(labels)), most=40, prefix="")
    assert {labels[i] for i in chosen} == {labels[::-1][i] for i in turned}
    assert 0 < sum("even" in labels[i] for i in chosen) < 20


def test_a_dev_split_of_one_input_is_refused() -> None:
    with pytest.raises(DataError) as refused:
        halves(rows("a", "a", "b"), most=2, prefix="")
    assert str(refused.value) == (
        "score.choose is 'best', and the first 2 rows of the dev split have 1 input. Allowed are two "
        "different ones at least: half of them choose, the others are reported. Give the dev split more "
        "rows, or set score.choose to 'last'."
    )


# -- a whole run -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def trained(home: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Any]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, *chosen_program.run(config(folder / "my_task.py"), folder)


def written(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / PARAMS) as file:
        return {name: file[name] for name in file.files}


def test_a_task_s_run_writes_and_scores_what_it_chose(trained: Any, tmp_path: Path) -> None:
    folder, outcome, told = trained
    assert outcome.status == "completed", outcome.reason
    evaluations = told.of("eval")
    best = max(evaluations, key=lambda step: evaluations[step]["choosing_score"])
    assert best < STEPS, "else the test shows nothing"
    assert outcome.values["chosen_step"] == best
    then = evaluations[best]
    assert outcome.values["chosen_score"] == then["choosing_score"] != then["score"]
    assert {n: outcome.values[n] for n in ("dev_loss", "score", "d")} == {
        n: then[n] for n in ("dev_loss", "score", "d")
    }
    assert "test_score" in outcome.values
    assert not [name for name in outcome.values if "choosing" in name]

    shorter = {**config(folder / "my_task.py", choose="last"), "steps": best}
    last, _ = chosen_program.run(shorter, tmp_path / "last")  # ends there, without choosing
    assert equal_bits(written(folder), written(tmp_path / "last"))
    assert outcome.values["test_score"] == last.values["test_score"]


def test_no_row_that_chose_is_among_the_reported_ones(trained: Any, tmp_path: Path) -> None:
    folder, outcome, _ = trained
    _, *lines = map(json.loads, (folder / "answers-dev.jsonl").read_text().splitlines())
    last = {**config(folder / "my_task.py", choose="last"), "steps": 1}
    chosen_program.run(last, tmp_path / "last")
    _, *dev = map(json.loads, (tmp_path / "last" / "answers-dev.jsonl").read_text().splitlines())
    reported = {line["input"] for line in lines}
    assert (len(dev), len(lines)) == (20, 10)
    assert reported < {line["input"] for line in dev}
    task: dict[str, Any] = {}
    exec(chosen_program.TASK, task)
    records = [{"n": int(line["input"].split()[-1])} for line in lines]
    assert outcome.values["score"] == task["score"]([line["output"] for line in lines], records)["d"]


@pytest.mark.fault(4, real=True)
def test_a_process_that_kill_9_ended_leaves_a_run_that_chooses_the_same_bits(
    trained: Any, tmp_path: Path
) -> None:
    folder, outcome, _ = trained
    best = int(outcome.values["chosen_step"])
    dies_at = min(best + 1, STEPS - 1)  # the best one stands in the checkpoint alone
    chosen_program.killed(config(folder / "my_task.py"), tmp_path, dies_at=dies_at)
    newest = checkpoint.finished(tmp_path)[0]
    assert newest.name == f"checkpoint-{dies_at}"
    (tmp_path / "resume.json").write_text(json.dumps({"checkpoint": str(newest)}))
    again, after = chosen_program.run(config(folder / "my_task.py"), tmp_path)
    assert min(after.of("eval")) == dies_at + 1 > best
    assert again.values == outcome.values
    assert (tmp_path / PARAMS).read_bytes() == (folder / PARAMS).read_bytes()
    assert (tmp_path / "answers-test.jsonl").read_bytes() == (folder / "answers-test.jsonl").read_bytes()
