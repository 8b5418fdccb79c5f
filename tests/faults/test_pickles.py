"""Row 25: a pickle that somebody has planted is never loaded, wherever a file is read."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.entrypoints import rehearsal
from orchestrator.ground.errors import BadSpec
from orchestrator.runs import schedules as exported
from orchestrator.study.spec_files import read_spec
from trainer.config import TrainConfig
from trainer.models import weights
from trainer.optim import schedules
from trainer.protocol import PARAMS, SCHEDULE
from trainer.training import checkpoint

pytestmark = pytest.mark.fault(25, real=True)
STEPS = 40


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, sprung: Path) -> None:
        self._sprung = str(sprung)

    def __reduce__(self) -> Any:
        return (open, (self._sprung, "w"))


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """What is there once a trap was loaded."""
    path = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(path))).close()  # it does work
    path.unlink()
    return path


def _archive(sprung: Path, *names: str) -> bytes:
    """An .npz whose arrays of these names are pickles."""
    out = io.BytesIO()
    np.savez(out, **{name: np.array([Trap(sprung)], dtype=object) for name in names})
    return out.getvalue()


def _bare(sprung: Path, *_: str) -> bytes:
    """A pickle and nothing else."""
    return pickle.dumps(Trap(sprung))


Planted = Callable[..., bytes]
both = pytest.mark.parametrize("planted", [_archive, _bare])


@both
def test_in_a_checkpoint_whose_hashes_are_right(tmp_path: Path, sprung: Path, planted: Planted) -> None:
    state = {"w": jnp.arange(4.0)}
    path = checkpoint.save(tmp_path, checkpoint.Snapshot(3, state, seed=7, fingerprint="f"))
    content = planted(sprung, *(name.removesuffix(".npy") for name in _members(path / checkpoint.ARRAYS)))
    (path / checkpoint.ARRAYS).write_bytes(content)
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    manifest["sha256"] = hashlib.sha256(content).hexdigest()
    told = json.dumps(manifest).encode()
    (path / checkpoint.MANIFEST).write_bytes(told)
    (path / checkpoint.MARKER).write_text(hashlib.sha256(told).hexdigest())
    with pytest.raises(ValueError):
        checkpoint.restore(path, state, fingerprint="f")
    assert not sprung.exists()


def _members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@both
def test_in_a_finished_model_s_parameters(tmp_path: Path, sprung: Path, planted: Planted) -> None:
    (tmp_path / PARAMS).write_bytes(planted(sprung, "w"))
    with pytest.raises(ValueError):
        weights.load(tmp_path / PARAMS, {"w": jnp.zeros(1)})
    assert not sprung.exists()


@both
def test_in_a_schedule_that_a_run_is_to_replay(tmp_path: Path, sprung: Path, planted: Planted) -> None:
    path = tmp_path / "schedule.npz"
    path.write_bytes(planted(sprung, "multiplier", "alpha", "beta1"))
    with pytest.raises(ValueError):
        schedules._read(path)
    with pytest.raises(ValueError):
        rehearsal._replayed(TrainConfig.from_dict({"steps": STEPS, "schedule": {"name": str(path)}}))
    assert not sprung.exists()


@both
def test_in_a_schedule_that_is_exported(tmp_path: Path, sprung: Path, planted: Planted) -> None:
    (tmp_path / SCHEDULE).write_bytes(planted(sprung, "multiplier", "alpha"))
    with pytest.raises(BadSpec):
        exported.read(tmp_path)
    assert not sprung.exists()


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_in_a_spec_that_is_imported(tmp_path: Path, sprung: Path, suffix: str) -> None:
    path = tmp_path / f"spec{suffix}"
    path.write_bytes(_bare(sprung))
    with pytest.raises(BadSpec):
        read_spec(path)
    path.write_text(f"name: !!python/object/apply:open ['{sprung}', 'w']\n")
    with pytest.raises(BadSpec):
        read_spec(path)
    assert not sprung.exists()
