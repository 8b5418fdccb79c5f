"""What is a gang? Processes on several hosts that run one attempt together, and how it came to them.

They are got all at once or not at all: Ray reserves their places as one placement group, which outlives the
engine as they do. A gang whose attempt has ended well stays: the next trial finds its processes joined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.backends.fate import Fate, Seen
from orchestrator.runs.contract import AttemptKey, Progress
from trainer.protocol import Place, Reply

ANSWERING = "answering"  # the first process has a thread for each of the others
MARK = "gang-"  # in the name of an actor, and of a placement group


@dataclass(eq=False)
class Member:
    """One process of it."""

    node_id: str
    place: int  # within its host
    seen: Seen
    actor: Any = None  # None until it is made, and once it is dead
    request: Any = None  # a question that has not been answered yet
    request_at: float = 0.0
    request_after: int = 0
    waits: str = ""  # what it says that it waits for, before its training code runs


@dataclass(eq=False)
class Gang:
    uid: str
    members: list[Member]
    group: Any = None  # Ray's placement group; None once it is given back
    entrypoint: str = ""  # of its attempts: what has joined its processes
    until: float = 0.0  # monotonic: they are ready by then, or are given back
    coordinator: str = ""  # once all of them have answered
    begun: bool = False  # they have been told to begin the attempt
    refused: bool = False  # one of them did not
    said: Progress = field(default_factory=lambda: Progress(known=True))  # by the first one, at last
    said_after: int = 0
    fate: Fate | None = None  # of its attempt

    @property
    def stands(self) -> bool:
        return self.group is not None

    @property
    def seen(self) -> list[Seen]:
        return [member.seen for member in self.members]

    @property
    def waits(self) -> str:
        """Of those that do not train yet, what the first of them waits for."""
        late = [each for each in self.members if each.waits and not each.seen.over]
        return f"{late[0].seen.host}: {late[0].waits}" if late else ""

    @property
    def hosts(self) -> str:
        return ", ".join(member.seen.host for member in self.members)

    def place_of(self, index: int) -> Place:
        return Place(index, len(self.members), self.coordinator)

    def is_over(self, now: float, why: str) -> None:
        """Its processes are gone, on purpose or not."""
        for member in self.members:
            if not member.seen.over:
                member.seen.dead, member.seen.at = why, now


class FirstActor:
    """A gang's first process, as the others call it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def reply(self, key: AttemptKey, number: int) -> Reply:
        import ray

        asked = self._actor.reply.options(concurrency_group=ANSWERING).remote(key, number)
        answered: Reply = ray.get(asked)
        return answered

    def leave(self) -> None:
        self._actor.leave.remote()


def gang_name(uid: str, index: int, count: int) -> str:
    """The last part of the name of an actor in it."""
    return f"{MARK}{uid}-{index}-{count}"


def in_gang(word: str) -> tuple[str, int, int] | None:
    """Which gang, which process of it and how many, by the last part of an actor's name."""
    if not word.startswith(MARK):
        return None
    uid, index, count = word.removeprefix(MARK).split("-")
    return uid, int(index), int(count)
