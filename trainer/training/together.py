"""How do the processes of a gang come to one answer? A process that is alone has it already.

Every process calls these at the same moments and in the same order, or all of them wait.
"""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from trainer.data.contract import DataError

_FRAME = 4096  # bytes: each other length would be one more program


def greatest(number: int) -> int:
    """The greatest of all processes' numbers."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def of_first(value: Any) -> Any:
    """A JSON value of the first process, in all of them."""
    if jax.process_count() == 1:
        return value
    told = json.dumps(value).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    room = -(-size // _FRAME) * _FRAME
    frame = np.frombuffer(told[:size].ljust(room, b" "), np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(frame), np.uint8).tobytes())


def require_same(fingerprint: str) -> None:
    """Hosts may have other files under the same name: DataError where a run would begin differently."""
    if jax.process_count() == 1:
        return
    told = np.frombuffer(bytes.fromhex(fingerprint), "<u4")
    each = np.asarray(multihost_utils.process_allgather(told))
    other = [str(number) for number, row in enumerate(each) if not np.array_equal(row, each[0])]
    if other:
        raise DataError(
            f"The text, or what the run begins with, is another one in process {', '.join(other)} than in "
            f"process 0. Give all hosts of a gang the same files and the same versions of the packages."
        )
