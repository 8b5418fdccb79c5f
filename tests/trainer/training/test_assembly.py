"""Does a whole run, from text to scores, keep what it promises? On the embedded corpus, very small."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from trainer.data.contract import DataError
from trainer.protocol import PARAMS, Outcome, Place, Reply, Report
from trainer.terminal.translate import Model
from trainer.training import entrypoint

pytestmark = pytest.mark.usefixtures("optimized")

STEPS = 24
BASE: dict[str, Any] = {
    "seed": 3,
    "steps": STEPS,
    "eval_every_steps": 8,
    "checkpoint_every_steps": 8,
    "data": {"pairs": 600, "level": "phrases"},
    "model": {"size": "tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "schedule": {"warmup_steps": 2},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 4},
}
GUIDED = {"estimator": "held-out", "learn": ["alpha", "beta1"], "eta": 0.05}


class Told:
    """A reporter that answers SAVE_AND_STOP at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.reports: list[Report] = []
        self.stop_at = stop_at

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        return Reply.SAVE_AND_STOP if report.step == self.stop_at else Reply.GO


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One home for all runs, as in a warm worker."""
    home = tmp_path_factory.mktemp("home")

    def once(folder: Path, changes: Mapping[str, Any], told: Told | None = None) -> Outcome:
        folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCH_HOME", str(home))
            return entrypoint.run({**BASE, **changes}, told or Told(), folder, Place())

    before = jax.config.jax_compilation_cache_dir
    yield once
    jax.config.update("jax_compilation_cache_dir", before)


Train = Callable[..., Outcome]


def params(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / PARAMS) as file:
        return {name: file[name] for name in file.files}


def same(one: Path, other: Path) -> None:
    ours, theirs = params(one), params(other)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def plain(train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Told]:
    folder, told = tmp_path_factory.mktemp("plain"), Told()
    return folder, train(folder, {}, told), told


@pytest.fixture(scope="module")
def guided(train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("guided")
    return folder, train(folder, {"guidance": GUIDED})


def test_a_run_ends_with_losses_scores_and_their_signatures(plain: tuple[Path, Outcome, Told]) -> None:
    folder, outcome, told = plain
    assert outcome.status == "completed", outcome.reason
    assert {"dev_loss", "dev_bleu", "dev_chrf", "train_loss"} <= outcome.values.keys()
    assert [r.step for r in told.reports if r.kind == "eval"] == [8, 16, 24]
    assert all(r.values.keys() == {"dev_loss"} for r in told.reports if r.kind == "eval")
    losses = [r.values["dev_loss"] for r in told.reports if r.kind == "eval"]
    assert losses[-1] < losses[0]
    head, *lines = (json.loads(x) for x in (folder / "translations-dev.jsonl").read_text().splitlines())
    assert head["beam"] == 1
    assert "tok:13a" in head["bleu"]
    assert [line.keys() for line in lines] == [{"source", "reference", "translation"}] * 4
    assert all((folder / file).is_file() for file in outcome.files)
    assert outcome.clocks["tokens"] > 0
    assert outcome.clocks["flops"] > 0


def test_the_same_config_gives_the_same_bits_and_compiles_nothing_again(
    train: Train, plain: tuple[Path, Outcome, Told], tmp_path: Path
) -> None:
    again = train(tmp_path, {})
    same(tmp_path, plain[0])
    assert again.clocks["compile_s"] == 0
    other = train(tmp_path / "other", {"optimizer": {"alpha": 2.0, "beta1": 0.5}, "seed": 4})
    assert other.clocks["compile_s"] == 0  # other numbers, one program


@pytest.mark.parametrize("stop_at", [8, 16])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    train: Train, guided: tuple[Path, Outcome], tmp_path: Path, stop_at: int
) -> None:
    first = train(tmp_path, {"guidance": GUIDED}, Told(stop_at))
    assert (first.status, first.clocks["steps"]) == ("stopped", stop_at)
    (tmp_path / "resume.json").write_text(json.dumps({"checkpoint": first.checkpoint}))
    second = train(tmp_path, {"guidance": GUIDED})
    assert second.clocks["steps"] == STEPS - stop_at
    same(tmp_path, guided[0])
    assert {k: v for k, v in second.values.items() if "peak" not in k} == {
        k: v for k, v in guided[1].values.items() if "peak" not in k
    }


def test_a_meta_learning_rate_of_zero_is_the_unguided_run_bit_for_bit(
    train: Train, plain: tuple[Path, Outcome, Told], guided: tuple[Path, Outcome], tmp_path: Path
) -> None:
    train(tmp_path, {"guidance": {**GUIDED, "eta": 0.0}})
    same(tmp_path, plain[0])
    changed = params(guided[0])
    assert any(not np.array_equal(array, changed[name]) for name, array in params(plain[0]).items())


def test_a_replayed_schedule_reproduces_the_guided_runs_parameters(
    train: Train, guided: tuple[Path, Outcome], tmp_path: Path
) -> None:
    schedule = {"name": str(guided[0] / "schedule.npz"), "warmup_steps": 2}
    outcome = train(tmp_path, {"schedule": schedule})
    assert outcome.status == "completed"
    for name, array in params(guided[0]).items():
        # The same arithmetic in another program: the last bits may differ.
        np.testing.assert_allclose(params(tmp_path)[name], array, rtol=2e-4, atol=2e-6)


def test_the_test_split_is_opened_by_who_asks_for_it_and_that_is_written_down(
    train: Train, tmp_path: Path
) -> None:
    outcome = train(tmp_path, {"score": {"dev_sentences": 0, "test": True, "beam": 2}})
    assert {"test_bleu", "test_chrf"} <= outcome.values.keys()
    assert "dev_bleu" not in outcome.values
    head, *lines = (tmp_path / "translations-test.jsonl").read_text().splitlines()
    assert json.loads(head)["beam"] == 2
    assert len(lines) == 500


def test_a_finished_run_translates(
    plain: tuple[Path, Outcome, Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    lines = [json.loads(x) for x in (plain[0] / "translations-dev.jsonl").read_text().splitlines()][1:]
    model = Model.open(plain[0])
    assert model.translate([x["source"] for x in lines], beam=1).lines == [x["translation"] for x in lines]
    with pytest.raises(ValueError, match=r"has no config\.json, vocabulary\.model, params\.npz"):
        Model.open(tmp_path)


def test_a_checkpoint_of_another_config_is_refused(
    train: Train, plain: tuple[Path, Outcome, Told], tmp_path: Path
) -> None:
    (tmp_path / "resume.json").write_text(json.dumps({"checkpoint": plain[1].checkpoint}))
    with pytest.raises(ValueError, match="is of another config"):
        train(tmp_path, {"seed": 4})


def test_a_guidance_batch_larger_than_its_split_is_refused_in_a_sentence(
    train: Train, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as refusal:
        train(tmp_path, {"guidance": GUIDED, "batch": {"sentences": 500}})
    assert "guid" in str(refusal.value)
    assert "500" in str(refusal.value)


@pytest.mark.parametrize("buckets", [0, pytest.param(3, marks=pytest.mark.slow)])  # a dozen programs
def test_packed_rows_and_several_buckets_train_too(train: Train, tmp_path: Path, buckets: int) -> None:
    outcome = train(tmp_path, {"batch": {"sentences": 8, "buckets": buckets}})
    assert outcome.status == "completed", outcome.reason
    assert outcome.values["dev_loss"] < 6


@pytest.mark.parametrize(
    "name",
    [pytest.param("optax.contrib.prodigy", marks=pytest.mark.slow), "optax.contrib.schedule_free_adamw"],
)
def test_an_optimizer_that_needs_no_schedule_resumes_to_the_same_bits_and_keeps_its_own_parameters(
    train: Train, tmp_path: Path, name: str
) -> None:
    """Prodigy keeps those that it trains on, schedule-free the average x of its y = (1 - β1) z + β1 x."""
    optimizer = {"name": name, "learning_rate": 1.0 if "prodigy" in name else 0.01}
    changes = {"optimizer": optimizer, "schedule": {"name": "constant", "warmup_steps": 2}}
    whole, first = train(tmp_path / "whole", changes), train(tmp_path / "cut", changes, Told(8))
    (tmp_path / "cut" / "resume.json").write_text(json.dumps({"checkpoint": first.checkpoint}))
    second = train(tmp_path / "cut", changes)
    assert (whole.status, second.status) == ("completed", "completed"), whole.reason
    assert second.values["dev_loss"] == whole.values["dev_loss"]
    same(tmp_path / "cut", tmp_path / "whole")

    last = tmp_path / "whole" / f"checkpoint-{STEPS}"
    table = json.loads((last / "manifest.json").read_text())["arrays"]
    with np.load(last / "arrays.npz") as archive:
        arrays = {n: archive[row["file"].removesuffix(".npy")] for n, row in table.items()}
    for leaf, kept in params(tmp_path / "whole").items():
        y = arrays[f"state/params/{leaf}"]
        z = [array for n, array in arrays.items() if n.endswith(f"/z/{leaf}")]
        np.testing.assert_allclose(kept, (y - 0.1 * z[0]) / 0.9 if z else y, rtol=1e-4, atol=1e-6)
