"""How much memory does reading a model take? Of a process of its own, beyond what it has before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer import huggingface
from trainer.config.choices import MODELS
from trainer.models import Settings, init_params

MEASURED = """
import sys
from pathlib import Path
import numpy as np
from trainer import huggingface
from trainer.config import t5_folder
from trainer.models import param_shapes

folder = t5_folder.read(sys.argv[1])
param_shapes(huggingface.settings_of(folder))
if folder.format == "pickle":
    import torch


def of_its_own():  # not the pages of a mapped file, which the system takes back when it needs them
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("RssAnon")).split()[1])


now, most, copied = of_its_own(), [], np.array
np.array = lambda *a, **k: (copied(*a, **k), most.append(of_its_own()))[0]
params = huggingface.load(folder)
print((max(most) - now) * 1024 / sum(file.stat().st_size for file in folder.files))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["safetensors", "pickle"])
def test_a_model_is_read_tensor_by_tensor(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    settings = Settings(**vars(MODELS["t5-small"]), vocabulary=2_000)  # 45 M parameters, 178 MB
    folder = tmp_path / "small"
    huggingface.export(folder, settings, init_params(settings, 0), vocabulary=b"", dropout=0.1)
    if kind == "pickle":
        from trainer.config import t5_folder
        from trainer.models import tensor_files

        readers = tensor_files.open_tensors(t5_folder.read(folder))
        tensors = {name: torch.tensor(read()) for name, read in readers.items()}
        torch.save(tensors, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder)], cwd=root, capture_output=True, text=True, check=True
    )
    assert 1.0 < float(done.stdout) < 1.3
