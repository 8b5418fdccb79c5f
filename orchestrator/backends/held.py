"""Which accelerators has Ray given to the process that asks?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def here() -> Mapping[str, Sequence[str]]:
    """The numbers of its GPUs and TPU chips on this host, by kind; in an actor alone."""
    import ray

    found = ray.get_runtime_context().get_accelerator_ids()
    return {kind: tuple(numbers) for kind, numbers in found.items() if numbers}
