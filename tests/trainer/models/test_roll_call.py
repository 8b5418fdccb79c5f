"""Is it told who of a gang has not come, before JAX waits?"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from trainer.models.roll_call import call_the_roll
from trainer.protocol import PeerLost, Place

HERE = socket.gethostname()


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def heard(place: Place, *, within_s: float) -> str:
    try:
        call_the_roll(place, within_s=within_s)
    except PeerLost as problem:
        return str(problem)
    return "all"


def gang(coordinator: str, *indices: int, count: int, within_s: float) -> list[str]:
    """What those that come hear, each in a thread."""
    with ThreadPoolExecutor(len(indices)) as pool:
        places = [Place(index, count, coordinator) for index in indices]
        return list(pool.map(lambda place: heard(place, within_s=within_s), places))


def test_all_that_come_go_on_together_whoever_was_first() -> None:
    for order in ((0, 1, 2), (2, 1, 0)):
        assert gang(free_address(), *order, count=3, within_s=60) == ["all"] * 3


def test_who_does_not_come_is_named_to_all_others() -> None:
    coordinator = free_address()
    sentence = f"Of 3 processes process 2 did not come to {coordinator} within 1 s. Look there first."
    assert gang(coordinator, 0, 1, count=3, within_s=1) == [sentence] * 2


def test_a_coordinator_that_cannot_be_reached_is_named_with_the_limit() -> None:
    coordinator = free_address()
    (said,) = gang(coordinator, 1, count=2, within_s=0.3)
    assert said == (
        f"Process 1 of 2 on {HERE} did not reach the coordinator at {coordinator} within 0.3 s: Connection "
        f"refused. Look into process 0 first, then whether this host reaches that port."
    )


def test_a_port_that_is_taken_is_told() -> None:
    coordinator = free_address()
    with closing(socket.create_server(("", int(coordinator.rpartition(":")[2])))):
        (said,) = gang(coordinator, 0, count=2, within_s=60)
    assert said == (
        f"Process 0 of 2 on {HERE} cannot be reached at {coordinator}: Address already in use. "
        f"Name a port that is free there."
    )


def test_whoever_else_calls_or_leaves_again_counts_for_nobody() -> None:
    coordinator = free_address()
    port = int(coordinator.rpartition(":")[2])
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(heard, Place(0, 2, coordinator), within_s=60)
        for content in (b"GET / HTTP/1.1\r\n\r\n", b'[7, "there"]\n', b'[1, "there"]\n'):
            while not first.done():
                try:
                    with socket.create_connection(("127.0.0.1", port)) as stranger:
                        stranger.sendall(content)
                    break
                except ConnectionRefusedError:  # it does not listen yet
                    continue
        second = pool.submit(heard, Place(1, 2, coordinator), within_s=60)
        assert (first.result(), second.result()) == ("all", "all")
