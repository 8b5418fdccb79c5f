"""What has been handed to the workers, how often, and when was each attempt last heard of?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from orchestrator.ground.clock import Clock
from orchestrator.ledger import Store
from orchestrator.ledger.records import TROUBLE, AttemptRow, AttemptState, TrialRow
from orchestrator.runs.contract import AttemptKey, Backend, Launch, Progress
from orchestrator.runs.folders import Storage
from orchestrator.study.entrypoint import code_of, find_shape_key
from orchestrator.study.resources import Resources
from orchestrator.study.spec import StudySpec

MOST_AGAIN = 5  # times in a row that one attempt is submitted again before one that never begins is lost


class InFlight:
    def __init__(
        self,
        store: Store,
        backend: Backend,
        *,
        clock: Clock,
        storage: Storage,
        entrypoint: Callable[[str], Any],
    ) -> None:
        self._store, self._backend, self._clock, self._storage = store, backend, clock, storage
        self._entrypoint = entrypoint
        self._heard: dict[AttemptKey, float] = {}  # monotonic time of the last news
        self._handed: dict[AttemptKey, int] = {}  # how often the backend took it, in this life

    def __len__(self) -> int:
        return len(self._heard)

    def clear(self) -> None:
        """Another led meanwhile."""
        self._heard.clear()
        self._handed.clear()

    def hear_anew(self) -> None:
        """Silence is counted from now."""
        self._heard.clear()

    def keep_only(self, keys: Collection[AttemptKey]) -> None:
        self._heard = {key: at for key, at in self._heard.items() if key in keys}

    def over(self, key: AttemptKey) -> None:
        self._heard.pop(key, None)
        self._handed.pop(key, None)

    def on_their_way(self) -> int:
        """Those that the backend does not hold yet."""
        return len(self._heard.keys() - self._backend.attempts())

    def submit(
        self, spec: StudySpec, trial: TrialRow, attempt: AttemptRow, ahead: Sequence[Resources] = ()
    ) -> None:
        """Hand it to the workers. One that finds no room stays LAUNCHING and is submitted again."""
        code = self._entrypoint(spec.entrypoint)
        self._heard[attempt.key] = self._clock.monotonic()
        config = self._storage.placed(trial.config)
        resumed = attempt.resumed_from
        launch = Launch(
            trial_id=trial.trial_id,
            attempt=attempt.number,
            entrypoint=spec.entrypoint,
            config=config,
            shape_key=find_shape_key(code, spec.entrypoint, config),
            folder=str(self._storage.folder(trial.study_id, trial.trial_id, attempt.number)),
            resume_from=None if resumed is None else self._storage.path(resumed),
            resources=spec.resources,
            gather_s=spec.retries.gather_s,
            code=code_of(code, spec.entrypoint),
        )
        if self._backend.submit(launch, ahead, avoid=self._lost_by(attempt)):
            self._handed[attempt.key] = self._handed.get(attempt.key, 0) + 1

    def _lost_by(self, attempt: AttemptRow) -> str:
        """The host that the attempt before was lost on, or that was in trouble."""
        if attempt.number == 1:
            return ""
        before = self._store.attempts(attempt.trial_id)[attempt.number - 2]
        troubled = before.state is AttemptState.PREEMPTED and before.reason
        if not (troubled or before.state is AttemptState.LOST):
            return ""
        told = before.provenance
        return str(told.get(TROUBLE) or told.get("host", ""))

    def given_back(self, key: AttemptKey) -> None:
        """Its hosts were not all to be had: no worker was at fault."""
        self._handed.pop(key, None)

    def never_begins(self, attempt: AttemptRow, progress: Progress) -> str:
        """Why it is given up, where so many workers did not begin it."""
        if (handed := self._handed.get(attempt.key, 0)) <= MOST_AGAIN:
            return ""
        last = progress.ended.reason if progress.ended else "The workers know nothing of it any more."
        return f"It was submitted {handed} times, and no worker began it. Last: {last}"

    def watch(self, attempt: AttemptRow, *, news: bool, limit_s: float) -> None:
        """A process that lives and says nothing for too long is killed; the next poll says lost."""
        now = self._clock.monotonic()
        if news or attempt.key not in self._heard:
            self._heard[attempt.key] = now
            return
        silent_s = now - self._heard[attempt.key]
        if silent_s > limit_s:
            self._backend.kill(
                attempt.key,
                f"No report for {silent_s:.0f} s; {limit_s:g} s are allowed (retries.hang_after_s).",
            )
