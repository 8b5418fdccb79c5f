"""What is asked of a backend? Submit, poll, cancel: it runs attempts and repeats what they said.

A backend holds no truth. It may be asked anything twice, and it may have forgotten everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from orchestrator.ledger.records import Event
from orchestrator.study.resources import Resources
from orchestrator.study.whereabouts import Code
from trainer.protocol import Outcome, Reply

AttemptKey = tuple[str, int]  # (trial_id, number)


@dataclass(frozen=True)
class Launch:
    """All that a worker needs to run one attempt."""

    trial_id: str
    attempt: int
    entrypoint: str
    config: Mapping[str, Any]
    shape_key: str  # a worker that is warm for it is preferred
    folder: str  # the attempt's own, …/trial/attempt-N: all it may write
    resume_from: str | None = None  # a checkpoint of an earlier attempt; the worker puts it into
    #                                 `workdir/resume.json` as {"checkpoint": path}, and as "earlier" the
    #                                 folders of earlier attempts that are there
    resources: Resources = field(default_factory=Resources)
    code: Code | None = None  # the entrypoint as it was checked; None: whatever has that name
    hosts: tuple[str, ...] = ()  # of a gang: the names of those that it was given, the first one's first
    gather_s: float = 300.0  # of a gang: so long may it take until all its processes stand ready

    @property
    def key(self) -> AttemptKey:
        return (self.trial_id, self.attempt)


@dataclass(frozen=True)
class Ended:
    """Why an attempt is over, apart from crashes of ours.

    outcome: the entrypoint returned; `outcome` says how. raised: the training code raised; `traceback`.
    lost: the worker died, or was killed as hung, or another of its gang did; `reason`. unwritten: the host
    could not write down what it must, its disk being full or away; `reason`. unable: the entrypoint cannot be
    loaded there, where whoever launched it can, or a file that the config names is not there; `reason`,
    `traceback`.
    """

    how: Literal["outcome", "raised", "lost", "unwritten", "unable"]
    outcome: Outcome | None = None
    reason: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Progress:
    """What became of one attempt since the last poll."""

    known: bool  # False: this backend has never heard of it, or has forgotten it
    events: tuple[Event, ...] = ()  # those after the sequence asked for, in order, without gaps. The first
    #                                 is the worker's own "started": without it, known means submitted only
    ended: Ended | None = None  # given only together with the last of the events
    host: str = ""  # where it was at work, once it has ended; of a gang, whose trouble it was
    waits: str = ""  # what is missing until its training code runs. Not known, and this: its gang was given
    #                  back
    reports: int = 0  # how many this process has made, of a gang's


@dataclass(frozen=True)
class HostView:
    """A host that attempts run on, for people to see."""

    name: str
    address: str
    has: Mapping[str, float]  # CPU, GPU, TPU; GPU_GiB, TPU_GiB: the memory of one, where it is known
    places: int  # trials at a time, at most
    at_work: tuple[AttemptKey, ...] = ()
    draining: bool = False
    others: Mapping[str, float] = field(default_factory=dict)  # of what it has: in use by others
    labels: Mapping[str, str] = field(default_factory=dict)  # Ray's, of a TPU: its slice, type and place


class Backend(Protocol):
    def slots(self, resources: Resources) -> int:
        """How many such trials all its hosts can hold, also those that are at work or to be kept off."""

    def free(self, resources: Resources, ahead: Sequence[Resources] = ()) -> int:
        """How many such trials could begin now, once those `ahead`, which have waited longer, are given
        room: where none has it yet, a host that can is kept for it."""

    def hosts(self) -> tuple[HostView, ...]:
        """All that there are now. Asked also when nothing runs: what hosts do is heeded here."""

    def keep_off(self, hosts: Mapping[str, bool]) -> None:
        """Begin nothing on the hosts of these names, from now until told anew. True: what runs there saves
        and goes on elsewhere."""

    def room(self) -> str:
        """What there is for all trials, in words: for a person who asks for more."""

    def submit(self, launch: Launch, ahead: Sequence[Resources] = (), *, avoid: str = "") -> bool:
        """Start an attempt where `free` has room, on the host `avoid` only if no other has; False when
        nothing is free. An attempt it already has: True, nothing done."""

    def poll(self, after: Mapping[AttemptKey, int]) -> dict[AttemptKey, Progress]:
        """For each attempt asked about, what it said after that sequence. Never blocks for long."""

    def await_news(self, within_s: float) -> None:
        """Return once one of the attempts that were asked about has said more, or after `within_s`."""

    def say(self, key: AttemptKey, verdict: Reply) -> None:
        """The verdict that the attempt's next report is answered with."""

    def kill(self, key: AttemptKey, reason: str) -> None:
        """End its process now; the next poll says lost, with this reason."""

    def forget(self, key: AttemptKey) -> None:
        """Its end is in the ledger: free the slot and drop what was kept of it."""

    def attempts(self) -> list[AttemptKey]:
        """All that it holds and was not told to forget: to find those that nobody asks about."""

    def renew(self) -> None:
        """Another process led meanwhile: find out anew what the workers hold."""

    def close(self, *, end_workers: bool) -> None:
        """Let go; with `end_workers` also end everything it started."""
