"""How do a benchmark's processes come together that nobody looks after? Each prints its result last."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any


def told_by(module: str, count: int, folder: str) -> list[dict[str, Any]]:
    """What each of so many processes of this module prints, started with --member, its index, the coordinator
    and the folder."""
    coordinator = f"127.0.0.1:{free_port()}"
    members = [
        subprocess.Popen(
            [sys.executable, "-m", module, "--member", str(index), coordinator, folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    try:
        return [json.loads(member.communicate()[0].splitlines()[-1]) for member in members]
    finally:
        for member in members:
            member.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
