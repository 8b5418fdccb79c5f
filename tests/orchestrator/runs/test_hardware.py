"""Does a worker's environment say what its trial holds, and nothing that a shell or an earlier life left?"""

from __future__ import annotations

import os

import pytest
from jaxlib import xla_client

from orchestrator.runs import hardware
from orchestrator.runs.hardware import chips, settle
from orchestrator.study.resources import Resources

FRACTION, PREALLOCATE = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"
ONE, TWO, FOUR = ({"TPU": tuple(map(str, range(n)))} for n in (1, 2, 4))


def settled(
    before: dict[str, str], resources: Resources, held: hardware.Held | None = None
) -> dict[str, str]:
    environ = dict(before)
    settle(environ, resources, held or {})
    if resources.tpu_chips:
        assert (environ.pop("CUDA_VISIBLE_DEVICES"), environ.pop("HIP_VISIBLE_DEVICES")) == ("", "")
    return environ


@pytest.fixture(autouse=True)
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "there", lambda pattern: False)


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        (0.5, {FRACTION: "0.45"}),
        (0.25, {FRACTION: "0.225"}),
        (0.1, {FRACTION: "0.09"}),
        (0.3, {FRACTION: "0.27", PREALLOCATE: "false"}),
        (0.6, {FRACTION: "0.54", PREALLOCATE: "false"}),
        (1, {}),
        (2, {}),
    ],
)
def test_of_a_share_of_a_gpu_jax_takes_nine_tenths_and_of_a_whole_one_what_it_takes_itself(
    gpus: float, said: dict[str, str]
) -> None:
    assert settled({}, Resources(gpus=gpus)) == said


@pytest.mark.parametrize("gpus", [0.5, 0.3, 0.25, 0.2, 1 / 3, 0.125])
def test_all_that_fit_on_one_gpu_take_no_more_than_nine_tenths_of_it(gpus: float) -> None:
    fit = int(1 / gpus + 1e-6)
    assert fit * float(settled({}, Resources(gpus=gpus))[FRACTION]) <= 0.9 + 1e-3


def test_jax_reads_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settled({}, Resources(gpus=0.3)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)
    options = xla_client.generate_pjrt_gpu_plugin_options()
    assert (options["memory_fraction"], options["preallocate"]) == (0.27, False)


@pytest.mark.parametrize("name", [FRACTION, "XLA_CLIENT_MEM_FRACTION"])
def test_what_a_person_has_set_of_jax_s_memory_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settled({name: ".2", PREALLOCATE: "true"}, Resources(gpus=0.3))
    assert found == {name: ".2", PREALLOCATE: "true"}
    for each in (FRACTION, "XLA_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(each, raising=False)
    for each, value in found.items():
        monkeypatch.setenv(each, value)
    assert xla_client.generate_pjrt_gpu_plugin_options()["memory_fraction"] == 0.2  # JAX refuses both names


@pytest.mark.parametrize(
    ("resources", "device", "platforms"),
    [
        (Resources(gpus=0.5), "nvidia", "cuda,cpu"),
        (Resources(tpu_chips=4), "accel", "tpu,cpu"),
        (Resources(tpu_chips=4), "vfio", "tpu,cpu"),
        (Resources(gpus=1), "accel", None),
        (Resources(), "nvidia", "cpu"),
    ],
)
def test_jax_may_not_go_on_on_the_cpu_where_the_machine_has_the_device(
    resources: Resources, device: str, platforms: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "there", lambda pattern: pattern.startswith(device))
    assert settled({}, resources).get("JAX_PLATFORMS") == platforms


def test_the_platforms_that_a_person_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "there", lambda pattern: True)
    assert settled({"JAX_PLATFORMS": "cuda"}, Resources(gpus=1))["JAX_PLATFORMS"] == "cuda"


STALE = {
    "MEGASCALE_NUM_SLICES": "3",
    "MEGASCALE_COORDINATOR_ADDRESS": "10.0.0.1",
    "TPU_VISIBLE_CHIPS": "2,3",
    "TPU_CHIPS_PER_HOST_BOUNDS": "1,1,1",
    "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
    "TPU_HOST_BOUNDS": "2,2,1",
    "TPU_PROCESS_BOUNDS": "2,2,1",
    "TPU_PROCESS_ADDRESSES": "localhost:8476,localhost:8477",
    "TPU_PROCESS_PORT": "8477",
    "CLOUD_TPU_TASK_ID": "1",
}
OF_THE_HOST = {"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "a,b"}
OF_THE_SLICE = {"TPU_NAME": "slice", "TPU_ACCELERATOR_TYPE": "v4-16", "TPU_TOPOLOGY": "2x2x2"}


def test_a_process_of_a_gang_keeps_what_the_host_says_of_its_slice_and_nothing_stale() -> None:
    given = {**STALE, **OF_THE_HOST, **OF_THE_SLICE}
    assert settled(given, Resources(tpu_type="v3-16", tpu_chips=4, hosts=2), FOUR) == {
        **OF_THE_HOST,
        **OF_THE_SLICE,
    }


def test_a_trial_on_one_host_alone_is_not_told_of_the_slice_s_other_hosts() -> None:
    assert settled({**STALE, **OF_THE_HOST, **OF_THE_SLICE}, Resources(tpu_chips=4), FOUR) == OF_THE_SLICE


def test_a_trial_without_chips_is_told_of_no_slices() -> None:
    found = settled({**STALE, **OF_THE_SLICE}, Resources())
    assert not [name for name in found if name.startswith("MEGASCALE_")]
    assert found["JAX_PLATFORMS"] == "cpu"


@pytest.mark.parametrize("stale", [{}, STALE])
@pytest.mark.parametrize(("held", "bounds"), [(ONE, "1,1,1"), (TWO, "1,2,1")])
def test_what_ray_has_set_for_a_part_of_a_host_s_chips_stays(
    stale: dict[str, str], held: hardware.Held, bounds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ray's own code, on a host of four chips."""
    from ray._private.accelerators.tpu import TPUAcceleratorManager

    monkeypatch.setattr(TPUAcceleratorManager, "get_current_node_num_accelerators", staticmethod(lambda: 4))
    for name in [*STALE, "RAY_TPU_RESOURCE_PER_CHIP"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in stale.items():
        monkeypatch.setenv(name, value)
    TPUAcceleratorManager.set_current_process_visible_accelerator_ids(list(held["TPU"]))
    environ = {name: os.environ[name] for name in STALE if name in os.environ}
    assert settled(environ, Resources(tpu_chips=len(held["TPU"])), held) == {
        "TPU_VISIBLE_CHIPS": ",".join(held["TPU"]),
        "TPU_CHIPS_PER_HOST_BOUNDS": bounds,
        "TPU_HOST_BOUNDS": "1,1,1",
    }


def test_chips_that_a_person_names_by_hand_stay() -> None:
    by_hand = {"RAY_EXPERIMENTAL_NOSET_TPU_VISIBLE_CHIPS": "1", "TPU_VISIBLE_CHIPS": "2,3"}
    found = settled({**by_hand, "MEGASCALE_SLICE_ID": "0"}, Resources(tpu_chips=2), TWO)
    assert found == by_hand


def test_chips_are_counted_once_where_ray_gives_each_several_numbers() -> None:
    held = {"TPU": ("0", "1", "2", "3")}
    assert chips(held, {}) == (0, 1, 2, 3)
    assert chips(held, {"RAY_TPU_RESOURCE_PER_CHIP": "2"}) == (0, 1)
    assert chips({"GPU": ("0",)}, {}) == ()
