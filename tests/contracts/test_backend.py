"""Does every backend of ours keep its word: on the virtual clock, and with real Ray workers?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.backends.ray import RayBackend
from orchestrator.backends.simulated import SimulatedBackend, VirtualClock
from orchestrator.study.resources import Resources
from orchestrator.testing.backends import BackendContract, Machines


class TestSimulated(BackendContract):
    @pytest.fixture
    def machines(self) -> Machines:
        clock = VirtualClock()
        simulated = SimulatedBackend(clock, slots=2)

        def jump() -> None:
            simulated.poll(dict.fromkeys(simulated.attempts(), 0))  # as an engine asks about all that runs
            clock.advance_to(simulated.next_event_at() or 0.0)

        return Machines(lambda: simulated, jump, pace_s=0.0, clock=clock)


@pytest.fixture(scope="module")
def ray_pool(ray_home: Path) -> Iterator[Callable[[], RayBackend]]:
    """Its workers stay warm from test to test, and leave their CPUs to other modules at the end."""

    def open_one() -> RayBackend:
        return RayBackend(daemon.find(ray_home) or "", workers=2, token_path=daemon.token_path(ray_home))

    yield open_one
    open_one().close(end_workers=True)


class TestRay(BackendContract):
    test_an_exception_in_the_training_code_comes_back_with_its_traceback = pytest.mark.fault(6, real=True)(
        BackendContract.test_an_exception_in_the_training_code_comes_back_with_its_traceback
    )

    @pytest.fixture
    def machines(self, ray_pool: Callable[[], RayBackend]) -> Iterator[Machines]:
        made = Machines(ray_pool, lambda: threading.Event().wait(0.01), pace_s=0.005)
        yield made
        for key in made.backend.attempts():
            made.backend.kill(key, "the test is over")
            made.backend.forget(key)
        made.backend.close(end_workers=False)

    def test_ray_has_no_room_for_what_it_cannot_hold(
        self, ray_pool: Callable[[], RayBackend], launch: Any
    ) -> None:
        backend = ray_pool()
        try:
            assert backend.slots(Resources(hosts=2)) == 0  # one host per trial in this release
            assert not backend.submit(launch(resources=Resources(hosts=2)))
            assert backend.slots(Resources(cpus=2)) == 1
            assert backend.slots(Resources(gpus=100)) == 0
            assert not backend.submit(launch(resources=Resources(gpus=100)))
        finally:
            backend.close(end_workers=False)
