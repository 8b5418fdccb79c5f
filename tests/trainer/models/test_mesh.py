"""Do several devices, and several processes, compute what one does?"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from orchestrator.runs import ends
from tests.trainer import compiling
from trainer.config import MeshConfig
from trainer.models import Settings, param_shapes
from trainer.models import mesh as mesh_module
from trainer.models.mesh import make_mesh, partition, pin_rows, start_distributed, state_shardings
from trainer.protocol import Place

PROGRAM = "tests.trainer.models.mesh_program"
ROOT = Path(__file__).parents[3]
ALONE = {"data": 1, "fsdp": 1, "tensor": 1}
SHAPES = [
    ALONE,
    {**ALONE, "data": 8},
    {**ALONE, "fsdp": 8},
    {**ALONE, "tensor": 4},
    {"data": 2, "fsdp": 2, "tensor": 2},
]


def started(asked: dict[str, Any], *, devices: int) -> subprocess.Popen[str]:
    flags = compiling.flags(devices=devices)
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", PROGRAM, json.dumps(asked)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> Any:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def on_eight(trained: list[dict[str, int]]) -> list[dict[str, Any]]:
    """What each shape comes to; those that are not trained are laid out alone."""
    asked = {"place": {}, "shapes": SHAPES, "trained": trained}
    done: list[dict[str, Any]] = answer(started(asked, devices=8))
    return done


@pytest.fixture(scope="module")
def on_eight_devices() -> list[dict[str, Any]]:
    """One device, and all three axes together."""
    return on_eight([SHAPES[0], SHAPES[-1]])


@pytest.fixture(scope="module")
def each_axis_alone() -> list[dict[str, Any]]:
    return on_eight(SHAPES)


def close(ours: dict[str, Any], alone: dict[str, Any]) -> None:
    """Float32 sums in another order. A wrong dropout mask on one device would show in the third digit."""
    np.testing.assert_allclose(ours["losses"], alone["losses"], rtol=2e-6)
    for name, curve in alone["hypergrads"].items():
        # A difference of some thousand products of either sign: what rounds is their size, not its own.
        np.testing.assert_allclose(ours["hypergrads"][name], curve, rtol=1e-4, atol=2e-6)


def test_the_axes_together_change_neither_loss_nor_hypergradient(
    on_eight_devices: list[dict[str, Any]],
) -> None:
    close(on_eight_devices[-1], on_eight_devices[0])


@pytest.mark.slow  # three programs more
@pytest.mark.parametrize("index", range(1, len(SHAPES) - 1), ids=["data", "fsdp", "tensor"])
def test_an_axis_alone_changes_neither_loss_nor_hypergradient(
    each_axis_alone: list[dict[str, Any]], index: int
) -> None:
    close(each_axis_alone[index], each_axis_alone[0])


def test_each_axis_splits_what_it_is_for(on_eight_devices: list[dict[str, Any]]) -> None:
    shards = [(tuple(d["embedding_shard"]), tuple(d["batch_shard"])) for d in on_eight_devices]
    assert shards == [
        ((24, 16), (8, 5)),
        ((24, 16), (1, 5)),
        ((24, 2), (1, 5)),
        ((6, 16), (8, 5)),
        ((12, 8), (2, 5)),
    ]
    assert [d["average_shard"] for d in on_eight_devices] == [d["embedding_shard"] for d in on_eight_devices]


def test_two_processes_train_in_step(on_eight_devices: list[dict[str, Any]]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"

    def asked(shape: dict[str, int], place: dict[str, Any]) -> dict[str, Any]:
        return {"shapes": [{**ALONE, **shape}], "place": place}

    gang = [
        started(
            asked({"data": 2}, {"process_index": i, "process_count": 2, "coordinator": coordinator}),
            devices=1,
        )
        for i in range(2)
    ]
    try:
        (first,), (second,) = (answer(process) for process in gang)
    finally:
        for process in gang:
            process.kill()
    alone = on_eight_devices[0]
    assert (first["devices"], first["batch_shard"][0], alone["batch_shard"][0]) == (2, 4, 8)
    assert first == second
    assert alone["losses"][-1] < 0.95 * alone["losses"][0]
    close(first, alone)


def on_paper(**shape: int) -> jax.sharding.AbstractMesh:
    axes = {**ALONE, **shape}
    kinds = (jax.sharding.AxisType.Auto,) * 3
    return jax.sharding.AbstractMesh(tuple(axes.values()), tuple(axes), axis_types=kinds)


def test_every_large_parameter_is_split_over_fsdp_and_tensor() -> None:
    settings = Settings(64, 64, 128, 4, 2, "relative", "rms", "gated-gelu")
    shardings = state_shardings(param_shapes(settings), on_paper(fsdp=2, tensor=2))
    by_size = zip(*map(jax.tree.leaves, (param_shapes(settings), shardings)), strict=True)
    whole = {leaf.shape for leaf, sharding in by_size if sharding.is_fully_replicated}
    assert whole == {(64,), (32, 4)}  # norms and T5's buckets


def test_optimizer_states_are_split_like_their_parameters() -> None:
    mesh, spec = on_paper(fsdp=2, tensor=2), jax.sharding.PartitionSpec
    name = "encoder_0/attention/query/kernel"
    assert partition(name, (64, 64), mesh) == spec("fsdp", "tensor")
    assert partition(f"optimizer/mu/{name}", (64, 64), mesh) == spec("fsdp", "tensor")
    assert partition(f"optimizer/{name}/moment", (64, 64), mesh) == spec("fsdp", "tensor")
    assert partition(f"optimizer/v_row/{name}", (64,), mesh) == spec()
    assert partition(name, (63, 64), mesh) == spec(None, "tensor")
    assert partition("encoder_0/attention_norm/scale", (64,), mesh) == spec()
    assert partition("guidance_batch/target_in", (8, 5), mesh) == spec(("data", "fsdp"), None)
    assert partition("guidance_batch/target_in", (7, 5), mesh) == spec(None, None)


def test_rows_that_cannot_be_split_are_left_alone() -> None:
    def constraints(rows: int) -> int:
        with jax.sharding.use_abstract_mesh(on_paper(data=2)):
            return str(jax.make_jaxpr(pin_rows)(np.zeros((rows, 3)))).count("sharding_constraint")

    assert (constraints(4), constraints(5)) == (1, 0)
    assert "sharding_constraint" not in str(jax.make_jaxpr(pin_rows)(np.zeros((4, 3))))


def test_a_mesh_larger_than_the_machine_is_refused() -> None:
    with pytest.raises(ValueError) as refusal:
        make_mesh(MeshConfig(data=3, fsdp=5, tensor=7))
    assert f"is 105 and there are {jax.device_count()} devices in 1 processes" in str(refusal.value)


def test_a_process_that_libtpu_numbers_otherwise_than_its_gang_is_the_machine_s_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a TPU the number is libtpu's, whatever JAX was told."""
    monkeypatch.setattr(mesh_module, "call_the_roll", lambda place, within_s: None)
    monkeypatch.setattr(mesh_module.jax.distributed, "initialize", lambda **given: None)
    monkeypatch.setattr(mesh_module.jax.config, "update", lambda name, value: None)
    for name in ("introduce", "meet"):
        monkeypatch.setattr(mesh_module.meeting, name, lambda *given, **more: None)
    monkeypatch.setattr(mesh_module.jax, "process_index", lambda: 1)
    start_distributed(Place(1, 2, "here:1"))
    with pytest.raises(RuntimeError) as problem:
        start_distributed(Place(0, 2, "here:1"))
    assert str(problem.value) == (
        "libtpu numbers this process 1, and its gang numbers it 0: the hosts of the slice are not in "
        "their order, or one of them holds a stale TPU_WORKER_ID. Start the workers of this host anew."
    )
    assert ends.of_the_accelerator(problem.value)


def test_a_gang_without_a_coordinator_is_refused_and_one_process_needs_none() -> None:
    start_distributed(Place())
    assert jax.process_count() == 1
    with pytest.raises(ValueError) as refusal:
        start_distributed(Place(process_index=1, process_count=2))
    assert str(refusal.value).startswith("Process 1 of 2 has no coordinator.")
