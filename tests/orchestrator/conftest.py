"""The command line, called in this process; and simulated machines in place of Ray's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.backends.simulated import Fault
from orchestrator.engine.tick import Engine, Tick
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store, open_ledger
from orchestrator.service import drive, host
from orchestrator.study.canonical import canonical
from orchestrator.tracking.destination import Destination
from tests.faults.world import World, created, small_study, world


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Exactly one object on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh store of MLflow, to be copied: its migrations take two seconds, so they are run once."""
    from orchestrator.tracking.destination import destination
    from orchestrator.tracking.store import MlflowStore

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    place = destination(Settings(file.parent, "memory://", 1, f"sqlite:///{file}"))
    assert place is not None
    MlflowStore(place)
    return file


# The first attempt has evaluated at step 20 and not saved there; the second goes on from step 10.
DIES = [Fault("*", 1, "die", 5), Fault("s1.random.0.1", 2, "die", 4)]


def mlflow_at(home: Path, uri: str | None = None) -> Destination:
    """A place to mirror to, under that home unless an address is given."""
    from orchestrator.tracking.destination import destination

    found = destination(Settings(home, "memory://", 1, uri or f"sqlite:///{home / 'mlflow.db'}"))
    assert found is not None
    return found


Copied = Callable[[str], Destination]


@pytest.fixture
def copied(tmp_path: Path, mlflow_template: Path) -> Copied:
    """Makes an empty store under a home of that name."""

    def copy(name: str) -> Destination:
        (tmp_path / name).mkdir()
        shutil.copy(mlflow_template, tmp_path / name / "mlflow.db")
        return mlflow_at(tmp_path / name)

    return copy


@pytest.fixture
def place(copied: Copied) -> Destination:
    return copied("home")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A small study that has ended; most trials lost two workers on the way."""
    there = world(tmp_path_factory.mktemp("ended"), faults=DIES)
    study = created(there, small_study())
    there.drive(there.engine(), study.study_id)
    return there


Orch = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCH_WORKERS", "2")
    monkeypatch.delenv("ORCH_LEDGER", raising=False)
    return tmp_path / "home"


@pytest.fixture
def orch(home: Path, capsys: pytest.CaptureFixture[str]) -> Orch:
    def run(*arguments: str) -> Said:
        code = cli.run(arguments)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "small.json"
    path.write_text(canonical(small_study(question="Does the machinery work?")))
    return str(path)


@pytest.fixture
def ledger(home: Path) -> Callable[[], Store]:
    """Opens the ledger of this home once more: another process, as far as leadership goes."""
    return lambda: open_ledger(f"sqlite:///{home / 'ledger.db'}")


class Driven:
    """An engine over simulated machines whose time passes whenever there is nothing to do."""

    def __init__(self, place: World, engine: Engine, at_tick: dict[int, Callable[[], None]]) -> None:
        self.backend, self.who = place.backend, engine.who
        self._place, self._engine, self._at_tick = place, engine, at_tick
        self._ticks = 0

    def tick(self, *, launch: bool = True) -> Tick:
        self._ticks += 1
        self._at_tick.get(self._ticks, lambda: None)()
        tick = self._engine.tick(launch=launch)
        ahead = self._place.backend.next_event_at()
        if tick.idle and ahead is not None:
            self._place.clock.advance_to(ahead)
        return tick


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], None]]:
    """Simulated workers in place of Ray's. What is returned says what happens at which tick."""
    place = world(tmp_path / "runs")
    at_tick: dict[int, Callable[[], None]] = {}

    def open_host(settings: Settings, store: Store, *, workers: int | None = None) -> host.Host:
        place.store = store
        driven: Any = Driven(place, place.engine(who=whoami()), at_tick)
        return host.Host(settings, store, place.clock, driven, workers or settings.workers)

    monkeypatch.setattr(host, "open_host", open_host)
    monkeypatch.setattr(drive, "PACE_S", 0.0)  # their time passes by itself
    return at_tick
