"""What does a person see while a study runs?"""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from orchestrator.cli import output, progress
from orchestrator.ground.clock import SystemClock
from orchestrator.ground.errors import LedgerBusy
from orchestrator.service import creation
from studies import catalog
from tests.faults.world import small_study, world


def test_the_live_picture_fits_a_small_terminal(
    tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "9")
    place = world(tmp_path)
    study = creation.create(place.store, small_study(), clock=SystemClock()).study
    engine = place.engine()
    for _ in range(6):
        place.step(engine)
    picture = progress._Picture(progress.InLedger(place.store, study), study)
    picture.update()
    screen = StringIO()
    Console(file=screen, width=60, markup=False).print(picture._draw())
    lines = screen.getvalue().splitlines()
    assert len(lines) < 9
    assert all(output.cells(line) <= 60 for line in lines)
    assert "small  running" in lines[0]
    assert any(line.startswith("running ") for line in lines)


def test_the_live_picture_is_a_grid_of_rows_by_columns_in_fifteen_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("LINES", "50")
    place = world(tmp_path)
    wanted = catalog.get("bo-vs-guided").model_copy(update={"entrypoint": "orchestrator.rehearsal"})
    study = creation.create(place.store, wanted, clock=SystemClock()).study
    picture = progress._Picture(progress.InLedger(place.store, study), study)
    picture.update()
    screen = StringIO()
    Console(file=screen, width=110, markup=False).print(picture._draw())
    lines = screen.getvalue().splitlines()
    assert len(lines) <= progress.MOST_LINES
    assert lines[2].split() == ["α", "β1", "α+β1"]
    searched = next(line for line in lines if line.startswith("+ BO "))
    assert searched.split() == ["+", "BO", "▱▱▱▱▱", "0/12", "▱▱▱▱▱", "0/12", "▱▱▱▱▱", "0/16"]
    assert re.fullmatch(r"and \d+ other rows", lines[-1])


def test_a_look_that_finds_the_ledger_away_ends_nothing_and_is_made_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> progress.Seen:
        raise LedgerBusy("The ledger does not answer.")

    place = world(tmp_path)
    study = creation.create(place.store, small_study(), clock=SystemClock()).study
    lines = progress._Lines(away, study)
    lines.update()
    lines.finish()
    picture = progress._Picture(away, study)
    with picture.live():
        picture.update()
    now = iter((60.0, 100.0))  # 40 s: an outage, not what a look costs
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    lines._due = 0.0
    lines.update()
    assert lines._due == 130.0
