"""Is the memory of a host's accelerators measured, told by its node, and shown?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.backends import daemon
from orchestrator.backends.accelerator_memory import LABEL, labels, with_memory
from orchestrator.backends.placement import Node
from orchestrator.backends.ray import RayBackend

TWO_GPUS = "143771\n81559\n"  # MiB, as nvidia-smi prints an H200 and an H100


def prints(text: str, status: int = 0) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys; print({text!r}, end=''); sys.exit({status})")


def test_the_smallest_gpu_counts() -> None:
    assert labels(prints(TWO_GPUS)) == {LABEL: "79"}
    assert labels(prints("143771\n")) == {LABEL: "140"}


@pytest.mark.parametrize(
    "asked",
    [
        prints(""),
        prints("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9),
        prints("[N/A]\n"),
        ("there-is-no-such-program",),
    ],
)
def test_where_it_cannot_be_measured_nothing_is_said(asked: tuple[str, ...]) -> None:
    assert labels(asked) == {}


def test_a_driver_that_hangs_is_not_waited_for() -> None:
    assert labels(("sleep", "600"), within_s=0.1) == {}


@pytest.mark.parametrize(
    ("has", "said", "found"),
    [
        ({"GPU": 8}, {LABEL: "79"}, {"GPU_GiB": 79.0}),
        ({"GPU": 8}, {}, {}),
        ({"GPU": 8}, {LABEL: "much"}, {}),
        ({"CPU": 8}, {LABEL: "79"}, {}),  # it hides its GPUs from Ray
        ({"TPU": 4}, {"ray.io/tpu-pod-type": "v4-16"}, {"TPU_GiB": 32.0}),
        ({"TPU": 8}, {"ray.io/tpu-pod-type": "v5litepod-8"}, {"TPU_GiB": 16.0}),
        ({"TPU": 4}, {"ray.io/accelerator-type": "TPU-V5P"}, {"TPU_GiB": 95.0}),
        ({"TPU": 4}, {"ray.io/accelerator-type": "TPU-V7X"}, {"TPU_GiB": 192.0}),
        ({"TPU": 4}, {"ray.io/tpu-pod-type": "v9-16"}, {}),
    ],
)
def test_a_node_s_labels_say_what_one_has(
    has: dict[str, float], said: dict[str, str], found: dict[str, float]
) -> None:
    node = Node("1", "a", has, labels=said)
    assert with_memory(node.seen(()), node.labels).has == {**has, **found}


def test_a_daemon_is_started_with_the_label_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real Ray, and a program of that name that says what nvidia-smi would say."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '{TWO_GPUS}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    home = tmp_path / "home"
    try:
        address = daemon.start(home, cpus=1)
        backend = RayBackend(address, workers=1, token_path=daemon.token_path(home))
        [node] = backend._crew.nodes.look().values()
        backend.close(end_workers=True)
        assert node.labels[LABEL] == "79"
    finally:
        daemon.stop(home)
