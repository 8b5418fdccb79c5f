"""Are all processes of a gang here, and what do they say? Barriers with a time limit that tell who is late.

The processes meet at the coordination service that JAX runs in the first of them, all in the same order.
Where there is one process alone it hears itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax._src import distributed

from trainer.protocol import PeerLost, Place

T = TypeVar("T")

WITHIN_S = 120.0  # for all to come, unless a meeting says otherwise
_HOST = "orch/host"  # of each process, by its index
_numbers = itertools.count()  # of meetings
_said: list[str] = []  # where this process spoke at the last one

# How JAX says that a process is gone: a status of its runtime, and of what that speaks. Such an error may be
# a JaxRuntimeError, or a ValueError where a program is compiled and run at once.
_STATUS = re.compile(
    r"\s*(UNKNOWN|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|FAILED_PRECONDITION): "
)
_GONE = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|socket closed|broken pipe|remote peer|unavailable: "
    r"|deadline_exceeded: |coordination ?service|coordination agent|heartbeat",
    re.IGNORECASE,
)


def introduce() -> None:
    """Tell the others on which host this process is."""
    state: Any = distributed.global_state
    state.client.key_value_set(f"{_HOST}/{state.process_id}", socket.gethostname(), allow_overwrite=True)


def meet(name: str, *, within_s: float = WITHIN_S) -> None:
    """Wait for the others, so long after the first of us has come. PeerLost says who is late."""
    exchange(name, within_s=within_s)


def first(name: str, told: Any, *, within_s: float = WITHIN_S) -> Any:
    """What the first process tells, a JSON value."""
    return told if distributed.global_state.client is None else exchange(name, told, within_s=within_s)[0]


def exchange(name: str, told: Any = None, *, within_s: float = WITHIN_S) -> list[Any]:
    """What each process tells, a JSON value, by its index. PeerLost says who is late."""
    state = distributed.global_state
    client, index, count = state.client, state.process_id, state.num_processes
    if client is None:
        return [told]
    number = next(_numbers)
    here = f"orch/meeting/{number}-{name}"
    try:
        client.key_value_set(f"{here}/{index}", json.dumps(told))
        client.wait_at_barrier(here, max(1, round(within_s * 1000)))
        words = {int(key.rpartition("/")[2]): word for key, word in client.key_value_dir_get(f"{here}/")}
        for read in _said:  # whoever is here has read what was said at the last meeting
            client.key_value_delete(read)
        _said[:] = [f"{here}/{index}"]
    except jax.errors.JaxRuntimeError as error:
        raise PeerLost(_who_is_late(name, here, within_s)) from error
    return [json.loads(words[each]) for each in range(count)]


def together(
    name: str, act: Callable[[], T], *, alike: tuple[type[Exception], ...], within_s: float = WITHIN_S
) -> T:
    """What `act` gives here, once all processes have done it. Where it fails in one it fails in all of them:
    with the same exception if that is `alike` everywhere, else with PeerLost in the others. Whoever was slow
    waits longer: shares are about equal."""
    if distributed.global_state.client is None:
        return act()
    begun_s = time.monotonic()
    done: list[T] = []
    problem: Exception | None = None
    told: list[Any] | None = None
    try:
        done.append(act())
    except Exception as error:
        problem = error
        kind = next((number for number, each in enumerate(alike) if isinstance(error, each)), None)
        told = [kind, str(error) if kind is None else list(error.args)]
    words = exchange(name, told, within_s=within_s + 2 * (time.monotonic() - begun_s))
    failed = [index for index, word in enumerate(words) if word is not None]
    if not failed:
        return done[0]
    # One whose exception nobody else could have comes first.
    index = min(failed, key=lambda index: words[index][0] is not None)
    kind, args = words[index]
    if problem is not None and told and (index == distributed.global_state.process_id or told[0] is None):
        raise problem
    if kind is None:
        raise PeerLost(f"P{who(index)[1:]} failed ({name}): {args}") from problem
    raise alike[kind](*args) from problem


def who(index: int) -> str:
    """A process, in words."""
    client: Any = distributed.global_state.client
    try:
        return f"process {index} on {client.key_value_try_get(f'{_HOST}/{index}')}"
    except jax.errors.JaxRuntimeError:
        return f"process {index}"


def _who_is_late(name: str, here: str, within_s: float) -> str:
    state: Any = distributed.global_state
    us = f"Process {state.process_id} of {state.num_processes} on {socket.gethostname()}"
    try:
        came = {int(key.rpartition("/")[2]) for key, _ in state.client.key_value_dir_get(f"{here}/")}
    except jax.errors.JaxRuntimeError:
        return (
            f"{us} cannot reach the coordinator at {state.coordinator_address} ({name}). Look into process 0."
        )
    late = [who(index) for index in range(state.num_processes) if index not in came]
    if not late:
        return f"{us} came too late to the others ({name}): they wait {within_s:g} s at most."
    return f"{us} waited for {' and '.join(late)} ({name}), {within_s:g} s at most. Look there first."


@contextlib.contextmanager
def telling_who_is_gone(place: Place) -> Iterator[None]:
    """JAX's errors that come of a process that is gone become PeerLost."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if place.process_count == 1 or not (_STATUS.match(str(error)) and _GONE.search(str(error))):
            raise
        raise PeerLost(
            f"Process {place.process_index} of {place.process_count} on {socket.gethostname()} lost another "
            f"one: {str(error).strip().splitlines()[0]}"
        ) from error
