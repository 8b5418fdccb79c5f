"""Does the thread beside a study write all that it owes, whatever MLflow does? On real MLflow."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.ground.errors import MirrorLost
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import StudyState
from orchestrator.service import host as service
from orchestrator.service.runner import Runner
from orchestrator.tracking.background import Mirror, _Rounds, mirror
from orchestrator.tracking.destination import Destination, writing
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.sync import lag, left_over
from tests.faults import mirrored
from tests.faults.world import BEGINS_AFTER_S, World, created, small_study, world
from tests.orchestrator.conftest import mlflow_at

# MLflow's own use of SQLAlchemy and of Python, which is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.fault(10, real=True)
def test_a_store_that_is_away_is_told_of_once_and_caught_up_with(
    tmp_path: Path, mlflow_template: Path
) -> None:
    place = mlflow_at(tmp_path / "home")
    (tmp_path / "home" / "mlflow.db").mkdir(parents=True)  # nothing that SQLite could open
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    there = world(tmp_path / "runs", store=store)
    created(there, small_study())
    said, troubled = [], threading.Event()

    def say(sentence: str) -> None:
        said.append(sentence)
        troubled.set()

    following = Mirror(store, place, "s1", say=say)
    engine = there.engine()
    there.step(engine)
    following.begin()
    assert there.drive(engine, "s1").state is StudyState.COMPLETED
    assert troubled.wait(60)
    *why, left = following.finish(1)
    assert left.endswith("reports are not in MLflow yet. Go on with: orch mlflow sync small")
    assert [s for s in said if s.startswith("MLflow at ")] == [
        f"{why[0]} The study is not touched by it; what is missing is written later."
    ]
    (tmp_path / "home" / "mlflow.db").rmdir()
    shutil.copy(mlflow_template, tmp_path / "home" / "mlflow.db")
    again = Mirror(store, place, "s1", say=said.append)
    again.begin()
    assert again.finish(60) == ["It is in MLflow too. Look at it with: orch ui"]
    mirrored.check(store, "s1", mirrored.look(place.uri, "s1"))
    store.close()


@pytest.mark.fault(10, real=True)
def test_a_request_that_failed_is_not_repeated_before_it_is_seen_what_it_did(tmp_path: Path) -> None:
    asked: list[str] = []

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        answering = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        answering.start()
        place = mlflow_at(tmp_path / "home", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(MirrorLost):
            MlflowStore(place).experiment("orch/x", folder="x")
        server.shutdown()
        answering.join()
    assert len(asked) == 1


@pytest.mark.fault(10, real=True)
def test_a_server_that_does_not_answer_costs_a_study_nothing(ended: World, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        uri = f"http://ada:secret@127.0.0.1:{taken.getsockname()[1]}"
        place = mlflow_at(tmp_path / "home", uri)
        troubled = threading.Event()
        following = Mirror(ended.store, place, "s1", say=lambda _: troubled.set())
        following.begin()
        assert troubled.wait(60)
        why, left = following.finish(0.5)
    assert why == f"MLflow at {place.shown} does not take what is mirrored: Connection refused."
    assert "secret" not in why
    assert "of small" not in left
    assert "reports are not in MLflow yet" in left


def test_what_comes_back_is_said(place: Destination, ended: World, tmp_path: Path) -> None:
    assert place.file is not None
    aside = place.file.rename(tmp_path / "aside.db")
    place.file.mkdir()
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if sentence.startswith("MLflow at"):
            assert place.file is not None
            place.file.rmdir()
            aside.rename(place.file)

    following = Mirror(ended.store, place, "s1", say=say)
    following.begin()
    following.finish(60)
    assert [s for s in said if "takes what is mirrored again" in s] == [
        "MLflow takes what is mirrored again."
    ]
    mirrored.check(ended.store, "s1", mirrored.look(place.uri, "s1"))


def test_a_study_that_ends_while_mlflow_is_away_is_written_by_a_mirror_of_all(
    place: Destination, tmp_path: Path
) -> None:
    assert place.file is not None
    aside = place.file.rename(tmp_path / "aside.db")
    place.file.mkdir()
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    there = world(tmp_path / "runs", store=store)
    created(there, small_study())
    troubled = threading.Event()
    engine = there.engine()
    there.step(engine)
    following = Mirror(store, place, None, say=lambda _: troubled.set())
    following.begin()
    assert troubled.wait(60)
    assert there.drive(engine, "s1").state is StudyState.COMPLETED
    place.file.rmdir()
    aside.rename(place.file)
    following.finish(60)
    mirrored.check(store, "s1", mirrored.look(place.uri, "s1"))
    store.close()


def test_what_an_earlier_process_began_to_write_is_written_to_its_end(
    ended: World, place: Destination
) -> None:
    StudyMirror(ended.store, MlflowStore(place), place, "s1").advance()
    ended.store.move_cursor(place.cursor("s1"), 1)
    following = Mirror(ended.store, place, None, say=lambda _: None)
    following.begin()
    following.finish(60)
    assert lag(ended.store, place, "s1") == 0


def test_a_service_that_is_started_again_finishes_what_it_owes_though_nothing_runs(
    place: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.backends.daemon.stop", lambda home, **_: None)
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    there = world(tmp_path / "runs", store=store)
    created(there, small_study())
    there.drive(there.engine(), "s1")
    store.release()
    store.move_cursor(place.cursor("s1"), 1)
    caught_up = threading.Event()
    move_cursor = store.move_cursor

    def moving(name: str, event_id: int) -> None:
        move_cursor(name, event_id)
        if not store.events(after=event_id, study_id="s1"):
            caught_up.set()

    monkeypatch.setattr(store, "move_cursor", moving)
    settings = Settings(tmp_path / "home", "memory://", 1, place.uri)
    engine = there.engine(who=whoami())
    runner = Runner(
        settings,
        store,
        say=lambda _: None,
        open_host=lambda *_, **__: service.Host(settings, store, there.clock, engine, 1),
    )
    runner.start()
    assert caught_up.wait(120)
    runner.ask_to_end()
    assert runner.join(60)
    store.close()


def test_a_service_that_ends_before_mlflow_has_all_says_so(
    place: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.backends.daemon.stop", lambda home, **_: None)
    monkeypatch.setattr("orchestrator.service.runner.MIRROR_S", 0.0)
    there = world(tmp_path / "runs")
    created(there, small_study())
    settings = Settings(tmp_path / "home", "memory://", 1, place.uri)
    said: list[str] = []
    with writing(place):  # another process has it
        runner = Runner(settings, there.store, say=said.append, open_host=lambda *_, **__: host)
        host = service.Host(settings, there.store, there.clock, there.engine(who=whoami()), 1)
        runner._look()
        there.clock.advance(BEGINS_AFTER_S)
        runner._look()
        runner.ask_to_end()
        runner._run()
    spoke = len(there.store.events())
    assert spoke
    assert said[-1] == (
        f"Not all of the studies is in MLflow yet. Missing: {spoke} reports of small. The next start goes on "
        f"with it; by hand: orch mlflow sync"
    )


@pytest.mark.parametrize(
    ("study_id", "sentence"),
    [
        ("s1", "3 reports are not in MLflow yet. Go on with: orch mlflow sync small"),
        (
            None,
            "Not all of the studies is in MLflow yet. Missing: 3 reports of small. The next start goes on "
            "with it; by hand: orch mlflow sync",
        ),
    ],
)
def test_the_end_believes_the_cursor_and_not_the_thread(
    place: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study_id: str | None, sentence: str
) -> None:
    there = world(tmp_path / "runs")
    created(there, small_study())
    engine = there.engine()
    there.step(engine)

    def once(rounds: _Rounds, held: ExitStack) -> bool:
        there.store.move_cursor(place.cursor("s1"), there.store.newest_event() - 3)
        return True

    monkeypatch.setattr(_Rounds, "once", once)
    following = Mirror(there.store, place, study_id, say=lambda _: None)
    following.begin()
    assert there.drive(engine, "s1").state is StudyState.COMPLETED
    assert following.finish(60) == [sentence]


def test_what_is_missing_of_many_studies_is_one_sentence() -> None:
    assert left_over({"a": 1, "b": 20, "c": 100_000, "d": 4, "e": 5}) == (
        "Not all of the studies is in MLflow yet. Missing: 1 report of a, 20 reports of b, 100,000 or more "
        "reports of c, those of 2 more studies. The next start goes on with it; by hand: orch mlflow sync"
    )
    assert left_over({"a": 1}, "a") == "1 report is not in MLflow yet. Go on with: orch mlflow sync a"
    assert left_over({}, "a") == "The last states are not in MLflow yet. Go on with: orch mlflow sync a"


def test_last_states_that_a_kill_left_unwritten_are_owed_by_the_next_process(
    place: Destination, tmp_path: Path
) -> None:
    there = world(tmp_path / "runs")
    created(there, small_study())
    engine = there.engine()
    there.step(engine)
    rounds = _Rounds(there.store, place, None, lambda: True, lambda _: None)
    rounds.look()
    there.drive(engine, "s1")
    # Killed once all events were passed on, before the states were told.
    there.store.move_cursor(place.cursor("s1"), there.store.newest_event())
    following = Mirror(there.store, place, None, say=lambda _: None)
    following.begin_if_cut_short()
    assert following.finish(60) == []
    mirrored.check(there.store, "s1", mirrored.look(place.uri, "s1"))
    again = Mirror(there.store, place, None, say=lambda _: None)
    again.begin_if_cut_short()
    assert not again._thread.is_alive()


def test_waiting_for_another_writer_leaves_no_file_open(ended: World, place: Destination) -> None:
    rounds = _Rounds(ended.store, place, "s1", lambda: True, lambda _: None)
    with writing(place), ExitStack() as held:
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert not any(rounds.once(held) for _ in range(20))
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_nothing_begins_without_a_trial_and_nothing_at_all_when_switched_off(
    ended: World, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    on = mirror(
        Settings(home, "memory://", 1, f"sqlite:///{home / 'mlflow.db'}"), ended.store, "s1", say=print
    )
    off = mirror(Settings(home, "memory://", 1, None), ended.store, "s1", say=print)
    off.begin()
    assert (on.finish(), off.finish()) == ([], [])
    assert not home.exists()


def test_where_mlflow_is_not_installed_it_is_said_once_and_the_study_goes_on(
    ended: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # what makes an import of it fail
    said: list[str] = []
    settings = Settings(tmp_path, "memory://", 1, f"sqlite:///{tmp_path / 'mlflow.db'}")
    off = mirror(settings, ended.store, "s1", say=said.append)
    off.begin_if_cut_short()
    assert said == []  # there is nothing to be mirrored yet
    off.begin()
    off.begin()
    assert off.finish() == []
    assert said == [
        "The mirror is off: MLflow is not installed. Studies run all the same. Install it: pip install "
        "'orch-studies[mlflow]'; then orch mlflow sync writes what is missing. To hear no more of it, set "
        "ORCH_MLFLOW=off."
    ]
