"""What does each host of a Ray say of itself? Asked there, by a task on each that holds nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.backends import ray_private
from orchestrator.backends.connection import NAMESPACE, connect
from orchestrator.backends.placement import KINDS
from orchestrator.runs import checkup, shared

ANSWER_S = 60.0  # a new process of Python, on a disk that may be slow


@dataclass(frozen=True)
class Asked:
    """One host, and what became of asking it."""

    name: str
    has: str  # 2 CPU, 1 GPU
    there: checkup.Checkup | None  # None: it did not answer
    troubles: list[str]
    off_s: float = 0.0  # its clock's lead over ours


def of_hosts(address: str, token_path: Path | None, root: Path) -> list[Asked]:
    ray, connected_here = connect(address, token_path, NAMESPACE)  # sets what Ray reads when it is imported
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        word = shared.word_of(root)
        held = shared.answer(root, word)
        ask = ray.remote(num_cpus=0, max_retries=0)(checkup.examined)
        nodes = ray_private.listing(address)()
        begun = time.time()
        with shared.held(root, held):
            requests = [
                ask.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
                ).remote(str(root), word, held)
                for node in nodes
            ]
            ray.wait(requests, num_returns=len(requests), timeout=ANSWER_S)
        shared.heard(root, held)  # it is taken away
        return [
            _asked(ray, node, request, root, begun) for node, request in zip(nodes, requests, strict=True)
        ]
    finally:
        if connected_here:
            ray.shutdown()


def _asked(ray: Any, node: ray_private.Listed, request: Any, root: Path, begun: float) -> Asked:
    name, has = node.hostname, node.has
    held = ", ".join(f"{has[kind]:g} {kind}" for kind in KINDS if has.get(kind)) or "no CPUs"
    try:
        there: checkup.Checkup = ray.get(request, timeout=0)
    except Exception as problem:  # it did not answer, or our code cannot be loaded there
        said = str(problem).strip().splitlines()
        return Asked(
            name, held, None, [f"It does not answer: {said[-1] if said else type(problem).__name__}"]
        )
    off_s = checkup.lead_s(there.at, begun, time.time())
    heard = bool(there.answer) and shared.heard(root, there.answer)
    if heard:
        shared.note_locks(root, there.host, reach=there.locks)
    return Asked(name, held, there, checkup.troubles(there, off_s=off_s, heard=heard), off_s)
