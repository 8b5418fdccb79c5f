"""What the benchmarks of whole studies make of what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import same_spec, whole_study

CLOCKS = {"train_s": 60.0, "eval_s": 20.0, "compile_s": 10.0, "other_s": 6.0, "steps": 100.0, "tokens": 5.0}


def part(wall_s: float, **more: Any) -> dict[str, Any]:
    """Of a study that was measured."""
    return {
        "wall_s": wall_s,
        "study_s": wall_s - 2,
        "cpu_s": 4.0,
        "load_before": 0.1,
        "spec_hash": "abc",
        "trials": 10,
        "states": {"completed": 10},
        "verdict": "supported",
        "clocks": CLOCKS,
        "arms": {},
        **more,
    }


def on_seeds(mean: float, *, sd: float | None = 0.1, runs: int = 6) -> dict[str, Any]:
    return {"runs": runs, "mean": mean, "sd": sd}


def test_a_version_is_told_by_its_time_over_the_other_ones() -> None:
    done = same_spec.compared(part(100.0), part(70.0, cpu_s=1.0), workers=2)
    assert done.ratios == {"wall": pytest.approx(0.7), "study": pytest.approx(68 / 98), "cpu": 0.25}
    assert done.figures["train_s"] == {"against": 60.0, "this": 60.0}
    assert done.figures["slots_busy"]["this"] == pytest.approx(96 / (2 * 68))
    assert done.figures["beyond_training"]["against"] == pytest.approx(2.0)


def test_two_versions_that_ran_different_specs_are_not_compared() -> None:
    with pytest.raises(SystemExit, match="different specs"):
        same_spec.compared(part(100.0), part(70.0, spec_hash="def"), workers=2)


def test_an_arm_beyond_the_noise_of_its_seeds_is_named() -> None:
    against = part(
        100.0, arms={"base": on_seeds(1.0), "bo": on_seeds(1.0), "search": {"runs": 3, "best": 1.0}}
    )
    this = part(70.0, arms={"base": on_seeds(1.1), "bo": on_seeds(1.3), "search": {"runs": 3, "best": 9.0}})
    done = same_spec.compared(against, this, workers=2)
    assert done.figures["beyond_noise"] == ["bo"]  # 1.7 and 5.2 standard errors; a search has no spread
    assert same_spec.by_arm(done.figures["dev_loss"]).splitlines()[2:] == [
        "| base | 6 | 1.0000 ± 0.1000 | 1.1000 ± 0.1000 |",
        "| bo | 6 | 1.0000 ± 0.1000 | 1.3000 ± 0.1000 |",
        "| search | 3 | best 1.0000 | best 9.0000 |",
    ]


def test_theirs_is_told_over_ours_cold_and_warm() -> None:
    parts = {
        "ours-cold": part(100.0),
        "theirs-cold": part(150.0, processes=3),
        "ours-warm": part(80.0),
        "theirs-warm": part(100.0, processes=2),
    }
    done = whole_study.compared(parts, workers=2)
    assert done.ratios == {"vs_script_cold": 1.5, "vs_script_warm": 1.25, "beyond_training": 2.0}
    assert set(done.wants) == set(done.ratios)


def test_parts_alone_give_what_they_can() -> None:
    assert whole_study.compared({"theirs-cold": part(150.0)}, workers=2).ratios == {}
    assert whole_study.compared({"ours-cold": part(100.0)}, workers=2).ratios == {"beyond_training": 2.0}


def test_sides_that_ran_different_numbers_of_trials_are_not_compared() -> None:
    with pytest.raises(SystemExit, match="Ours ran 10 trials and theirs 9"):
        whole_study.compared({"ours-cold": part(1.0), "theirs-cold": part(1.0, trials=9)}, workers=2)


@pytest.mark.parametrize(
    ("only", "cold", "warm", "parts"),
    [
        (None, False, False, ["ours-cold", "theirs-cold", "ours-warm", "theirs-warm"]),
        (None, True, False, ["ours-cold", "theirs-cold"]),
        ("theirs", True, False, ["theirs-cold"]),
        ("ours", False, True, ["ours-cold", "ours-warm"]),
    ],
)
def test_parts_are_measured_in_turn_and_a_warm_one_after_its_cold_one(
    only: str | None, cold: bool, warm: bool, parts: list[str]
) -> None:
    assert whole_study.wanted(only, cold=cold, warm=warm) == parts
