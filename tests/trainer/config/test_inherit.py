"""Are the mean, the straight decay and the blind course of what runs learned what their names say?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.config.inherit import curves_in, inherit, learns, matched_decay

GUIDED = {"guidance": {"estimator": "lagged", "learn": ["alpha"], "eta": 0.1}, "steps": 4}


def test_where_the_learned_alpha_rose_and_fell_its_match_takes_the_straight_way() -> None:
    steps = np.arange(400)
    rose = np.exp(np.interp(steps, [0, 100, 399], np.log([1.0, 1.6, 0.65])))
    made = matched_decay({"multiplier": np.ones(400), "alpha": rose}, ("alpha",))["alpha"]
    np.testing.assert_allclose(made, 0.65 ** (steps / 399), rtol=1e-9)
    only_rose = matched_decay({"multiplier": np.ones(400), "alpha": 1 / rose}, ("alpha",))["alpha"]
    np.testing.assert_allclose(only_rose, 0.65 ** (-steps / 399), rtol=1e-9)


def test_a_run_learns_what_its_guidance_names_and_nothing_without_an_estimator() -> None:
    assert learns(GUIDED) == ("alpha",)
    assert learns({"guidance": {"estimator": "off", "learn": ["alpha"]}}) == ()
    assert learns({"guidance": {"learn": ["alpha"]}}) == learns({}) == learns({"guidance": 7}) == ()


def test_before_a_run_what_can_be_taken_of_it_is_its_config_unguided() -> None:
    assert inherit("schedule", GUIDED, None) == {
        "guidance": {"estimator": "off", "learn": []},
        "steps": 4,
    }
    assert GUIDED["guidance"] == {"estimator": "lagged", "learn": ["alpha"], "eta": 0.1}


def test_an_unknown_word_is_refused_with_what_is_allowed() -> None:
    (sentence,) = inherit("weights", GUIDED, None)
    assert sentence == "Allowed is one of: schedule, schedule-mean, matched-decay, blind-course, checkpoint."


# -- the blind course ------------------------------------------------------------------------------------
BOTH: dict[str, Any] = {
    "guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"]},
    "schedule": {"name": "linear", "course": {"alpha": {"end": 0.5}}},
    "steps": 4,
}


def left(folder: Path, steps: int, **curves: list[float]) -> Path:
    """A finished run's folder; its multiplier says of how many steps it was."""
    folder.mkdir()
    own = {"multiplier": [float(steps)] * steps, "eps": [steps / 1e6] * steps, **curves}
    np.savez(folder / "schedule.npz", **{name: np.array(c, np.float32) for name, c in own.items()})  # type: ignore[arg-type]
    return folder


def pooled(tmp_path: Path) -> tuple[Path, list[Path]]:
    """The run that is followed, of 4 steps, and two others, of 2 and of 4."""
    short = left(tmp_path / "a", 2, alpha=[1.0, 4.0], beta1=[0.5, 0.8])
    equal = left(tmp_path / "b", 4, alpha=[1.0, 1.0, 0.25, 0.25], beta1=[0.5, 0.5, 0.2, 0.2])
    return left(tmp_path / "own", 4, alpha=[9.0] * 4, beta1=[0.99] * 4), [short, equal]


def taken(own: Path, others: list[Path]) -> dict[str, Any]:
    config = inherit("blind-course", BOTH, own, others)
    assert isinstance(config, dict)
    return config


def test_a_blind_course_is_the_mean_over_the_other_runs_at_the_same_part_of_their_time(
    tmp_path: Path,
) -> None:
    own, others = pooled(tmp_path)
    config = taken(own, others)
    assert (config["guidance"], config["steps"]) == ({"estimator": "off", "learn": []}, 4)
    assert config["schedule"].keys() == {"name"}  # the file holds what the course gave
    made = curves_in(Path(config["schedule"]["name"]).parent.parent)  # its own run's, which is as it was
    np.testing.assert_array_equal(made["alpha"], np.full(4, 9.0, np.float32))
    with np.load(config["schedule"]["name"]) as file:
        found = {name: file[name].tolist() for name in file.files}
    # At 0, 1/4, 1/2 and 3/4 the run of two steps stands at 1, between 1 and 4 (2 by its logarithm), 4 and 4.
    alpha = [math.sqrt(1 * 1), math.sqrt(2 * 1), math.sqrt(4 * 0.25), math.sqrt(4 * 0.25)]
    assert found["alpha"] == pytest.approx(alpha, rel=1e-6)
    # Odds of 1, 2, 4 and 4 there, and of 1, 1, 1/4 and 1/4 here.
    odds = [math.sqrt(1 * 1), math.sqrt(2 * 1), math.sqrt(4 / 4), math.sqrt(4 / 4)]
    assert found["beta1"] == pytest.approx([o / (1 + o) for o in odds], rel=1e-6)
    assert found["multiplier"] == [4.0] * 4
    assert found["eps"] == pytest.approx([4e-6] * 4)


def test_a_longer_follower_keeps_the_last_value_of_a_shorter_run_to_its_end(tmp_path: Path) -> None:
    own, (short, _) = pooled(tmp_path)
    with np.load(taken(own, [short])["schedule"]["name"]) as file:
        assert file["alpha"].tolist() == pytest.approx([1.0, 2.0, 4.0, 4.0], rel=1e-6)


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    own, others = pooled(tmp_path)
    first, second = (Path(taken(own, others)["schedule"]["name"]).read_bytes() for _ in range(2))
    assert first == second


def test_a_value_that_ran_into_an_end_of_its_range_leaves_the_course_finite(tmp_path: Path) -> None:
    own = left(tmp_path / "own", 2, alpha=[1.0, 1.0], beta1=[0.9, 0.9])
    ends = left(tmp_path / "ends", 2, alpha=[0.0, 1.0], beta1=[1.0, 0.0])
    with np.load(taken(own, [ends])["schedule"]["name"]) as file:
        assert all(np.isfinite(file[name]).all() for name in file.files)
        assert 0 < file["beta1"][1] < file["beta1"][0] < 1


def test_what_a_blind_course_lacks_is_said_with_the_file(tmp_path: Path) -> None:
    own, (short, equal) = pooled(tmp_path)
    alone = inherit("blind-course", BOTH, own)
    assert alone == ["There is no run on another training seed whose course could be taken."]
    bare = left(tmp_path / "bare", 2, alpha=[1.0, 1.0])
    (sentence,) = inherit("blind-course", BOTH, own, [short, bare])
    assert sentence.startswith(f"{bare}/schedule.npz has no beta1. An arm can follow a run that")
    (equal / "schedule.npz").write_bytes((equal / "schedule.npz").read_bytes()[:90])
    (sentence,) = inherit("blind-course", BOTH, own, [short, equal])
    assert sentence.startswith(f"{equal}/schedule.npz cannot be read")
    (short / "schedule.npz").unlink()
    (sentence,) = inherit("blind-course", BOTH, own, [short])
    assert sentence.startswith(f"{short} has no schedule.npz.")
