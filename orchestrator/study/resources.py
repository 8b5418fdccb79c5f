"""What does a trial hold: CPUs, GPUs, TPU chips, and of how many hosts?"""

from __future__ import annotations

from pydantic import Field, field_validator

from orchestrator.study.strict import Spec


class Resources(Spec):
    """What one trial holds. A trial is one slice: `hosts` hosts of `cpus`, `gpus` and TPU chips each."""

    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)
    tpu_type: str | None = None  # e.g. "v3-8"
    tpu_chips: int = Field(default=0, ge=0)  # per host
    hosts: int = Field(default=1, ge=1)

    @property
    def chips(self) -> float:
        """Accelerator chips of one trial; on CPUs it counts as one a host, however many cores it holds."""
        return self.hosts * (self.tpu_chips or self.gpus or 1)

    @property
    def words(self) -> str:
        """As a person would say it: 2 hosts, each with 1 CPU, 4 TPU chips."""
        held = [f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"]
        held += [f"{self.gpus:g} GPU{'s' * (self.gpus != 1)}"] if self.gpus else []
        held += [f"{self.tpu_chips} TPU chip{'s' * (self.tpu_chips != 1)}"] if self.tpu_chips else []
        return (f"{self.hosts} hosts, each with " if self.hosts > 1 else "") + ", ".join(held)

    @field_validator("gpus")
    @classmethod
    def _shared_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(
                f"resources.gpus is {gpus:g}. Allowed is a share of one GPU, up to 1, or a whole number: "
                f"several are not shared. Round it up."
            )
        return gpus
