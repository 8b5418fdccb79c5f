"""Does a run on unlabelled text that kill -9 ended go on with the same noise, whatever it reads?"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from tests.trainer.data.prepared_sets import write_set
from tests.trainer.training import chosen_program
from trainer.protocol import PARAMS
from trainer.training import checkpoint

STEPS = 24
WORDS = ("river", "stone", "green", "walks", "slowly", "under", "seven", "bridges", "home", "again", "near")


def documents() -> list[str]:
    rng = random.Random(8)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 40))) + f" {i}." for i in range(900)]


def own_file(folder: Path) -> dict[str, Any]:
    (folder / "notes.txt").write_text("".join(f"{line}\n" for line in documents()), encoding="utf-8")
    return {"source": "text", "path": str(folder / "notes.txt")}


def c4(folder: Path) -> dict[str, Any]:
    library = pytest.importorskip("tensorflow_datasets")
    library.disable_progress_bar()
    text = library.features.Text()
    rows = [{"text": line, "url": "https://example.com"} for line in documents()]
    features = library.features.FeaturesDict({"text": text, "url": text})
    write_set(folder / "c4/en", features, {"train": rows[:800], "validation": rows[800:]})
    return {"source": "tfds:c4/en", "path": str(folder)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.fault(4, real=True)
@pytest.mark.parametrize("source", [own_file, c4])
def test_the_loss_curve_is_that_of_the_run_that_was_left_alone(source: Any, tmp_path: Path) -> None:
    config = {
        "seed": 3,
        "steps": STEPS,
        "eval_every_steps": 6,
        "checkpoint_every_steps": 6,
        "data": {**source(tmp_path), "source_tokens": 24, "vocabulary": 100, "sentinels": 20},
        "objective": {"name": "random-spans"},
        "model": {"size": "t5-tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
        "optimizer": {"name": "adafactor"},
        "schedule": {"warmup_steps": 2},
        "batch": {"sentences": 16},
        "guidance": {"estimator": "held-out", "learn": ["alpha"], "eta": 0.05},
    }
    whole, alone = chosen_program.run(config, tmp_path / "alone")
    assert whole.status == "completed", whole.reason
    dies_at = random.Random(source.__name__).randrange(7, STEPS)
    folder = tmp_path / "killed"
    chosen_program.killed(config, folder, dies_at=dies_at, dies_on="train")
    newest = checkpoint.finished(folder)[0]
    (folder / "resume.json").write_text(json.dumps({"checkpoint": str(newest)}))
    again, after = chosen_program.run(config, folder)
    assert 0 < again.clocks["steps"] < STEPS
    assert after.of("train").items() <= alone.of("train").items()
    assert after.of("eval").items() <= alone.of("eval").items()
    assert again.values == whole.values
    assert (folder / PARAMS).read_bytes() == (tmp_path / "alone" / PARAMS).read_bytes()
