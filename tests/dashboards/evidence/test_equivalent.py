"""On surfaces that are known: how many trials does a search need, and is that what is said?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dashboards.evidence import frames
from dashboards.evidence.equivalent import Axes, Confirmed, Equivalent, Worth, equivalent, replays, worth
from orchestrator.search import Observation, Request, searcher
from orchestrator.study.spec import Parameter, StudySpec
from tests.dashboards.ledgers import Run, ledger, spec

LOWEST = np.array([0.3, 0.6])
LEVEL = 0.1  # by how much the log losses of fresh seeds lie above those of the search
DEFAULT = (0.9, 0.1)


def surface(points: np.ndarray) -> np.ndarray:
    """The log loss: a bowl whose floor is log .2."""
    found: np.ndarray = np.log(0.2) + 2.0 * ((np.asarray(points) - LOWEST) ** 2).sum(axis=-1)
    return found


def known(above: float, *, default: tuple[float, float] | None = DEFAULT, noise: float = 0.02) -> Equivalent:
    """Of a row whose log loss lies so far above the floor."""
    random = np.random.default_rng(7)
    points = np.vstack([[DEFAULT], random.random((39, 2))])

    def losses(at: np.ndarray, count: int) -> list[float]:
        return list(np.exp(surface(at) + LEVEL + noise * random.standard_normal(count)))

    searched = np.exp(surface(points) + noise * random.standard_normal(len(points)))
    best = points[searched.argmin()]
    curves = replays(
        points.tolist(),
        searched.tolist(),
        confirmed=[Confirmed(tuple(each), losses(each, 6)) for each in (np.array(DEFAULT), best)],
        default=default,
        startup=5,
    )
    assert curves is not None
    return equivalent(curves, list(np.exp(np.log(0.2) + LEVEL + above + noise * random.standard_normal(6))))


def test_a_row_as_good_as_the_default_is_worth_one_trial_and_one_below_the_floor_more_than_any() -> None:
    assert known(float(surface(np.array(DEFAULT)) - np.log(0.2)) + 0.02).trials == 1
    assert known(-0.1) == Equivalent(None, None, None, most=100)


@pytest.mark.parametrize("above", [0.2, 0.1, 0.05])
def test_of_random_search_it_is_what_order_statistics_say(above: float) -> None:
    draws = np.sort(surface(np.random.default_rng(0).random((2000, 100, 2))) - np.log(0.2), axis=1)
    means = [np.minimum.accumulate(np.random.default_rng(1).permuted(draws, axis=1), axis=1).mean(axis=0)]
    truly = int(np.flatnonzero(means[0] <= above)[0]) + 1
    found = known(above, default=None)
    assert found.trials is not None
    assert found.low is not None
    assert found.low <= truly <= (found.high or 101)
    assert found.trials == pytest.approx(truly, rel=0.35)


def test_any_two_choices_are_as_far_apart_as_the_ends_of_a_range() -> None:
    axes = Axes((0, 3, 2))
    cube = np.array([[0.25, (k + 0.5) / 3, (j + 0.5) / 2] for k in range(3) for j in range(2)])
    places = axes(cube)
    assert places.shape == (6, 1 + 3 + 2)
    apart = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
    differing = [[(a // 2 != b // 2) + (a % 2 != b % 2) for b in range(6)] for a in range(6)]
    assert apart == pytest.approx(np.array(differing, float))
    assert Axes((0, 0))(cube[:, :2]) == pytest.approx(cube[:, :2])  # ranges are what they were


def test_over_a_choice_it_is_what_order_statistics_say() -> None:
    """One range, and three choices of which the listed order says nothing: the second is far the worst."""
    worse = np.array([0.1, 1.5, 0.0])

    def log_loss(cube: np.ndarray) -> np.ndarray:
        at = np.minimum(cube[:, 1] * 3, 2).astype(int)
        found: np.ndarray = np.log(0.2) + 2.0 * (cube[:, 0] - 0.3) ** 2 + worse[at]
        return found

    random = np.random.default_rng(7)
    tried = random.random((60, 2))
    tried[:, 1] = (np.minimum(tried[:, 1] * 3, 2).astype(int) + 0.5) / 3
    losses = np.exp(log_loss(tried) + 0.01 * random.standard_normal(60))
    best = tried[losses.argmin()]
    fresh = list(np.exp(log_loss(best[None]) + 0.01 * random.standard_normal(6)))
    curves = replays(
        tried.tolist(),
        losses.tolist(),
        confirmed=[Confirmed(tuple(best), fresh)],
        default=None,
        startup=5,
        axes=Axes((0, 3)),
    )
    assert curves is not None
    above = 0.15
    draws = log_loss(np.random.default_rng(0).random((2000 * 60, 2))).reshape(2000, 60) - np.log(0.2)
    truly = int(np.flatnonzero(np.minimum.accumulate(draws, axis=1).mean(axis=0) <= above)[0]) + 1
    row = list(np.exp(np.log(0.2) + above + 0.01 * random.standard_normal(6)))
    found = equivalent(curves, row)
    assert found.trials is not None
    assert abs(found.trials - truly) <= max(2, 0.5 * truly)


@pytest.mark.slow  # forty searches by Optuna's Gaussian process
def test_of_a_bayesian_search_it_is_what_searches_by_another_hand_needed() -> None:
    space = (Parameter(path="a", low=0, high=1), Parameter(path="b", low=0, high=1))
    bests = np.array([_search(space, seed) for seed in range(40)]) - np.log(0.2)
    curve = bests.mean(axis=0)
    for above in (0.2, 0.05):
        truly = int(np.flatnonzero(curve <= above)[0]) + 1
        found = known(above)
        assert found.trials is not None
        assert abs(found.trials - truly) <= 3


def _search(space: tuple[Parameter, ...], seed: int) -> list[float]:
    """The true value of the best that was seen, after each trial."""
    random, method = np.random.default_rng(seed), searcher("gp")
    told: list[Observation] = []
    bests = []
    for index in range(16):
        request = Request(
            space=space,
            default=dict(zip("ab", DEFAULT, strict=True)),
            index=index,
            seed=seed,
            startup_trials=5,
            finished=tuple(told),
        )
        point = method.suggest(request)
        truth = float(surface(np.array([point["a"], point["b"]])))
        told.append(Observation(index, point, truth + 0.02 * random.standard_normal()))
        best = min(told, key=lambda o: o.value or 0.0)
        bests.append(float(surface(np.array([best.point["a"], best.point["b"]]))))
    return bests


def test_it_is_the_same_for_the_same_ledger_and_nothing_is_said_of_too_little() -> None:
    assert known(0.1) == known(0.1)
    point = Confirmed(DEFAULT, [1.0])
    few: dict[str, Any] = {"confirmed": [point], "default": DEFAULT, "startup": 5}
    assert replays([DEFAULT] * 4, [1.0] * 4, **few) is None  # too few trials
    assert replays([DEFAULT] * 6, [1.0] * 5 + [0.0], **few) is None  # a loss without a logarithm
    assert replays([DEFAULT] * 6, [1.0] * 6, **{**few, "confirmed": []}) is None


# -- of a study ------------------------------------------------------------------------------------------
def made(**changes: Any) -> list[Worth]:
    """BO over α: its optimum at 1 (log loss log .2), guided runs as good as α = 1.5, a default far off."""
    random = np.random.default_rng(5)
    alphas = [8.0, 0.3, 3.0, 1.5, 0.8, 1.1, 0.95, 1.02]
    study = StudySpec.model_validate({**spec(**changes).model_dump(), "base": {"optimizer": {"alpha": 8.0}}})

    def loss(alpha: float) -> float:
        return float(0.2 * np.exp(0.5 * np.log(alpha) ** 2 + 0.01 * random.standard_normal()))

    found = {
        "base": [Run(loss(8.0))],
        "bo": [Run(loss(a), point={"optimizer.alpha": a}) for a in alphas[: study.arm("bo").trials]],
        "guided": [Run(0.2, point={"guidance.eta": 0.01}), *[Run(0.5)] * 2],
        "confirm-base": [Run(loss(8.0)) for _ in range(6)],
        "confirm-bo": [Run(loss(1.02)) for _ in range(6)],
        "confirm-guided": [Run(loss(1.5)) for _ in range(6)],
    }
    return worth(frames.read(ledger(study, found), "s1"))


def test_every_confirmed_row_of_a_column_is_told_in_trials_of_its_search() -> None:
    arms = [arm.model_dump() for arm in spec().arms]
    arms[1]["trials"] = 8
    found = {each.row: each for each in made(arms=arms)}
    assert found.keys() == {"base", "guided"}
    assert {each.search for each in found.values()} == {"+ BO"}
    assert found["base"].equivalent.trials == 1  # the search begins with it
    trials = found["guided"].equivalent.trials
    assert trials is not None
    assert 3 <= trials <= 20


def test_a_search_of_too_few_trials_or_of_a_metric_that_is_to_be_high_tells_nothing() -> None:
    assert made() == []  # four trials
    high = StudySpec.model_validate({**spec().model_dump(), "objective": {"goal": "maximize"}})
    assert worth(frames.read(ledger(high, {}), "s1")) == []


def test_more_than_any_is_said_in_words() -> None:
    assert Equivalent(8, 4, 12, 100).words == "8 (4 to 12)"
    assert Equivalent(None, 57, None, 100).words == "> 100 (57 to > 100)"
