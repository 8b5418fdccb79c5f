"""How do tests compile their own programs, which run a few times? In less than half the time: with less
optimization by LLVM, and without the emitters of fused loops, which make faster code and take longer to."""

from __future__ import annotations

OPTIONS: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}


def flags(*, devices: int) -> str:
    """XLA_FLAGS of a process with so many devices."""
    chosen = {**OPTIONS, "xla_force_host_platform_device_count": devices}
    return " ".join(f"--{name}={value}".lower() for name, value in chosen.items())
