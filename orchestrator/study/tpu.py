"""What is a TPU type, such as v3-16? Cores, chips, hosts, the devices that JAX sees there, and their memory.

The number in the name counts cores: a chip has two of v2, v3, v4, v5p and v7x, one of v5litepod and v6e. A
type of several hosts is one slice: a program runs on all of its hosts together, or on none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.ground.errors import nearest

CHIPS_A_TRIAL = (1, 2, 4, 8)  # of a host: Ray hides the other chips from a process in these numbers alone
CHIPS_A_HOST = 4  # but for the small types of two generations
SINGLE_CORES = (1, 4, 8, 16, 32, 64, 128, 256)  # sizes of the generations whose chips have one core
_NAME = re.compile(r"([a-z0-9]+?)-([1-9][0-9]{0,5})")
_SPOKEN = {"v5e": "v5litepod", "tpu7x": "v7x", "v7": "v7x", "v6": "v6e", "v5": "v5p"}


@dataclass(frozen=True)
class Generation:
    name: str
    cores: int  # a chip
    devices: int  # of JAX, a chip: two cores are one device where they share their memory
    gib: int  # of memory, a chip
    most_on_one_host: int = CHIPS_A_HOST


GENERATIONS = {
    each.name: each
    for each in (
        Generation("v2", cores=2, devices=2, gib=16),
        Generation("v3", cores=2, devices=2, gib=32),
        Generation("v4", cores=2, devices=1, gib=32),
        Generation("v5litepod", cores=1, devices=1, gib=16, most_on_one_host=8),
        Generation("v5p", cores=2, devices=1, gib=95),
        Generation("v6e", cores=1, devices=1, gib=32, most_on_one_host=8),
        Generation("v7x", cores=2, devices=2, gib=192),
    )
}


@dataclass(frozen=True)
class Tpu:
    """A type: what one slice of it is."""

    generation: Generation
    cores: int

    @property
    def name(self) -> str:
        """As Ray writes it, in the labels of its nodes too."""
        return f"{self.generation.name}-{self.cores}"

    @property
    def chips(self) -> int:
        return self.cores // self.generation.cores

    @property
    def chips_a_host(self) -> int:
        return self.chips if self.chips <= self.generation.most_on_one_host else CHIPS_A_HOST

    @property
    def hosts(self) -> int:
        return self.chips // self.chips_a_host

    @property
    def devices(self) -> int:
        """That JAX sees in all of its processes together."""
        return self.chips * self.generation.devices

    @property
    def head(self) -> str:
        """What Ray gives the first host of a slice, once: whoever holds it has the slice."""
        return f"TPU-{self.name}-head"

    @property
    def words(self) -> str:
        """2 hosts of 4 chips."""
        chips = f"{self.chips_a_host} chip{'s' * (self.chips_a_host != 1)}"
        return f"{self.hosts} hosts of {chips}" if self.hosts > 1 else f"one host of {chips}"


def parse(name: str) -> Tpu:
    """The type of that name; ValueError with a sentence for one that is none."""
    allowed = ", ".join(GENERATIONS)
    written = _NAME.fullmatch(name)
    if written is None or written[1] not in GENERATIONS:
        spoken = written[1] if written is not None else name.partition("-")[0]
        near = _SPOKEN.get(spoken)
        hint = f" Did you mean {near!r}?" if near else nearest(spoken, GENERATIONS)
        hint = "" if spoken in GENERATIONS else hint
        raise ValueError(
            f"{name[:60]!r} is no type of TPU.{hint} Allowed are a generation and a size, as Google and Ray "
            f"write them, such as v3-16. The generations: {allowed}."
        )
    generation, size = GENERATIONS[written[1]], int(written[2])
    if generation.cores == 1:
        fits, sizes = size in SINGLE_CORES, f"{', '.join(map(str, SINGLE_CORES))} chips"
    else:
        a_host = generation.cores * CHIPS_A_HOST
        fits, sizes = (
            size % a_host == 0,
            f"multiples of {a_host} cores, since a host has {CHIPS_A_HOST} chips",
        )
    if not fits:
        raise ValueError(f"{name!r} is no type of TPU. Allowed sizes of {generation.name} are {sizes}.")
    return Tpu(generation, size)


@lru_cache(maxsize=256)
def known(name: str | None) -> Tpu | None:
    """The same without a sentence: None for a name that is none, as a label or an old spec may have."""
    try:
        return parse(name) if name else None
    except ValueError:
        return None
