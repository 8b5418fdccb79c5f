"""Are the mean and the straight decay of what a run learned the things that their names say?"""

from __future__ import annotations

import numpy as np

from trainer.config.inherit import inherit, learns, matched_decay

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
    assert inherit("weights", GUIDED, None) == ["Allowed is one of: schedule, schedule-mean, matched-decay."]
