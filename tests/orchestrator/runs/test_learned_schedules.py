"""Does a learned schedule come out of a trial as it was, for a spec and for optax?"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.runs import schedules
from trainer.config import TrainConfig
from trainer.optim import schedules as replayed

CONFIG = {"optimizer": {"learning_rate": 0.04}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    curves = {"alpha": rng.uniform(0.1, 3, 7), "beta1": np.full(7, 0.9), "eps": np.full(7, 1e-6)}
    np.savez(
        tmp_path / "schedule.npz",
        multiplier=np.array([0, 0.5, 1, 1, 1, 1, 1], np.float32),
        **{name: curve.astype(np.float32) for name, curve in curves.items()},
    )
    return tmp_path


def test_the_json_replays_the_same_bits(folder: Path) -> None:
    curves = schedules.read(folder)
    out, _ = schedules.write(curves, folder / "learned.json", trial="s.a.0.0", config=CONFIG)
    ours, theirs = replayed.load(out), replayed.load(folder / "schedule.npz")
    np.testing.assert_array_equal(ours["multiplier"], theirs["multiplier"])
    assert ours["values"].keys() == theirs["values"].keys()
    for name, curve in theirs["values"].items():
        np.testing.assert_array_equal(ours["values"][name], curve)


def test_the_module_is_an_optax_schedule(folder: Path) -> None:
    curves = schedules.read(folder)
    _, module = schedules.write(curves, folder / "learned.json", trial="s.a.0.0", config=CONFIG)
    spec = importlib.util.spec_from_file_location("learned", module)
    assert spec is not None
    assert spec.loader is not None
    learned = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(learned)
    for step in (0, 1, 6):
        expected = 0.04 * curves["multiplier"][step] * curves["alpha"][step]
        assert float(learned.learning_rate(step)) == pytest.approx(expected, rel=1e-6)
    assert float(learned.learning_rate(100)) == float(learned.learning_rate(6))
    assert float(learned.curve("beta1")(3)) == pytest.approx(0.9)


def test_a_learning_rate_that_no_config_states_is_the_one_that_the_run_used(folder: Path) -> None:
    config = {"steps": 400, "optimizer": {"alpha": 1.0}}
    used = TrainConfig.from_dict(config).optimizer.learning_rate
    out, module = schedules.write(
        schedules.read(folder), folder / "learned.json", trial="s.a.0.0", config=config
    )
    assert json.loads(out.read_text())["learning_rate"] == used
    assert f"return {used!r} * curve" in module.read_text()


def test_a_name_that_the_trainer_would_not_read_or_a_module_of_somebody_elses_is_refused(
    tmp_path: Path,
) -> None:
    curves = {"multiplier": [1.0], "alpha": [1.0]}
    for name in ("learned", "learned.py"):
        with pytest.raises(BadSpec, match=r"Allowed is a name that ends in \.json"):
            schedules.write(curves, tmp_path / name, trial="s.a.0.0", config=CONFIG)
    (tmp_path / "train.py").write_text("import jax\n")
    with pytest.raises(BadSpec, match=r"train\.py is there, and is no learned schedule"):
        schedules.write(curves, tmp_path / "train.json", trial="s.a.0.0", config=CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
    for _ in range(2):  # its own module may be written anew
        schedules.write(curves, tmp_path / "learned.json", trial="s.a.0.0", config=CONFIG)


def test_a_trial_without_a_schedule_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refusal:
        schedules.read(tmp_path)
    assert "has no schedule.npz" in str(refusal.value)
