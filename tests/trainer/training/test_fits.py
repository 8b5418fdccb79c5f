"""Is a mesh that a trial has no devices for refused before it runs?"""

from __future__ import annotations

from typing import Any

import pytest

from trainer import audit
from trainer.run import fits
from trainer.training.entrypoint import DEVICES_FLAG

HOST = {"cpus": 1.0, "gpus": 0.0, "tpu_chips": 0, "devices": None}
V3 = {"hosts": 2, "tpu_chips": 4, "tpu_type": "v3-16", "devices": 16}


@pytest.mark.parametrize(
    ("mesh", "held", "allowed"),
    [
        ({"data": 2}, {"hosts": 2}, ""),
        ({"fsdp": 2}, {"hosts": 2}, ""),
        ({}, {"hosts": 2}, "2: set mesh.data, or resources.hosts."),
        ({"data": 4}, {"hosts": 2}, "2: set mesh.data, or resources.hosts."),
        ({"data": 2, "fsdp": 4}, {"hosts": 2, "gpus": 4.0, "devices": 8}, ""),
        ({"data": 2}, {"hosts": 2, "gpus": 4.0, "devices": 8}, "8: set mesh.data, or other resources."),
        ({"data": 16}, V3, ""),
        ({"data": 8}, V3, "16: set mesh.data, or other resources."),
        ({"data": 16}, {"hosts": 2, "tpu_chips": 4}, ""),  # of a spec of before, which names no type
        ({"data": 4}, {"hosts": 2, "tpu_chips": 4}, "8 or 16: set mesh.data, or other resources."),
    ],
)
def test_all_devices_of_several_hosts_take_part(
    mesh: dict[str, int], held: dict[str, Any], allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    said = fits({"mesh": mesh}, {**HOST, **held})
    assert bool(said) == bool(allowed)
    if said:
        assert said[0].endswith(f", whose devices must all take part. Allowed is {allowed}")


@pytest.mark.parametrize(
    ("mesh", "held", "holds"),
    [
        ({}, {}, ""),
        ({"data": 2}, {}, "1 device"),
        ({}, {"gpus": 0.25, "devices": 1}, ""),
        ({"data": 2}, {"gpus": 0.25, "devices": 1}, "1 device"),
        ({"data": 2}, {"gpus": 4.0, "devices": 4}, ""),  # one process may leave some alone
        ({"data": 8}, {"gpus": 4.0, "devices": 4}, "4 devices"),
        ({"data": 8}, {"tpu_chips": 4, "devices": 8}, ""),
        ({"data": 16}, {"tpu_chips": 4, "devices": 8}, "8 devices"),
        ({"data": 8}, {"tpu_chips": 4}, ""),  # a v3's chip is two devices
        ({"data": 16}, {"tpu_chips": 4}, "4 or 8 devices"),
    ],
)
def test_a_mesh_on_one_host_takes_at_most_its_devices(
    mesh: dict[str, int], held: dict[str, Any], holds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    said = fits({"mesh": mesh}, {**HOST, "hosts": 1, **held})
    assert bool(said) == bool(holds)
    if said:
        assert f"a trial holds {holds}. Allowed are at most so many: set mesh.data, or " in said[0]


def test_an_audit_takes_the_devices_of_its_run() -> None:
    config = {"mesh": {"data": 8}, "audit": {"at": 2, "learn": ["alpha"], "spans": [1], "step": 0.1}}
    (said,) = audit.fits(config, {**HOST, **V3})
    assert said.endswith("Allowed is 16: set mesh.data, or other resources.")
    assert audit.fits({**config, "mesh": {"data": 16}}, {**HOST, **V3}) == []


def test_how_many_devices_a_cpu_stands_for_may_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", f"--{DEVICES_FLAG}=8")
    assert fits({"mesh": {"data": 16}}, {**HOST, "hosts": 2}) == []
    assert fits({"mesh": {"data": 16}}, {**HOST, "hosts": 3})
