"""What of Ray is used that Ray does not promise to keep? All of it is here; its test names what breaks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Settings of Ray's core that its documentation does not list, by what they are for.
NO_TASK_EVENTS = "RAY_task_events_report_interval_ms"
DASHBOARD_WAIT = "RAY_DASHBOARD_STARTUP_TIMEOUT_S"
GCS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"

LIST_S = 20.0  # for a head to list its nodes


def store_in(folder: Path) -> dict[str, str]:
    """What makes a head keep what it knows there, and find it again."""
    return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(folder)}


def forget_token() -> None:
    """This process may have known another Ray's."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled

    AuthenticationTokenLoader.instance().reset_cache()


def accelerators(kind: str) -> int:
    """How many of them a Ray that is started here would find: "GPU" or "TPU"."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource(kind)
    if manager is None:
        return 0
    found = int(manager.get_current_node_num_accelerators())
    visible = manager.get_current_process_visible_accelerator_ids()
    return found if visible is None else min(found, len(visible))


@dataclass(frozen=True)
class Listed:
    """A node that lives, as the head lists it."""

    node_id: str
    hostname: str
    address: str
    has: Mapping[str, float]
    labels: Mapping[str, str]
    draining: bool = False
    left: Mapping[str, float] | None = None  # what nobody holds now; None: it was not asked


def listing(address: str, *, what_is_left: bool = False) -> Callable[[], list[Listed]]:
    """Lists the nodes of the Ray there. With a time limit, which `ray.nodes` has not: a call that is left to
    itself when a head dies would end this process once another head answers at that address."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.core.generated import gcs_pb2 as pb2

    gcs, alive = GcsClient(address=address), pb2.GcsNodeInfo.GcsNodeState.Value("ALIVE")  # type: ignore[attr-defined]

    def listed() -> list[Listed]:
        found = gcs.get_all_node_info(timeout=LIST_S, state_filter=alive)
        draining = gcs.get_draining_nodes(timeout=LIST_S)
        left = {}
        if what_is_left:
            usage = gcs.get_all_resource_usage(timeout=LIST_S).resource_usage_data.batch
            left = {each.node_id.hex(): dict(each.resources_available) for each in usage}
        return [
            Listed(
                node_id.hex(),
                info.node_manager_hostname,
                info.node_manager_address,
                dict(info.resources_total),
                dict(info.labels),
                node_id.hex() in draining,
                left.get(node_id.hex()),
            )
            for node_id, info in found.items()
        ]

    return listed


def drain(address: str, label: str, value: str, *, within_s: float) -> bool:
    """Tell the Ray there that the node with this label is about to be taken away; whether it heeds that."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.core.generated import autoscaler_pb2 as pb2

    gcs = GcsClient(address=address)
    until_ms = int((time.time() + within_s) * 1000)
    reason = pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # type: ignore[attr-defined]
    nodes = [n for n, info in gcs.get_all_node_info().items() if info.labels.get(label) == value]
    said = [gcs.drain_node(n.hex(), reason, "orch down", until_ms) for n in nodes]
    return bool(said) and all(accepted for accepted, _ in said)


def only_on_path(*folders: Path) -> Any:
    """A job whose workers have these folders on their path. Ray would put in front of all else the folder
    that this process stands in, which is a person's: their `trainer/` would come before ours."""
    from ray.job_config import JobConfig

    class Job(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True  # then Ray adds nothing

    return Job(_py_driver_sys_path=[str(folder) for folder in folders])


def say_to(log: Callable[[Any], None]) -> None:
    """What workers print, and each worker's death, goes to `log`: Ray would print it to our stdout. And a
    driver that connects beside the main thread, as a server does, is no reason for a warning."""
    from ray._private import worker

    def to_log(data: Any, ignore_prefix: bool) -> None:
        log(data.get("lines"))

    worker.print_to_stdstream = to_log
    worker.logger.setLevel(logging.ERROR)
