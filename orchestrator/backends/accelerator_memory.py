"""How much memory has one accelerator of a host? The host that starts a node measures it, and labels it so.

Of a TPU its type says so, which Ray finds and labels itself. Where neither is known nothing is said.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.backends.slices import TYPE
from orchestrator.runs.contract import HostView
from orchestrator.study.tpu import GENERATIONS

LABEL = "orch/gpu-memory-gib"
TPU_TYPES = (TYPE, "ray.io/accelerator-type")  # such as v4-16, TPU-V4
ASKED = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
WITHIN_S = 10.0  # a driver that hangs holds up no start


def labels(asked: tuple[str, ...] = ASKED, within_s: float = WITHIN_S) -> dict[str, str]:
    """For a node that is started on this machine: the memory of its smallest GPU."""
    try:
        done = subprocess.run(
            asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=True
        )
        mib = [float(line) for line in done.stdout.split("\n") if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):  # none, or no driver; a number that is none
        return {}
    return {LABEL: str(int(min(mib) // 1024))} if mib else {}


def with_memory(host: HostView, labels: Mapping[str, str]) -> HostView:
    """The host with the memory of one GPU and of one TPU chip, by the labels of its node."""
    types = [labels.get(name, "").lower().removeprefix("tpu-").partition("-")[0] for name in TPU_TYPES]
    known = {
        "GPU": int(labels[LABEL]) if labels.get(LABEL, "").isdecimal() else 0,
        "TPU": next((GENERATIONS[name].gib for name in types if name in GENERATIONS), 0),
    }
    gib = {f"{kind}_GiB": float(size) for kind, size in known.items() if size and host.has.get(kind)}
    return replace(host, has={**host.has, **gib})
