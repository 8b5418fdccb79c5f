"""Does the guide to loops of one's own run as it is printed, and do hyperparameters learn in it?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import guidance

GUIDE = Path(__file__).parents[2] / "docs" / "own-loop.md"


def run(example: int) -> dict[str, Any]:
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(blocks[example], f"{GUIDE.name}, example {example + 1}", "exec"), names)
    return names


def test_the_plain_network_learns_its_weights_and_its_hyperparameters() -> None:
    names = run(0)
    assert np.mean(names["losses"][-20:]) < 0.6 * np.mean(names["losses"][:20])
    values = names["state"].values
    assert abs(float(values["alpha"]) - 1.0) > 0.05
    assert abs(float(values["beta1"]) - 0.9) > 0.005
    assert all(int(count) == 0 for count in names["state"].meta.skipped.values())


def test_the_flax_model_learns_one_beta1_for_each_group() -> None:
    names = run(1)
    assert np.mean(names["tagging_losses"][-10:]) < 0.8 * np.mean(names["tagging_losses"][:10])
    embedding, rest = (float(b) for b in names["train_state"].opt_state.values["beta1"])
    assert embedding != pytest.approx(rest, abs=1e-4)
    assert embedding != pytest.approx(0.9, abs=1e-4)


def test_the_guide_names_everything_that_is_public() -> None:
    table = GUIDE.read_text().split("## A plain network")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(guidance.__all__)
