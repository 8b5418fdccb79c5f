"""Which errors say that another process is gone? How processes meet is in test_gang_checkpoints.py."""

from __future__ import annotations

import jax
import pytest

from trainer.models import meeting
from trainer.protocol import PeerLost, Place

GANG = Place(1, 2, "127.0.0.1:1")
GONE = [
    jax.errors.JaxRuntimeError("INTERNAL: Gloo AllGather failed: Connection closed by peer [10.0.0.2]:80"),
    ValueError("UNKNOWN: Gloo all-reduce failed: Read error [10.0.0.2]:80: Connection reset by peer"),
    jax.errors.JaxRuntimeError("UNAVAILABLE: failed to connect to all addresses"),
    jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out."),
    jax.errors.JaxRuntimeError("INTERNAL: task is set to ERROR: Task 1 heartbeat timeout."),
]
OURS = [
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."),
    jax.errors.JaxRuntimeError("INTERNAL: a kernel failed"),
    ValueError("The heartbeat of the model is 0. Allowed is 1 to 3."),
    ConnectionResetError("Connection reset by peer"),
]


@pytest.mark.parametrize("error", GONE, ids=str)
def test_what_jax_says_of_one_that_is_gone_is_peer_lost(error: Exception) -> None:
    with pytest.raises(PeerLost) as lost, meeting.telling_who_is_gone(GANG):
        raise error
    assert str(lost.value).endswith(f" lost another one: {error}")
    assert lost.value.__cause__ is error


@pytest.mark.parametrize("error", OURS, ids=str)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, meeting.telling_who_is_gone(GANG):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("error", GONE, ids=str)
def test_where_there_is_one_process_nobody_else_is_to_blame(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, meeting.telling_who_is_gone(Place()):
        raise error
    assert raised.value is error


def test_one_process_hears_itself_and_its_own_errors() -> None:
    assert meeting.exchange("alone", {"a": 1}) == [{"a": 1}]
    assert meeting.first("alone", [2]) == [2]
    assert meeting.together("alone", lambda: 3, alike=(OSError,)) == 3
    with pytest.raises(ZeroDivisionError):
        meeting.together("alone", lambda: 1 // 0, alike=(OSError,))
