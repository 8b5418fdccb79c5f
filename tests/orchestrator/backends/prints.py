"""An entrypoint that prints from Python, from C and from a child, reports once, and may wait to be killed."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, Place, Report, Reporter


def run(config: dict[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    print("seed", config["seed"])
    ctypes.CDLL(None).puts(b"of C")
    subprocess.run(["echo", "of a child"], check=True)
    reporter(Report(1, "train", {"loss": 1.0}))
    if config["waits"]:
        threading.Event().wait(60)
    return Outcome("completed", {"loss": 1.0})
