"""Where does a listener stand in the event stream, when the server looks at the ledger only now and then?"""

from __future__ import annotations

import asyncio

from orchestrator.api.stream import Tail
from tests.orchestrator.api.conftest import Service
from tests.orchestrator.api.conftest import app as app
from tests.orchestrator.api.conftest import make as make
from tests.orchestrator.api.conftest import runner as runner
from tests.orchestrator.api.conftest import service as service


def test_whoever_comes_back_with_a_place_ahead_of_the_tail_hears_nothing_twice(
    service: Service, runner: asyncio.Runner
) -> None:
    study_id = service.created()
    last: list[int] = []

    async def heard() -> list[bytes]:
        tail = Tail(service.store, pace_s=0.0)
        slow = tail.listen()
        await anext(slow)  # the tail now stands before all events
        service.place.drive(service.engine, study_id)
        ids = [stored.event_id for stored in service.store.events(study_id=study_id)]
        last.append(ids[-1])
        behind = tail.listen(after=ids[-2])
        await anext(behind)
        said = await anext(behind)
        await slow.aclose()
        await behind.aclose()
        tail.close()
        return [said]

    (said,) = runner.run(heard())
    assert said.startswith(f"id: {last[0]}\n".encode())


def test_a_stream_from_now_on_begins_with_a_place_to_come_back_to(
    service: Service, runner: asyncio.Runner
) -> None:
    service.ran()
    newest = service.store.newest_event()

    async def first(**headers: str) -> bytes:
        async with service.ask.stream("/api/v1/events", **headers) as pieces:
            return await asyncio.wait_for(pieces.get(), 10)

    assert runner.run(first()) == f"id: {newest}\nretry: 1000\n\n".encode()
    assert runner.run(first(last_event_id=str(newest))) == b"retry: 1000\n\n"
