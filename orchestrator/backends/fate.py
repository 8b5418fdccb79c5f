"""How does an attempt of a gang end? All its members share one fate, and the first cause decides which.

When a member's process or host dies, the others raise within seconds: their connections are closed. That is
no fault of the training code. So what a member raised counts only where no death came with it, and that is
known once all others have ended, died, or answered a question that was asked a moment later.

Pure: of what has been seen of the members and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.runs.contract import Ended

SETTLE_S = 2.0  # after an exception: what it brought about or was brought about by has been seen
RESULT_S = 0.5  # after a death: the first one may have come to its result just before
ANSWER_S = 6.0  # for the others to say that they live: who does not is what the death came of
SILENCE_S = 90.0  # Ray has long said by then that a host is gone
FOLLOW_S = 60.0  # the first one's result stands: the others may take so long to end


@dataclass
class Seen:
    """What is known of one member. Times are monotonic, the engine's."""

    index: int
    host: str
    ended: Ended | None = None  # its `run` is over
    dead: str = ""  # its process is gone: why
    at: float = 0.0  # when either was seen
    asked: float = 0.0  # when the last question was asked that it has answered
    reports: int = 0  # how many it has made

    @property
    def over(self) -> bool:
        return self.ended is not None or bool(self.dead)

    @property
    def in_trouble(self) -> bool:
        return bool(self.dead) or (self.ended is not None and self.ended.how != "outcome")


@dataclass(frozen=True)
class Fate:
    ended: Ended
    host: str  # whose trouble it was, or where it was at work
    whole: bool = False  # every member has ended as it should: they may be given the next trial


def fate(members: Sequence[Seen], now: float) -> Fate | None:
    """How the attempt has ended; None while it goes on or the cause is not known yet."""
    first = members[0]
    result = first.ended is not None and first.ended.how == "outcome"
    if result and first.ended is not None:
        if all(each.over for each in members) or now - first.at > FOLLOW_S:
            well = all(each.ended is not None and each.ended.how == "outcome" for each in members)
            return Fate(first.ended, first.host, whole=well and not any(each.dead for each in members))
        return None
    deaths = [each for each in members if each.dead and each.ended is None]
    if deaths:
        return _of_deaths(members, deaths, now)
    told = [each for each in members if each.ended is not None and each.ended.how != "outcome"]
    if not told:
        return None
    since = min(each.at for each in told)
    unheard = [each for each in members if not each.over and each.asked < since + SETTLE_S]
    causes = [each for each in told if each.ended is not None and each.ended.how != "lost"]
    # Whoever says that it has lost a peer is lost in any case: what the silent one would say changes nothing.
    if unheard and now - since <= (SILENCE_S if causes else ANSWER_S):
        return None
    if unheard:
        silent = unheard[0]
        why = f"It has not answered for {now - silent.asked:.0f} s."
        return Fate(Ended("lost", reason=_of(silent, members, why)), silent.host)
    if not causes and now - since <= SILENCE_S and not all(each.over for each in members):
        return None  # they have lost a peer, and who that is is not known yet
    cause = min(causes or told, key=lambda each: (each.at, each.index))
    assert cause.ended is not None
    return Fate(replace(cause.ended, reason=_of(cause, members, cause.ended.reason)), cause.host)


def _of_deaths(members: Sequence[Seen], deaths: Sequence[Seen], now: float) -> Fate | None:
    """JAX ends a process that has lost another: who has been silent for longer is the cause."""
    since = min(each.at for each in deaths)
    if now - since <= RESULT_S and not members[0].dead:
        return None
    unheard = [each for each in members if not each.over and each.asked < since]
    if unheard and now - since <= ANSWER_S:
        return None
    if unheard:
        silent = min(unheard, key=lambda each: each.asked)
        why = f"It has not answered for {now - silent.asked:.0f} s."
        return Fate(Ended("lost", reason=_of(silent, members, why)), silent.host)
    cause = min(deaths, key=lambda each: (each.at, each.index))
    silent = min(deaths, key=lambda each: each.asked)
    if cause.asked - silent.asked > ANSWER_S:  # a host is missed by Ray later than by its peers
        cause = silent
    return Fate(Ended("lost", reason=_of(cause, members, cause.dead)), cause.host)


def standing_still(members: Sequence[Seen], now: float, *, silent_s: float = 10.0) -> tuple[str, str]:
    """Of a gang that says nothing any more: which member keeps the others waiting, in a sentence, and its
    host. Nothing where all stand at the same point."""
    silent = [each for each in members if not each.over and now - each.asked > silent_s]
    if silent:
        late = min(silent, key=lambda each: each.asked)
        return _of(late, members, f"It has not answered for {now - late.asked:.0f} s."), late.host
    behind = min(members, key=lambda each: each.reports)
    most = max(each.reports for each in members)
    if behind.reports < most:
        said = f"It has made {behind.reports} reports, and others {most}: it stands still."
        return _of(behind, members, said), behind.host
    return "", ""


def _of(member: Seen, members: Sequence[Seen], said: str) -> str:
    return f"Process {member.index} of {len(members)}, on {member.host}: {said}"
