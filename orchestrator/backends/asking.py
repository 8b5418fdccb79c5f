"""How is Ray asked for what only its gcs knows? In a thread of its own, which is left if no answer can come.

Such a call never ends when the gcs dies under it, and most of them have no timeout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Protocol, TypeVar

from orchestrator.ground.errors import BackendLost

LOOK_S = 0.2  # between two looks at whether that Ray still runs
ANSWER_S = 60.0  # a gcs that lives and says nothing for so long is given up too
GONE = "The workers' Ray has gone. Studies go on once it is back."

T = TypeVar("T")


class AskGcs(Protocol):
    """`ask`, of one Ray."""

    def __call__(self, call: Callable[[], T]) -> T: ...


def ask(call: Callable[[], T], *, alive: Callable[[], bool], within_s: float = ANSWER_S) -> T:
    """What `call` returns or raises; BackendLost once that Ray is not alive, or after `within_s`."""
    answered: Future[T] = Future()

    def call_it() -> None:
        try:
            answered.set_result(call())
        except BaseException as problem:  # whatever it is, it is the asker's
            answered.set_exception(problem)

    threading.Thread(target=call_it, name="asks Ray", daemon=True).start()
    for _ in range(max(1, round(within_s / LOOK_S))):
        if wait([answered], LOOK_S).done:
            return answered.result()
        if not alive():
            raise BackendLost(GONE)
    raise BackendLost(f"Ray did not answer within {within_s:.0f} s.")
