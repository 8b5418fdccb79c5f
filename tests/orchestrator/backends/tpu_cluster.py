"""A Ray of several nodes on this machine that say of themselves that they are hosts of TPU slices."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import ray_private
from orchestrator.backends.ray import RayBackend
from orchestrator.backends.slices import SLICE, TYPE, WORKER
from orchestrator.study.tpu import parse

HOST = "orch.test/host"  # the label that tells one node from all others


class TpuCluster:
    """A head without CPUs, and nodes of a few CPUs each."""

    def __init__(self, token: Path, cpus: int) -> None:
        from ray.cluster_utils import Cluster

        self.token, self._cpus = token, cpus
        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[tuple[str, int], Any] = {}

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, name: str, kind: str = "v3-16", ids: Sequence[int] = (0, 1)) -> None:
        tpu = parse(kind)
        for number in ids:
            labels = {SLICE: name, TYPE: kind, WORKER: str(number), HOST: f"{name}-{number}"}
            has: dict[str, float] = {"TPU": tpu.chips_a_host, name: 1} | (
                {tpu.head: 1} if number == 0 else {}
            )
            made = self._cluster.add_node(wait=False, num_cpus=self._cpus, resources=has, labels=labels)
            self.nodes[(name, number)] = made
        self._cluster.wait_for_nodes()

    def end(self, name: str, number: int) -> None:
        """As a machine that is gone: its processes are killed."""
        self._cluster.remove_node(self.nodes.pop((name, number)), allow_graceful=False)

    def drain(self, name: str, number: int) -> None:
        """As Google says of a spot machine."""
        assert ray_private.drain(self.address, HOST, f"{name}-{number}", within_s=600)

    def id_of(self, name: str, number: int) -> str:
        return str(self.nodes[(name, number)].node_id)

    def raylet_of(self, name: str, number: int) -> int:
        """The process that is the parent of the node's workers."""
        (raylet,) = self.nodes[(name, number)].all_processes["raylet"]
        return int(raylet.process.pid)

    def connected(self) -> RayBackend:
        return RayBackend(self.address, token_path=self.token, others=True)

    def close(self) -> None:
        self._cluster.shutdown()


@contextmanager
def tpu_cluster(slices: Mapping[str, tuple[str, Sequence[int]]], *, cpus: int = 2) -> Iterator[TpuCluster]:
    """`slices`: by name their type and which of their hosts are there."""
    folder = tempfile.mkdtemp(prefix="orch-tpu-", dir="/tmp")  # a short path: Ray's sockets lie below it
    Path(folder, "ray").mkdir()
    token = Path(folder, "token")
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_TMPDIR", folder)  # Ray writes the address of this cluster there
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "1000")  # a node that is gone is seen sooner: 3 s, not 15
        patch.setenv("RAY_health_check_failure_threshold", "3")
        ray_private.forget_token()
        made = TpuCluster(token, cpus)
        try:
            for name, (kind, ids) in slices.items():
                made.add(name, kind, ids)
            yield made
        finally:
            made.close()
    shutil.rmtree(folder, ignore_errors=True)
