"""Do at most so many points keep the first, the last and the extremes, and do the files hold every step?"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from trainer.optim import schedules
from trainer.protocol import SCHEDULE
from trainer.training.trajectory import REST, Trajectory, grid, planned, thinned

NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[np.ndarray], int, int]:
    """The curves of a run that may have ended early, its planned length, and how many points it gets."""
    done = draw(st.integers(1, 60))
    widths = draw(st.lists(st.sampled_from([(), (1,), (3,)]), min_size=1, max_size=3))
    curves = [draw(st_numpy.arrays(np.float32, (done, *width), elements=NUMBERS)) for width in widths]
    columns = sum(curve.reshape(done, -1).shape[1] for curve in curves)
    return curves, done + draw(st.integers(0, 60)), 2 * columns + 3 + draw(st.integers(0, 40))


@given(runs())
@example(([np.zeros(60, np.float32)], 60, 5))
def test_thinned_keeps_first_last_least_and_greatest_in_at_most_so_many_points(run: Any) -> None:
    curves, length, most = run
    kept = thinned(curves, length=length, most=most)
    done = len(curves[0])
    assert len(kept) <= most
    assert kept == sorted(set(kept))
    assert {0, done - 1} <= set(kept) <= set(range(done))
    for curve in curves:
        for column in curve.reshape(done, -1).T:
            finite = column[np.isfinite(column)]
            told = column[kept][np.isfinite(column[kept])]
            assert finite.size == 0 or (told.min(), told.max()) == (finite.min(), finite.max())


@given(runs())
def test_what_is_planned_needs_no_numbers_and_is_kept(run: Any) -> None:
    curves, length, most = run
    blank = [np.full_like(curve, np.nan) for curve in curves]
    early = planned(blank, length=length, most=most)
    assert early == planned(curves, length=length, most=most)
    assert {i for i in early if i < len(curves[0])} <= set(thinned(curves, length=length, most=most))


def test_a_short_run_is_told_whole_and_a_long_one_evenly() -> None:
    short, long = np.zeros(400, np.float32), np.arange(160_000, dtype=np.float32)
    assert thinned([short], length=400) == list(range(400))
    kept = np.array(thinned([long], length=len(long)))
    assert len(kept) == 997
    assert set(np.diff(kept)) <= {160, 161}


@pytest.mark.parametrize(("length", "points"), [(1, 2), (2, 2), (10, 3), (997, 996), (10**6, 990)])
def test_a_grid_has_both_ends_and_no_more_points_than_asked(length: int, points: int) -> None:
    steps = grid(length, points)
    assert (steps[0], steps[-1]) == (0, length - 1)
    assert len(steps) == min(length, points)


def test_too_many_curves_for_the_points_are_refused() -> None:
    with pytest.raises(ValueError) as refused:
        planned([np.zeros((5, 4))], length=5, most=10)
    assert str(refused.value) == "4 curves cannot be told in 10 points. Allowed is at least 11."


def metrics(first: int, end: int, *, every: int = 3) -> dict[str, Any]:
    """As `trainer.training.step` gives them: one group number, and a reading every so many steps."""
    at = np.arange(first, end, dtype=np.float32)
    gaps = np.where(at % every == 0, at, np.nan).astype(np.float32)
    return {
        "loss": 9 - at / 10,
        "multiplier": 1 / (1 + at),
        "hyper": {"alpha": np.stack([1 + at, 2 + at], axis=1), "eps": np.full_like(at, 1e-6)},
        "hypergrad": {"alpha": np.stack([gaps, -gaps], axis=1)},
        "guidance_loss": gaps,
        "skipped": {"alpha": np.zeros(len(at), np.int32)},
    }


def filled(ends: list[int]) -> Trajectory:
    trajectory = Trajectory(10, groups=("table", "rest"))
    for first, end in zip([0, *ends], ends, strict=False):
        trajectory.append(metrics(first, end))
    return trajectory


def test_a_point_has_values_and_hyperparameters_by_name_and_group() -> None:
    values, hyper = filled([6]).at(3)
    assert hyper == {"alpha.table": 4, "alpha.rest": 5, "eps": pytest.approx(1e-6)}
    assert values == {
        "train_loss": pytest.approx(8.7),
        "multiplier": 0.25,
        "guidance_loss": 3,
        "hypergrad.alpha.table": 3,
        "hypergrad.alpha.rest": -3,
        "skipped.alpha": 0,
    }


@pytest.mark.parametrize("ends", [[8], [2, 8], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_between_two_readings_the_last_one_stands_across_chunks(ends: list[int]) -> None:
    trajectory = filled(ends)
    assert [trajectory.at(i)[0]["guidance_loss"] for i in range(8)] == [0, 0, 0, 3, 3, 3, 6, 6]


def test_a_run_cut_short_tells_its_end_and_extremes_in_the_end() -> None:
    trajectory = Trajectory(1000, most=30)
    curve = metrics(0, 500, every=1)
    curve["loss"][123], curve["loss"][321] = -777, 777
    trajectory.append(curve)
    live, late = trajectory.points(0, 500), trajectory.last_points()
    assert not set(live) & set(late)
    assert {0, 123, 321, 499} <= {*live, *late}
    assert len(live) + len(late) <= 30


def test_it_goes_on_from_a_checkpoint_as_if_never_interrupted(tmp_path: Path) -> None:
    whole, first = filled([4, 8]), filled([4])
    second = Trajectory(10, groups=("table", "rest"))
    second.from_checkpoint(first.to_checkpoint())
    second.append(metrics(4, 8))
    assert [second.at(i) for i in range(8)] == [whole.at(i) for i in range(8)]
    assert second.last_points() == whole.last_points()
    for name, trajectory in (("whole", whole), ("second", second)):
        (tmp_path / name).mkdir()
        assert trajectory.write(tmp_path / name) == [SCHEDULE, REST]
    for file in (SCHEDULE, REST):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_the_schedule_can_be_replayed_and_the_rest_is_beside_it(tmp_path: Path) -> None:
    filled([8]).write(tmp_path)
    numbers = schedules.load(tmp_path / SCHEDULE)
    assert numbers["multiplier"].tolist() == metrics(0, 8)["multiplier"].tolist()
    assert numbers["values"].keys() == {"alpha", "eps"}
    assert numbers["values"]["alpha"].tolist() == metrics(0, 8)["hyper"]["alpha"].tolist()
    with np.load(tmp_path / REST, allow_pickle=False) as rest:
        assert set(rest.files) == {"loss", "guidance_loss", "hypergrad.alpha", "skipped.alpha"}
        assert np.array_equal(rest["guidance_loss"], metrics(0, 8)["guidance_loss"], equal_nan=True)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(schedules, "save", full)
    with pytest.raises(OSError, match="no room"):
        filled([8]).write(tmp_path)
    assert list(tmp_path.iterdir()) == []
