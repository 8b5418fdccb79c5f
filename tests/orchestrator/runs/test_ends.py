"""Whose fault is an exception, by what it says? In words of JAX, libtpu, CUDA and torch."""

from __future__ import annotations

import pytest

from orchestrator.runs import ends

TROUBLE = {
    "jax#22070, sglang-jax#857": (
        "Unable to initialize backend 'tpu': ABORTED: The TPU is already in use by process with "
        "pid 2718466. Not attempting to load libtpu.so in this process. (set JAX_PLATFORMS='' to "
        "automatically choose an available backend)"
    ),
    "gvisor#11545": (
        "Unable to initialize backend 'tpu': UNKNOWN: TPU initialization failed: "
        "open(/dev/vfio/1): Device or resource busy: Device or resource busy; Couldn't open iommu"
        " group /dev/vfio/1 (set JAX_PLATFORMS='' to automatically choose an available backend)"
    ),
    "marin#2618": (
        "Failed to initialize TPU system with error: FAILED_PRECONDITION: open(/dev/vfio/0): "
        "Device or resource busy: Device or resource busy; Couldn't open iommu group /dev/vfio/0"
    ),
    "no rights to it": (
        "TPU initialization failed: open(/dev/vfio/0): Operation not permitted; Couldn't open "
        "iommu group /dev/vfio/0"
    ),
    "marin#3737": ("Unable to initialize backend 'tpu': INTERNAL: Failed to get global TPU topology."),
    "without JAX's frame": ("INTERNAL: Failed to get global TPU topology."),
    "jax#37230": (
        "INTERNAL: TPU initialization failed: TPU_RET_CHECK failure "
        "(learning/45eac/tpu/runtime/hal/tpu_hal.cc:229) GetChip(i)->location().index_on_host() "
        "== i (0 vs. 1)"
    ),
    "no chip": ("No visible TPU devices."),
    "jax#13260": ("Unable to initialize backend 'tpu': NOT_FOUND: No ba16c7433 device found."),
    "no GPU": ("Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices."),
    "an unknown platform": (
        "Unable to initialize backend 'cuda': Backend 'cuda' is not in the list of known "
        "backends: ['cpu', 'tpu']."
    ),
    "exclusive mode": ("CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable device(s) is/are busy or unavailable"),
    "another number": ("libtpu numbers this process 1, and its gang numbers it 0."),
}
NO_MEMORY = {
    "JAX": ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes."),
    "JAX's allocator": (
        "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Failed to allocate request for 2.0GiB "
        "(2147483648B) on device ordinal 0"
    ),
    "libtpu": (
        "XlaRuntimeError: RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.26G "
        "of 15.48G hbm."
    ),
    "libtpu's stack": (
        "XlaRuntimeError: RESOURCE_EXHAUSTED: Attempting to reserve 12.20G at the bottom of "
        "memory. That was not possible. There are 3.50G free, 0B reserved, and 3.50G reservable."
    ),
    "torch": ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."),
    "CUDA": ("RuntimeError: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    "cuBLAS": ("RuntimeError: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
}


@pytest.mark.parametrize("said", TROUBLE.values(), ids=TROUBLE)
def test_an_accelerator_that_is_busy_or_missing_is_the_machine_s_trouble(said: str) -> None:
    assert ends.of_the_accelerator(RuntimeError(said))
    assert not ends.of_the_accelerator(ValueError(said))  # a code's own word
    ended = ends.without_accelerator(RuntimeError(said))
    assert ended.how == "lost"
    assert ended.reason.startswith("Trouble of the machine ")
    assert said in ended.reason


@pytest.mark.parametrize("said", NO_MEMORY.values(), ids=NO_MEMORY)
def test_an_accelerator_without_memory_is_told_by_its_words_and_is_no_trouble_of_the_machine(
    said: str,
) -> None:
    assert ends.out_of_memory(said)
    assert not ends.of_the_accelerator(RuntimeError(said))


@pytest.mark.parametrize(
    "said",
    [
        "RESOURCE_EXHAUSTED: Received message larger than max (5000000 vs. 4194304)",
        "RuntimeError: shapes do not match",
        "OSError: [Errno 12] Cannot allocate memory",  # the host's
    ],
)
def test_what_else_is_exhausted_is_not_taken_for_an_accelerator_s_memory(said: str) -> None:
    assert not ends.out_of_memory(said)
