"""Live events: none is missed and none is told twice, whoever joins when; one reader serves all listeners."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from orchestrator.api import stream
from orchestrator.api.stream import Tail
from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.testing.ledger_rows import T0, event, study, trial, with_live_attempt
from orchestrator.testing.ledger_rows import attempt as an_attempt
from tests.orchestrator.api.conftest import Make, Service

WITHIN_S = 60.0
OTHER = "s2.bo.0.0"


def _ids(pieces: list[bytes]) -> list[int]:
    lines = b"".join(pieces).decode().splitlines()
    return [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]


async def _until(pieces: asyncio.Queue[bytes], last: int) -> list[bytes]:
    """All that is said, up to the event of that id."""
    said: list[bytes] = []
    async with asyncio.timeout(WITHIN_S):
        while not said or last not in _ids(said[-1:]):
            said.append(await pieces.get())
    return said


async def _heard(listening: Any, last: int) -> list[int]:
    pieces: list[bytes] = []
    async with asyncio.timeout(WITHIN_S):
        async for said in listening:
            pieces.append(said)
            if last in _ids([said]):
                break
    await listening.aclose()
    return _ids(pieces)


def _ledger() -> tuple[MemoryLedger, int]:
    """Two studies with a live attempt each."""
    ledger = MemoryLedger()
    epoch = with_live_attempt(ledger)
    ledger.create_study(study("s2"))
    ledger.add_trial(epoch, trial(trial_id=OTHER, study_id="s2"))
    ledger.start_attempt(epoch, an_attempt(OTHER))
    return ledger, epoch


def test_an_event_is_told_in_the_words_of_the_standard(service: Service, runner: asyncio.Runner) -> None:
    study_id = service.ran().study_id
    stored = service.store.events(study_id=study_id)[1]

    async def listened() -> list[bytes]:
        async with service.ask.stream("/api/v1/studies/small/events", last_event_id="1") as pieces:
            return await _until(pieces, stored.event_id)

    greeting, said = runner.run(listened())
    assert greeting == b"retry: 1000\n\n"
    name, kind, data, *end = said.decode().split("\n")
    assert (name, kind, end) == (f"id: {stored.event_id}", f"event: {stored.event.kind}", ["", ""])
    told = json.loads(data.removeprefix("data: "))
    assert told["trial_id"] == stored.event.trial_id
    assert told["payload"] == json.loads(json.dumps(dict(stored.event.payload)))
    assert told["study_id"] == study_id


def test_whoever_joins_while_events_come_in_hears_each_once(runner: asyncio.Runner) -> None:
    ledger, epoch = _ledger()
    count, tells = 400, random.Random(0)

    async def write() -> None:
        said = 0
        while said < count:
            batch = [event(i) for i in range(said + 1, min(count, said + tells.randint(1, 9)) + 1)]
            ledger.append(epoch, batch)
            said += len(batch)
            await asyncio.sleep(0)

    async def all_of_them() -> list[list[int]]:
        following = Tail(ledger, pace_s=0.0)
        writing = asyncio.create_task(write())
        listeners = []
        for after in range(0, 300, 10):
            listeners.append(asyncio.create_task(_heard(following.listen(after=after), count)))
            await asyncio.sleep(0.0005 * tells.random())
        heard = await asyncio.gather(*listeners)
        await writing
        assert len(following) == 0
        return heard

    for after, heard in zip(range(0, 300, 10), runner.run(all_of_them()), strict=True):
        assert heard == list(range(after + 1, count + 1))


def test_a_listener_of_one_study_hears_nothing_of_another(runner: asyncio.Runner) -> None:
    ledger, epoch = _ledger()
    ledger.append(epoch, [event(1), event(1, of=OTHER), event(2)])

    async def listened() -> list[int]:
        following = Tail(ledger, pace_s=0.0)
        hearing = asyncio.create_task(_heard(following.listen(study_id="s1", after=0), 6))
        while not len(following):
            await asyncio.sleep(0)
        ledger.append(epoch, [event(2, of=OTHER), event(3, of=OTHER), event(3)])
        return await hearing

    assert runner.run(listened()) == [1, 3, 6]


def test_without_a_place_only_what_comes_from_now_on_is_told(runner: asyncio.Runner) -> None:
    ledger, epoch = _ledger()
    ledger.append(epoch, [event(1), event(2)])

    async def listened() -> list[int]:
        following = Tail(ledger, pace_s=0.0)
        hearing = asyncio.create_task(_heard(following.listen(), 3))
        while not len(following):
            await asyncio.sleep(0)
        ledger.append(epoch, [event(3)])
        return await hearing

    assert runner.run(listened()) == [3]


def test_a_listener_that_is_too_slow_is_let_go_and_comes_back(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_WAITING", 10)
    ledger, epoch = _ledger()

    async def listened() -> tuple[list[int], list[int]]:
        following = Tail(ledger, pace_s=0.0)
        slow = following.listen(after=0)
        await anext(slow)  # it has joined, and reads no further for now
        quick = asyncio.create_task(_heard(following.listen(after=0), 50))
        for i in range(1, 51):
            ledger.append(epoch, [event(i)])
            await asyncio.sleep(0.001)
        heard = await quick
        left = [said async for said in slow]  # ends: it was let go
        assert _ids(left) == list(range(1, len(_ids(left)) + 1))
        assert len(_ids(left)) < 50
        return heard, _ids(left) + await _heard(following.listen(after=len(_ids(left))), 50)

    quick, slow = runner.run(listened())
    assert quick == slow == list(range(1, 51))


def test_one_reader_serves_all_and_rests_when_nobody_listens(runner: asyncio.Runner) -> None:
    ledger, epoch = _ledger()
    asked = 0
    real = ledger.events

    def counted(**kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        return real(**kwargs)

    ledger.events = counted  # type: ignore[method-assign]

    async def listened() -> int:
        following = Tail(ledger, pace_s=0.01)
        hearing = [asyncio.create_task(_heard(following.listen(), 1)) for _ in range(50)]
        while len(following) < 50:
            await asyncio.sleep(0)
        before = asked
        ledger.append(epoch, [event(1)])
        await asyncio.gather(*hearing)
        used = asked - before
        await asyncio.sleep(0.03)
        resting = asked
        await asyncio.sleep(0.03)
        assert asked == resting
        return used

    assert runner.run(listened()) <= 3


def test_a_ledger_that_is_away_for_a_while_costs_no_event(runner: asyncio.Runner) -> None:
    ledger, epoch = _ledger()
    real, away = ledger.events, iter([True] * 5)

    def sometimes(**kwargs: Any) -> Any:
        if next(away, False):
            raise LedgerBusy("The ledger does not answer.")
        return real(**kwargs)

    async def listened() -> list[int]:
        following = Tail(ledger, pace_s=0.0)
        hearing = asyncio.create_task(_heard(following.listen(), 2))
        while not len(following):
            await asyncio.sleep(0)
        ledger.events = sometimes  # type: ignore[method-assign]
        ledger.append(epoch, [event(1), event(2)])
        return await hearing

    assert runner.run(listened()) == [1, 2]


def test_silence_is_broken_by_comments_and_the_end_ends_all(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    ledger, _ = _ledger()

    async def listened() -> list[bytes]:
        following = Tail(ledger, pace_s=0.0)
        said = []
        async for piece in following.listen():
            said.append(piece)
            if len(said) == 4:
                following.close()
        assert [piece async for piece in following.listen()] == [stream.GREETING]
        return said

    assert runner.run(listened()) == [stream.GREETING, *[stream.HEARTBEAT] * 3]


def test_a_stream_ends_by_itself_so_that_its_token_is_looked_at_again(runner: asyncio.Runner) -> None:
    ledger, _ = _ledger()

    async def listened() -> list[bytes]:
        return [piece async for piece in Tail(ledger).listen(lifetime_s=0.0)]

    assert runner.run(listened()) == [stream.GREETING]


def test_a_slow_reader_s_stream_ends_at_its_lifetime_too(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, epoch = _ledger()
    ledger.append(epoch, [event(i) for i in range(1, 21)])

    async def listened() -> tuple[list[int], list[int]]:
        loop = asyncio.get_running_loop()
        clock = [loop.time()]

        async def slowly(listening: Any, *, pieces: int) -> list[int]:
            """A second of the tail's clock for each piece, and no more pieces than those."""
            said: list[bytes] = []
            async for piece in listening:
                said.append(piece)
                clock[0] += 1.0
                if len(said) == pieces:
                    break
            await listening.aclose()
            return _ids(said)

        following = Tail(ledger, pace_s=0.0)
        with monkeypatch.context() as patched:
            patched.setattr(loop, "time", lambda: clock[0])
            older = await slowly(following.listen(after=0, lifetime_s=5.0), pieces=30)
        live = following.listen(lifetime_s=1e6)
        await anext(live)
        ledger.append(epoch, [event(i) for i in range(21, 31)])
        assert _ids([await anext(live)]) == [21]
        while sum(map(len, (each.waiting for each in following._listeners))) < 9:
            await asyncio.sleep(0)
        with monkeypatch.context() as patched:
            patched.setattr(loop, "time", lambda: clock[0] + 2e6)
            newer = await slowly(live, pieces=30)
        return older, newer

    assert runner.run(listened()) == ([1, 2, 3, 4], [])


def test_the_events_of_a_study_that_is_not_there_are_not_found(make: Make) -> None:
    service = make()
    assert service.ask("GET", "/api/v1/studies/nothing/events").status == 404
    assert service.ask("GET", "/api/v1/events", last_event_id="x").status == 422
    assert service.ask("GET", "/api/v1/events?after=-1").status == 422


def test_what_is_not_finite_is_null(runner: asyncio.Runner) -> None:
    ledger, epoch = _ledger()
    ledger.append(epoch, [event(1, values={"loss": float("nan")})])
    (stored,) = ledger.events(trial_id=T0)
    data = stream.encoded(stored).decode().split("data: ")[1]
    assert json.loads(data)["payload"] == {"values": {"loss": None}}
