"""Is the multiplier at each step the one of the formula, written here in plain Python or by optax?"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trainer.optim import schedules

WARMUP, STEPS = 10, 100


def curve(name: str, *, warmup_steps: int = WARMUP, steps: int = STEPS, until: int = STEPS) -> np.ndarray:
    multiplier: np.ndarray = schedules.curves_of(name, warmup_steps=warmup_steps, steps=steps)["multiplier"]
    assert until <= len(multiplier)
    return multiplier[:until]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("inverse-sqrt", lambda t: min(1, t / WARMUP) / math.sqrt(max(t, WARMUP))),
        ("constant-rsqrt", lambda t: math.sqrt(WARMUP) / math.sqrt(max(t, WARMUP))),
        ("constant", lambda t: min(1, t / WARMUP)),
        ("linear", lambda t: min(t / WARMUP, 1 - (t - WARMUP) / (STEPS - WARMUP))),
        ("cosine", optax.warmup_cosine_decay_schedule(0.0, 1.0, WARMUP, STEPS)),
    ],
)
def test_a_schedule_follows_its_formula(name: str, formula: Callable[[int], float]) -> None:
    expected = [float(formula(t)) for t in range(STEPS)]
    np.testing.assert_allclose(curve(name), expected, rtol=1e-5, atol=1e-7)


def test_the_papers_rate_peaks_at_the_end_of_the_warm_up_and_starts_at_zero() -> None:
    rates = 0.4 * curve("inverse-sqrt", warmup_steps=4000, steps=4002, until=4002)
    assert rates[0] == 0
    assert rates.argmax() == 4000
    assert rates[4000] == pytest.approx(0.4 / math.sqrt(4000))


def test_t5s_rate_is_a_hundredth_for_ten_thousand_steps() -> None:
    rates = 0.01 * curve("constant-rsqrt", warmup_steps=10_000, steps=10_010, until=10_010)
    np.testing.assert_allclose(rates[:10_001], 0.01, rtol=1e-6)
    assert rates[10_009] == pytest.approx(1 / math.sqrt(10_009), rel=1e-6)


@pytest.mark.parametrize("name", ["inverse-sqrt", "constant-rsqrt", "linear", "cosine", "constant"])
def test_without_a_warm_up_the_first_step_has_the_full_rate(name: str) -> None:
    assert curve(name, warmup_steps=0)[0] == 1


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_decay_ends_at_zero_and_stays_there(name: str) -> None:
    np.testing.assert_allclose(curve(name, until=STEPS + 5)[STEPS:], 0, atol=1e-7)


def test_a_saved_schedule_comes_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    multiplier, alpha = rng.random((2, 7), np.float32)
    beta1 = rng.random((7, 3), np.float32)  # per group
    path = tmp_path / "schedule.npz"
    schedules.save(path, multiplier=multiplier, values={"alpha": alpha, "beta1": beta1})
    curves = schedules.load(path)
    for step in (0, 3, 6):
        rate, values = schedules.at(jnp.asarray(step), curves)
        assert np.array_equal(rate, multiplier[step])
        assert np.array_equal(values["alpha"], alpha[step])
        assert np.array_equal(values["beta1"], beta1[step])


def test_past_its_end_a_replayed_schedule_stays_at_its_last_value(tmp_path: Path) -> None:
    path = tmp_path / "schedule.npz"
    schedules.save(path, multiplier=[1.0, 0.5], values={"alpha": [1.0, 3.0]})
    for curves in (schedules.load(path), schedules.lasting(schedules.load(path), 1000)):
        rate, values = schedules.at(jnp.asarray(900), curves)
        assert (float(rate), float(values["alpha"])) == (0.5, 3.0)


def test_curves_are_as_long_for_all_runs_of_up_to_a_power_of_two(tmp_path: Path) -> None:
    path = tmp_path / "schedule.npz"
    schedules.save(path, multiplier=np.ones(2000), values={"alpha": np.ones(2000)})
    for steps, length in ((1, 1024), (40, 1024), (1024, 1024), (1025, 2048), (160_000, 262_144)):
        course = schedules.course_of({"alpha": {"end": 0.5}}, {"alpha": 1.0})
        computed = schedules.curves_of("linear", warmup_steps=1, steps=steps, courses=course)
        recorded = schedules.lasting(schedules.load(path), steps)
        for curves in (computed, recorded):
            assert {len(curve) for curve in (curves["multiplier"], curves["values"]["alpha"])} == {length}


def test_what_no_schedule_tells_is_the_runs_own() -> None:
    raw = {"alpha": jnp.ones(()), "beta1": jnp.ones(3), "eps": jnp.ones(())}
    told = {"multiplier": np.ones(2), "values": {"alpha": np.array([0.5, 0.25])}}
    curves = schedules.with_all(told, ["alpha", "beta1"], raw)
    _, values = schedules.at(jnp.asarray(1), curves)
    found = schedules.told_or_own(values, raw)
    assert {name: np.asarray(value).tolist() for name, value in found.items()} == {
        "alpha": 0.25,
        "beta1": [1.0, 1.0, 1.0],
        "eps": 1.0,
    }


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"alpha": [1.0]}, "s.npz holds alpha and no `multiplier`."),
        (
            {"multiplier": [1.0, 1.0], "alpha": [1.0]},
            "s.npz holds curves of different lengths or none ({'multiplier': 2, 'alpha': 1}).",
        ),
        (
            {"multiplier": []},
            "s.npz holds curves of different lengths or none ({'multiplier': 0}).",
        ),
    ],
)
def test_a_file_that_is_no_schedule_is_refused(
    tmp_path: Path, arrays: dict[str, list[float]], sentence: str
) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    with pytest.raises(ValueError) as refused:
        schedules.load(path)
    assert str(refused.value).startswith(sentence)
