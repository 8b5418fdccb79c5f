"""What becomes of an attempt that these workers know nothing of? Its journal tells.

Its workers may have outlived every leader and then gone, with a machine that was taken or restarted. Or they
are another machine's, whose process led before, and train on: that machine holds its journal's lock until
its worker ends. Then it is followed through the journal, on the disk that both mount, and trained once. Where
locks were found not to reach from host to host, none is asked for, and a journal that grows no more is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from orchestrator.ground.clock import Clock
from orchestrator.ledger.records import AttemptRow, study_of
from orchestrator.ledger.rules import heard
from orchestrator.runs import provenance, shared
from orchestrator.runs.contract import AttemptKey, Ended, Progress
from orchestrator.runs.folders import Storage, is_written, read_journal

LOOK_AGAIN_S = 5.0  # between two readings of one journal, which lies on a shared disk and may be long
SILENCE_S = 60.0  # without locks; NFS may hold back for half a minute what another machine appends to a file


@dataclass
class _Looked:
    at: float  # monotonic, as the other
    news_at: float


class Elsewhere:
    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock = storage, clock
        self._followed: dict[AttemptKey, _Looked] = {}

    def clear(self) -> None:
        """Another may have led: silence is counted from now."""
        self._followed.clear()

    def progress(self, attempt: AttemptRow, *, hang_after_s: float) -> Progress:
        """Not known is one that no worker has begun; one that began and that nobody trains is lost."""
        now, before = self._clock.monotonic(), self._followed.get(attempt.key)
        if before is not None and now - before.at < LOOK_AGAIN_S:
            return Progress(known=True)
        reason, most_s = "The workers know nothing of it any more.", -1.0  # of silence, while it is followed
        try:
            folder = self._storage.folder(study_of(attempt.trial_id), *attempt.key)
            locks = shared.locks_reach(self._storage.root)
            # Asked before the journal is read: what its worker says last is then in it.
            if not locks or is_written(folder):
                most_s = hang_after_s if locks else min(SILENCE_S, hang_after_s)
            events, ended = read_journal(folder, *attempt.key, after=attempt.sequence)
        except OSError as problem:
            events, ended, reason = (), None, f"{reason} Its journal cannot be read: {problem}"
        if not events and ended is None and attempt.sequence == 0:
            return Progress(known=False)
        machine = reduce(heard, events, attempt).provenance.get("machine")
        if ended is None and most_s >= 0 and machine not in (None, provenance.machine()):
            news_at = now if events or before is None else before.news_at
            if now - news_at <= most_s:
                self._followed[attempt.key] = _Looked(now, news_at)
                return Progress(known=True, events=events)
            why = "retries.hang_after_s" if most_s == hang_after_s else "locks on files do not reach it"
            reason = (
                f"No report for {now - news_at:.0f} s from the machine that led before; {most_s:g} s are "
                f"allowed ({why})."
            )
        self._followed.pop(attempt.key, None)
        return Progress(known=True, events=events, ended=ended or Ended("lost", reason=reason))


def never_taken(attempt: AttemptRow, progress: Progress) -> bool:
    """No worker has said that it began, and none will: the workers know nothing of it, or the one that was
    to begin it is gone."""
    gone = not progress.known or (progress.ended is not None and progress.ended.how == "lost")
    return gone and attempt.sequence == 0 and not progress.events
