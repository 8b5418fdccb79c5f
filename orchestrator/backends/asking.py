"""How is Ray asked for what only its gcs knows? In a thread of its own, which is left if no answer can come.

Such a call never ends when the gcs dies under it, and most of them have no timeout.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from orchestrator.ground.errors import BackendLost

LOOK_S = 0.2  # between two looks at whether that Ray still runs
ANSWER_S = 60.0  # a gcs that lives and says nothing for so long is given up too
GONE = "The workers' Ray has gone. It is started again."

T = TypeVar("T")


def ask(call: Callable[[], T], *, alive: Callable[[], bool], within_s: float = ANSWER_S) -> T:
    """What `call` returns or raises; BackendLost once that Ray is not alive, or after `within_s`."""
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def call_it() -> None:
        try:
            answers.put((True, call()))
        except BaseException as problem:  # whatever it is, it is the asker's
            answers.put((False, problem))

    threading.Thread(target=call_it, name="asks Ray", daemon=True).start()
    for _ in range(max(1, round(within_s / LOOK_S))):
        try:
            good, said = answers.get(timeout=LOOK_S)
        except queue.Empty:
            if not alive():
                raise BackendLost(GONE) from None
            continue
        if not good:
            raise said
        result: T = said
        return result
    raise BackendLost(f"Ray did not answer within {within_s:.0f} s.")
