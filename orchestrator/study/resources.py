"""What does a trial hold: CPUs, GPUs, TPU chips, and of how many hosts?"""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from orchestrator.study.named import STORED
from orchestrator.study.strict import Spec
from orchestrator.study.tpu import CHIPS_A_TRIAL, Tpu, known, parse


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
    def tpu(self) -> Tpu | None:
        """None without a type, and for a type that a spec of before may name."""
        return known(self.tpu_type) if self.tpu_chips else None

    @property
    def slice(self) -> Tpu | None:
        """The type of the whole slice of several hosts that a trial takes; None where it takes none."""
        return self.tpu if self.hosts > 1 and self._is_whole(self.tpu) else None

    @property
    def devices(self) -> int | None:
        """Accelerators as JAX counts them, of all hosts together. None where that is not known here: on CPUs,
        and of TPU chips of no stated type, which are one device each or two."""
        if self.tpu_chips:
            return None if self.tpu is None else self.hosts * self.tpu_chips * self.tpu.generation.devices
        return self.hosts * max(1, int(self.gpus)) if self.gpus else None

    @property
    def words(self) -> str:
        """As a person would say it: 2 hosts, each with 1 CPU, 4 TPU chips."""
        held = [f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"]
        held += [f"{self.gpus:g} GPU{'s' * (self.gpus != 1)}"] if self.gpus else []
        held += [f"{self.tpu_chips} TPU chip{'s' * (self.tpu_chips != 1)}"] if self.tpu_chips else []
        held[-1] += f" of a {self.tpu_type}" if self.tpu is not None and self.slice is None else ""
        each = (f"{self.hosts} hosts, each with " if self.hosts > 1 else "") + ", ".join(held)
        return each if self.slice is None else f"a whole {self.tpu_type} slice ({each})"

    def _is_whole(self, tpu: Tpu | None) -> bool:
        return tpu is not None and (self.hosts, self.tpu_chips) == (tpu.hosts, tpu.chips_a_host)

    @field_validator("gpus")
    @classmethod
    def _shared_or_whole(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(
                f"resources.gpus is {gpus:g}. Allowed is a share of one GPU, up to 1, or a whole number: "
                f"several are not shared. Round it up."
            )
        return gpus

    @model_validator(mode="after")
    def _can_be_held(self, info: ValidationInfo) -> Self:
        """What a ledger holds from before these rules is read as it is."""
        if info.context != STORED and (said := _objection(self)):
            raise ValueError(said)
        return self


def _objection(asked: Resources) -> str:
    """Why no host can give that; "" where one can."""
    chips, hosts = asked.tpu_chips, asked.hosts
    if asked.gpus and (chips or asked.tpu_type is not None):
        what = f"tpu_chips {chips}" if chips else f"tpu_type {asked.tpu_type!r:.60}"
        return (
            f"resources have gpus {asked.gpus:g} and {what}. Allowed is one kind of accelerator a "
            f"trial: leave one out."
        )
    if hosts > 1 and 0 < asked.gpus < 1:
        return (
            f"resources.hosts is {hosts} and resources.gpus is {asked.gpus:g}: hosts × shares of a GPU. "
            f"Allowed on several hosts are whole GPUs. Set gpus to 1, or hosts to 1."
        )
    if chips and chips not in CHIPS_A_TRIAL:
        *first, last = map(str, CHIPS_A_TRIAL)
        return f"resources.tpu_chips is {chips}. Allowed of a host are {', '.join(first)} or {last} chips."
    if asked.tpu_type is None:
        return "" if not chips or hosts == 1 else _untyped(asked)
    try:
        return _mismatch(asked, parse(asked.tpu_type))
    except ValueError as why:
        return f"resources.tpu_type: {why}"


def _untyped(asked: Resources) -> str:
    return (
        f"resources.hosts is {asked.hosts} with {asked.tpu_chips} TPU chips each, and no tpu_type. TPUs of "
        f"several hosts are given as one whole slice: add its type, such as tpu_type: v3-16 with hosts: 2 "
        f"and tpu_chips: 4."
    )


def _mismatch(asked: Resources, tpu: Tpu) -> str:
    """What of a type may a trial hold? The whole slice, or of one host a part."""
    chips, hosts = asked.tpu_chips, asked.hosts
    right = f"hosts: {tpu.hosts} and tpu_chips: {tpu.chips_a_host}"
    if not chips:
        what = f"A {tpu.name} is {tpu.words}"
        return f"resources.tpu_type is {tpu.name!r}, and tpu_chips is not set. {what}: add {right}."
    if tpu.hosts == 1:
        allowed = [number for number in CHIPS_A_TRIAL if number <= tpu.chips_a_host]
        if hosts == 1 and chips in allowed:
            return ""
        *first, last = map(str, allowed)
        numbers = f"{', '.join(first)} or {last}" if first else last
        return (
            f"resources have tpu_type {tpu.name!r}, hosts {hosts} and tpu_chips {chips}. A {tpu.name} is "
            f"{tpu.words}. Allowed are hosts: 1, and {numbers} of its chips."
        )
    if (hosts, chips) == (tpu.hosts, tpu.chips_a_host):
        return ""
    return (
        f"resources have tpu_type {tpu.name!r}, hosts {hosts} and tpu_chips {chips}. A {tpu.name} is "
        f"{tpu.words}, and a trial takes the whole slice: set {right}."
    )
