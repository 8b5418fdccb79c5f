"""What does each write make of the rows? Pure, and the same for every ledger.

A ledger reads rows, asks here what they become, and writes that in the same transaction.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.ground.errors import Fenced, KeyUsed, MoveRefused, NotFound, closest, nearest
from orchestrator.ledger.base import Ending
from orchestrator.ledger.records import (
    DAMAGED,
    ENDED,
    LIVE_ATTEMPT,
    LOADED,
    TROUBLE,
    AttemptRow,
    AttemptState,
    Event,
    HostRow,
    HostState,
    State,
    StudyRow,
    StudyState,
    Token,
    TrialRow,
    TrialState,
    allowed,
)
from trainer.protocol import FALLBACK

# All other moves of a trial come with an attempt: start_attempt and end_attempt make them.
MOVES_WITHOUT_ATTEMPT = frozenset(
    {(TrialState.WAITING, TrialState.STOPPED), (TrialState.FAILED, TrialState.WAITING)}
)


def fence(epoch: int, stored_epoch: int, who: str) -> None:
    """Raise Fenced unless `epoch` is that of the newest leadership. Epochs begin at 1."""
    if epoch == stored_epoch and epoch > 0:
        return
    newest = f"the newest is {stored_epoch}, led by {who!r}" if stored_epoch else "nobody has led yet"
    raise Fenced(
        f"A write with leadership epoch {epoch} was refused: {newest}. "
        f"Nothing was changed; stop writing, or become the leader again."
    )


def expect(found: State, before: State, after: State) -> None:
    """The compare of a compare-and-set, and the table of moves."""
    if found != before:
        kind = type(found).__name__.removesuffix("State").lower()
        raise MoveRefused(
            f"A {kind} that is {found} was expected to be {before}, so it was not made {after}. "
            f"Read it again and decide anew."
        )
    allowed(before, after)


def moved_study(study: StudyRow, before: StudyState, after: StudyState, reason: str) -> StudyRow:
    if study.state == after:
        return study
    expect(study.state, before, after)
    return replace(study, state=after, reason=reason)


def extended_study(study: StudyRow, extra_trials: Mapping[str, int]) -> StudyRow:
    if study.state == StudyState.CANCELLED:
        raise MoveRefused(
            f"Study {study.name!r} is cancelled and cannot be extended. Create a new study instead."
        )
    return replace(study, extra_trials=extra_trials)


def seen_hosts(before: Iterable[HostRow], now: Iterable[HostRow]) -> list[HostRow]:
    """What the leader sees, with what people have asked for; one that is wanted empty stays, though gone."""
    wanted = {host.name: host.drained_by for host in before}
    found = {host.name: replace(host, drained_by=wanted.get(host.name, "")) for host in now}
    gone = [
        replace(host, state=HostState.GONE) for host in before if host.drained_by and host.name not in found
    ]
    return [*found.values(), *gone]


def deletable(study: StudyRow, *, live: bool) -> None:
    if study.state not in (StudyState.COMPLETED, StudyState.CANCELLED):
        raise MoveRefused(f"The study {study.name} has not ended and cannot be deleted. Cancel it first.")
    if live:
        raise MoveRefused(f"Runs of {study.name} are still stopping. Delete it once they have.")


def added_token(before: Token | None, token: Token) -> Token:
    if before is not None and before.valid(token.created_at):
        raise MoveRefused(
            f"A token named {token.name!r} exists. Choose another name, or revoke it: "
            f"orch token revoke {token.name}"
        )
    return token


def revoked_token(token: Token, at: float) -> Token:
    return token if token.revoked_at is not None else replace(token, revoked_at=at)


def moved_trial(trial: TrialRow, before: TrialState, after: TrialState, at: float, reason: str) -> TrialRow:
    if (before, after) not in MOVES_WITHOUT_ATTEMPT:
        raise MoveRefused(
            f"A trial that is {before} does not become {after} by itself; without an attempt it may go from "
            f"waiting to stopped and from failed to waiting. Start or end an attempt instead."
        )
    if trial.state == after:
        return trial
    expect(trial.state, before, after)
    if after == TrialState.WAITING:
        return replace(trial, state=after, losses=0, failures=0, ended_at=None, reason=reason)
    return replace(trial, state=after, ended_at=at, reason=reason)


def never_began(trial: TrialRow) -> bool:
    """It was stopped before it had an attempt: all there is of it is its row."""
    return trial.state == TrialState.STOPPED and trial.attempts == 0


def removable(trial: TrialRow) -> None:
    if not never_began(trial):
        raise MoveRefused(
            f"The trial {trial.trial_id!r} is {trial.state} after {trial.attempts} attempts and cannot be "
            f"taken back; only a stopped one that never began can. It stays."
        )


def new_trial(trial: TrialRow) -> None:
    if trial.state != TrialState.WAITING:
        raise MoveRefused(
            f"A trial begins as waiting; {trial.trial_id!r} is {trial.state}. Add it as waiting."
        )


def started(trial: TrialRow, attempt: AttemptRow) -> TrialRow:
    """The trial of an attempt that begins. (Of one that is live already, nobody asks.)"""
    if attempt.state != AttemptState.LAUNCHING:
        raise MoveRefused(
            f"An attempt begins as launching, not as {attempt.state}. Write it before submitting."
        )
    if attempt.number != trial.attempts + 1:
        raise MoveRefused(
            f"Attempt {attempt.number} of trial {trial.trial_id!r} cannot start: the trial has had "
            f"{trial.attempts}, so the next one is number {trial.attempts + 1}."
        )
    allowed(trial.state, TrialState.RUNNING)
    return replace(trial, state=TrialState.RUNNING, attempts=attempt.number)


def running(attempt: AttemptRow) -> AttemptRow:
    if attempt.state == AttemptState.RUNNING:
        return attempt
    allowed(attempt.state, AttemptState.RUNNING)
    return replace(attempt, state=AttemptState.RUNNING)


def fresh(
    events: Iterable[Event], live: Collection[tuple[str, int]], stored: Collection[tuple[str, int, int]]
) -> list[Event]:
    """Those to append, in the order given: of a live attempt, and neither stored nor said twice."""
    kept: dict[tuple[str, int, int], Event] = {}
    for event in events:
        identity = (event.trial_id, event.attempt, event.sequence)
        if identity[:2] in live and identity not in stored:
            kept.setdefault(identity, event)
    return list(kept.values())


def heard(attempt: AttemptRow, event: Event) -> AttemptRow:
    """What an event makes of its attempt. One out of order goes into the stream and changes no row."""
    if event.sequence <= attempt.sequence:
        return attempt
    clocks = event.payload.get("clocks") or attempt.clocks
    after = replace(attempt, sequence=event.sequence, clocks=clocks)
    if event.kind == "started":
        return replace(after, provenance=event.payload)
    packages = event.payload.get("packages")
    if event.kind == LOADED and isinstance(packages, dict):
        return replace(after, provenance={**attempt.provenance, "packages": packages})
    if event.kind == FALLBACK:
        damaged = event.payload.get("damaged")
        facts = {**attempt.provenance, DAMAGED: damaged if isinstance(damaged, list) else []}
        return replace(after, resumed_from=checkpoint_of(event), provenance=facts)
    if moves_checkpoint(event):
        return replace(after, saved_clocks=clocks)
    return after


def moves_checkpoint(event: Event) -> bool:
    """Whether it tells anew what its trial goes on from: a checkpoint that was finalised, or the one (or
    none) that its run fell back to, since those that it passed over are damaged."""
    return event.kind == FALLBACK or (event.kind == "checkpoint" and checkpoint_of(event) is not None)


def checkpoint_of(event: Event) -> str | None:
    path = event.payload.get("path")
    return path if isinstance(path, str) else None


def ended(trial: TrialRow, attempt: AttemptRow, ending: Ending) -> tuple[TrialRow, AttemptRow]:
    """Both rows after the end of a live attempt."""
    if ending.attempt_state in LIVE_ATTEMPT:
        raise MoveRefused(f"An attempt cannot end as {ending.attempt_state}: that one is still alive.")
    allowed(attempt.state, ending.attempt_state)
    allowed(trial.state, ending.trial_state)
    over = replace(
        attempt,
        state=ending.attempt_state,
        ended_at=ending.at,
        reason=ending.reason,
        traceback=ending.traceback,
        clocks=attempt.clocks if ending.clocks is None else ending.clocks,
        provenance={**attempt.provenance, **({TROUBLE: ending.host} if ending.host else {})},
    )
    value = ending.value
    if value is not None and math.isnan(value):
        value = None  # NaN is no result, and SQLite would make NULL of it silently
    after = replace(
        trial,
        state=ending.trial_state,
        losses=trial.losses + (ending.attempt_state is AttemptState.LOST),
        failures=trial.failures + (ending.attempt_state is AttemptState.FAILED),
        value=value,
        values=trial.values if ending.values is None else ending.values,
        checkpoint=trial.checkpoint if ending.checkpoint is None else ending.checkpoint,
        charged=trial.charged if ending.charged is None else ending.charged,
        productive=trial.productive if ending.productive is None else ending.productive,
        ended_at=ending.at if ending.trial_state in ENDED else None,
        reason=ending.reason,
    )
    return after, over


def other_trial(trial: TrialRow) -> MoveRefused:
    return MoveRefused(
        f"The id {trial.trial_id!r} belongs to another trial than arm {trial.arm!r}, replicate "
        f"{trial.replicate}, index {trial.index}. Give each trial its own id."
    )


def no_study(asked: str, names: Iterable[str]) -> NotFound:
    hint = nearest(asked, names)
    return NotFound(f"There is no study {_cut(asked)}.{hint} `orch study list` shows all.")


def no_arm(study: str, asked: str, names: Sequence[str]) -> NotFound:
    return NotFound(f"{study} has no arm {_cut(asked)}.{closest(asked[:80], names)}")


def no_trial(trial_id: str) -> NotFound:
    return NotFound(f"There is no trial {_cut(trial_id)}. `orch trial list` lists a study's trials.")


def no_attempt(trial_id: str, number: int) -> NotFound:
    return NotFound(f"Trial {_cut(trial_id)} has no attempt {number}. `orch trial show` lists its attempts.")


def no_wish(wish_id: int) -> NotFound:
    return NotFound(f"There is no request {wish_id} to answer. Read the open requests again.")


def no_token(name: str) -> NotFound:
    return NotFound(f"There is no token {_cut(name)}. `orch token list` shows all.")


def no_host(name: str, names: Iterable[str]) -> NotFound:
    return NotFound(f"There is no host {_cut(name)}.{nearest(name, names)} `orch hosts` shows all.")


def key_used(key: str) -> KeyUsed:
    return KeyUsed(
        f"The idempotency key {_cut(key)} was used before, for another request. Give each its own."
    )


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
