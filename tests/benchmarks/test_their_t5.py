"""What the benchmarks that compare with transformers tell, and say where it is not installed."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest

from benchmarks import __main__ as every
from benchmarks import finetune_speed, their_t5
from trainer.config import ModelConfig
from trainer.models import model_settings


def side(wall_s: float, **more: float) -> dict[str, float]:
    """Of a fine-tuning that was measured."""
    told = {"imports_s": 2.0, "compile_s": 0.0, "eval_s": 1.0, "all_s": wall_s - 1, "wall_s": wall_s}
    return {**told, "cpu_s": wall_s / 2, "steps": 300, "evaluations": 6, "accuracy": 100.0, **more}


def test_a_fine_tuning_is_told_by_theirs_over_ours() -> None:
    sides = {"theirs": side(33.0), "ours_cold": side(22.0, compile_s=9.0), "ours_warm": side(11.0)}
    done = finetune_speed.compared([sides, sides, {**sides, "theirs": side(66.0)}])
    # Without its start it is 30 s over 10, 63 s over 10 in the last round.
    assert done.ratios == {"vs_hf_trainer": 3.0}
    assert set(done.wants) == set(done.ratios)
    assert done.figures["over_ours"] == {"cold": 1.5, "cold_cpu": 1.5, "warm": 3.0, "warm_cpu": 3.0}
    assert done.figures["start_s"] == {"theirs": 2.0, "ours_cold": 11.0, "ours_warm": 2.0}
    assert done.figures["spread"] == {"median": 3.0, "least": 3.0, "most": 6.3}
    assert done.figures["ours_cold"]["compile_s"] == 9.0


def test_sides_that_made_different_steps_are_not_compared() -> None:
    sides = {"theirs": side(3.0, steps=299), "ours_cold": side(2.0), "ours_warm": side(1.0)}
    with pytest.raises(SystemExit, match="different"):
        finetune_speed.compared([sides])


def test_no_row_of_the_fine_tuning_is_there_twice() -> None:
    rows = {
        split: finetune_speed.reviews(count, seed=seed)
        for seed, (split, count) in enumerate(finetune_speed.ROWS.items(), start=1)
    }
    inputs = [row.split("\t")[0] for each in rows.values() for row in each]
    assert len(set(inputs)) == sum(finetune_speed.ROWS.values())


def test_what_is_not_installed_is_named_with_the_extra_that_brings_it() -> None:
    assert their_t5.missing(["transformers"]) == (
        "This benchmark compares with Hugging Face transformers, which is not installed. Install the extra "
        "`bench-decode`: pip install -e '.[bench-decode]'."
    )
    assert their_t5.missing(["transformers", "accelerate"]) == (
        "This benchmark compares with Hugging Face transformers and accelerate, which are not installed. "
        "Install the extra `bench-decode`: pip install -e '.[bench-decode]'."
    )


def test_benchmarks_that_lack_a_package_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "accelerate" else found(name)
    )
    monkeypatch.setattr(every, "short", lambda: ["finetune_speed"])
    monkeypatch.setitem(their_t5.NEEDED, "finetune_speed", ("accelerate",))
    assert every.main() == 0
    assert capsys.readouterr().err == (
        "finetune_speed is passed over: it needs accelerate, not installed here (the extra bench-decode).\n"
    )


def test_what_compares_with_transformers_is_a_benchmark() -> None:
    assert set(their_t5.NEEDED) <= {*every.short(), *every.LONG}
    assert their_t5.absent("data_speed") == []


def test_their_t5_has_as_many_parameters_as_ours() -> None:
    pytest.importorskip("transformers")
    from trainer.models import count_parameters, param_shapes

    for size in ("t5-tiny", "paper-t5"):  # whose logits share the embedding
        settings = model_settings(ModelConfig(size=size), vocabulary=320)
        ours = param_shapes(settings)
        model = their_t5.model_of(settings)
        assert sum(math.prod(p.shape) for p in model.parameters()) == count_parameters(ours)
