"""Does the guide to loops of one's own run as it is printed, and do hyperparameters learn in it?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import guidance

GUIDE = Path(__file__).parents[3] / "docs" / "own-loop.md"


def run(example: int, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """What an example leaves; with the names of an earlier one, it goes on from there."""
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names = {} if names is None else names
    exec(compile(blocks[example], f"{GUIDE.name}, example {example + 1}", "exec"), names)
    return names


def test_the_plain_network_learns_its_weights_and_its_hyperparameters_and_goes_on_with_lagged() -> None:
    names = run(0)
    assert np.mean(names["losses"][-20:]) < 0.6 * np.mean(names["losses"][:20])
    values = names["state"].values
    assert abs(float(values["alpha"]) - 1.0) > 0.05
    assert abs(float(values["beta1"]) - 0.9) > 0.005
    assert all(int(count) == 0 for count in names["state"].meta.skipped.values())
    before = np.mean(names["losses"][-20:])
    run(1, names)
    assert float(names["loss"]) < before
    assert {
        float(names["state"].values[name]) != start for name, start in (("alpha", 1), ("beta1", 0.9))
    } == {True}


def test_the_flax_model_learns_one_beta1_for_each_group() -> None:
    names = run(2)
    assert np.mean(names["tagging_losses"][-10:]) < 0.8 * np.mean(names["tagging_losses"][:10])
    embedding, rest = (float(b) for b in names["train_state"].opt_state.values["beta1"])
    assert embedding != pytest.approx(rest, abs=1e-4)
    assert embedding != pytest.approx(0.9, abs=1e-4)


def test_the_guide_names_everything_that_is_public() -> None:
    table = GUIDE.read_text().split("## A plain network")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(guidance.__all__)
