"""Is a mesh that does not take all devices of a trial on several hosts refused before it runs?"""

from __future__ import annotations

from typing import Any

import pytest

from trainer.run import fits
from trainer.training.entrypoint import DEVICES_FLAG

HOST = {"cpus": 1.0, "gpus": 0.0, "tpu_chips": 0}


@pytest.mark.parametrize(
    ("mesh", "held", "allowed"),
    [
        ({}, {"hosts": 1}, ""),
        ({"data": 2}, {"hosts": 2}, ""),
        ({"fsdp": 2}, {"hosts": 2}, ""),
        ({}, {"hosts": 2}, "2"),
        ({"data": 4}, {"hosts": 2}, "2"),
        ({"data": 2, "fsdp": 4}, {"hosts": 2, "gpus": 4.0}, ""),
        ({"data": 2}, {"hosts": 2, "gpus": 4.0}, "8"),
        ({"data": 16}, {"hosts": 2, "tpu_chips": 4}, ""),  # a v3's chip is two devices
        ({"data": 8}, {"hosts": 2, "tpu_chips": 4}, ""),
        ({"data": 4}, {"hosts": 2, "tpu_chips": 4}, "8 or 16"),
    ],
)
def test_all_devices_take_part(
    mesh: dict[str, int], held: dict[str, Any], allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    said = fits({"mesh": mesh}, {**HOST, **held})
    assert bool(said) == bool(allowed)
    if said:
        assert f"Allowed is {allowed}: set mesh.data, or resources.hosts." in said[0]


def test_how_many_devices_a_cpu_stands_for_may_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", f"--{DEVICES_FLAG}=8")
    assert fits({"mesh": {"data": 16}}, {**HOST, "hosts": 2}) == []
    assert fits({"mesh": {"data": 16}}, {**HOST, "hosts": 3})
