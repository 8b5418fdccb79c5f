"""What must a worker's environment say before JAX starts, so that it takes what its trial holds?

Ray divides the accelerators: CUDA_VISIBLE_DEVICES and TPU_VISIBLE_CHIPS are its words. What is said here is
how much of a GPU's memory a share may take, and what a shell or an earlier life left that misleads libtpu.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from orchestrator.study.resources import Resources

Held = Mapping[str, Sequence[str]]  # which GPUs and TPU chips a process holds, by Ray's names for the kinds

# Of a share of a GPU JAX may take so much. The rest is for what each process needs beside JAX's own memory:
# CUDA's context, and the code and workspaces of cuBLAS, cuDNN and NCCL, some hundred MB in all.
OF_A_SHARE = 0.9
# Both are read (jaxlib/xla_client.py, 0.10), as a share of the whole memory since jaxlib 0.4.1, not of what
# is left (jax#4310). Both at once are refused; the older one is what training code sets itself most often.
FRACTION, NEWER_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION"
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"

MEGASCALE = (
    "MEGASCALE_"  # of several slices; a trial is one, and stale ones make JAX wait for ever (ray#62893)
)
VISIBLE_CHIPS = "TPU_VISIBLE_CHIPS"
CHIP_BOUNDS, HOST_BOUNDS = "TPU_CHIPS_PER_HOST_BOUNDS", "TPU_HOST_BOUNDS"
BOUNDS = (CHIP_BOUNDS, HOST_BOUNDS, "TPU_CHIPS_PER_PROCESS_BOUNDS", "TPU_PROCESS_BOUNDS")
PEERS = ("TPU_PROCESS_ADDRESSES", "TPU_PROCESS_PORT", "CLOUD_TPU_TASK_ID")
OF_THE_HOST = ("TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES")  # set by GKE: which hosts the slice has
ONE_HOST = "1,1,1"
RAYS_BOUNDS = {
    1: "1,1,1",
    2: "1,2,1",
}  # that Ray sets for so many chips of a host (ray's accelerators/tpu.py)
CHIPS_ARE_SET_BY_HAND = "RAY_EXPERIMENTAL_NOSET_TPU_VISIBLE_CHIPS"
IDS_PER_CHIP = "RAY_TPU_RESOURCE_PER_CHIP"


def settle(environ: MutableMapping[str, str], resources: Resources, held: Held) -> None:
    """Make it the environment of a trial that asks for `resources` and was given `held`. What a person has
    set of JAX's memory and platforms on this host stays."""
    environ.update(hidden(resources))
    for name, value in {**shared(resources), **demanded(resources)}.items():
        if name != FRACTION or NEWER_FRACTION not in environ:
            environ.setdefault(name, value)
    for name in misleading(environ, resources, chips(held, environ)):
        del environ[name]
    if resources.tpu_chips and VISIBLE_CHIPS in environ and CHIP_BOUNDS in environ:
        environ[HOST_BOUNDS] = ONE_HOST  # Ray leaves a stale one beside bounds that are right


def accelerated(resources: Resources) -> bool:
    """Whether a trial holds any GPU or TPU chip."""
    return resources.gpus > 0 or resources.tpu_chips > 0


def hidden(resources: Resources) -> dict[str, str]:
    """The environment in which training code sees no accelerator that its trial does not ask for."""
    found = {} if resources.gpus else {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    # JAX would fail on a platform that is demanded and not there, and would take a TPU without being told.
    return found if accelerated(resources) else {**found, "JAX_PLATFORMS": "cpu"}


def shared(resources: Resources) -> dict[str, str]:
    """How much of a GPU's memory JAX takes where several trials share one; nothing where none does. Shares
    that leave a rest are not taken in advance: a trial of another study may be put beside them."""
    if not 0 < resources.gpus < 1:
        return {}
    found = {FRACTION: f"{OF_A_SHARE * resources.gpus:.4g}"}
    parts = 1 / resources.gpus
    return found if math.isclose(parts, round(parts)) else {**found, PREALLOCATE: "false"}


def demanded(resources: Resources) -> dict[str, str]:
    """JAX's platforms, where this machine has such a device: JAX that may choose trains on the CPU without a
    word where the accelerator is busy, and JAX that may not says so."""
    if resources.gpus and there("nvidia[0-9]*"):
        return {"JAX_PLATFORMS": "cuda,cpu"}
    if resources.tpu_chips and has_tpu():
        return {"JAX_PLATFORMS": "tpu,cpu"}
    return {}


def chips(held: Held, environ: Mapping[str, str]) -> tuple[int, ...]:
    """The TPU chips among what is held, by their numbers on this host."""
    a_chip = int(environ.get(IDS_PER_CHIP) or 1)
    return tuple(sorted({int(number) // a_chip for number in held.get("TPU", ()) if number.isdecimal()}))


def misleading(environ: Mapping[str, str], resources: Resources, chips: Sequence[int]) -> list[str]:
    """Which variables of libtpu came from elsewhere and say what is not so for a trial on these chips."""
    found = [name for name in environ if name.startswith(MEGASCALE)]
    if not resources.tpu_chips:
        return found
    wrong = [*PEERS, *(OF_THE_HOST if resources.hosts == 1 else ())]
    if environ.get(CHIPS_ARE_SET_BY_HAND, "").lower() not in ("1", "true"):
        # Of a part of a host's chips Ray names them, and bounds for one and two; of all it names none.
        part = bool(chips) and environ.get(VISIBLE_CHIPS) == ",".join(map(str, chips))
        right = RAYS_BOUNDS.get(len(chips)) if part else None
        wrong += [] if part else [VISIBLE_CHIPS]
        rays = (CHIP_BOUNDS, HOST_BOUNDS) if right is not None and environ.get(CHIP_BOUNDS) == right else ()
        wrong += [name for name in BOUNDS if name not in rays]
    return found + [name for name in wrong if name in environ]


def has_tpu() -> bool:
    """Also a Ray without one may say that it has chips, for a test."""
    return there("accel[0-9]*") or there("vfio/[0-9]*")


def there(pattern: str) -> bool:
    """Whether this machine has a device of such a name."""
    return any(Path("/dev").glob(pattern))
