"""What must a worker's environment say before JAX starts, so that it takes what its trial holds?"""

from __future__ import annotations

from orchestrator.study.resources import Resources


def hidden(resources: Resources) -> dict[str, str]:
    """The environment in which training code sees no accelerator that its trial does not ask for."""
    found = {} if resources.gpus else {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    # JAX would fail on a platform that is demanded and not there, and would take a TPU without being told.
    return found if resources.gpus or resources.tpu_chips else {**found, "JAX_PLATFORMS": "cpu"}
