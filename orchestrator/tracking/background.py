"""How does the mirror follow a running study without ever being in its way? A thread of its own.

It begins once a trial has been launched, reads the ledger, and writes to MLflow. Whatever goes wrong there
is said once and tried again after growing waits; the study never hears of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

from orchestrator.ground import extras
from orchestrator.ground.clock import Clock, SystemClock
from orchestrator.ground.errors import LedgerBusy, LedgerDamaged, MirrorDeleted, MirrorLost, NotFound
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store, paging
from orchestrator.ledger.records import StudyState
from orchestrator.tracking.destination import Destination, destination, writing
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.sync import lag, left_over, missing

PACE_S = 4.0  # between two looks for something new: each write costs MLflow about as much as 50 points
WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # after the first, second, … trouble in a row
FINISHING_WAIT_S = 5.0  # the longest of them while a run waits for its end
FLUSH_S = 30.0  # what the end of a foreground run waits for


class NoMirror:
    """The mirror when it is switched off."""

    def begin(self) -> None:
        """Nothing is mirrored."""

    def begin_if_cut_short(self) -> None:
        """Nothing is."""

    def finish(self, within_s: float = FLUSH_S, *, leave: Callable[[], bool] = lambda: False) -> list[str]:
        return []


class MissingMirror(NoMirror):
    """The mirror where MLflow is not installed: said once, as soon as there is something to be mirrored."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, False

    def begin(self) -> None:
        if not self._said:
            self._said = True
            self._say(
                f"The mirror is off: MLflow is not installed. Studies run all the same. Install it: "
                f"{extras.command('mlflow')}; then orch mlflow sync writes what is missing. To hear no more "
                f"of it, set ORCH_MLFLOW=off."
            )


class Mirror:
    """One thread that brings a study, and all others that run on its ledger, into MLflow.

    Without a study only those that run: for a process that is there for all of them.
    """

    def __init__(
        self,
        ledger: Store,
        place: Destination,
        study_id: str | None,
        *,
        say: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._say = say
        self._clock = clock or SystemClock()
        self._rounds = _Rounds(ledger, place, study_id, lambda: not self._leaving, say)
        self._ledger, self._place, self._study_id = ledger, place, study_id
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)
        self._wake = threading.Event()
        self._finishing = False  # all that is new is written, and then the thread ends
        self._leaving = False  # the thread ends at its next step
        self._whole = False
        self._trouble: str | None = None

    def begin(self) -> None:
        """Start, unless it has begun. A process that launches nothing never loads MLflow."""
        if self._thread.ident is None:
            with suppress(LedgerBusy):  # the thread looks again
                self._rounds.look()  # here, since what runs now may have ended when the thread looks
            self._thread.start()

    def begin_if_cut_short(self) -> None:
        """Start where an earlier process has left a part of a study unwritten, though none may ever run."""
        if self._thread.ident is None and self._rounds.cut_short():
            self.begin()

    def finish(self, within_s: float = FLUSH_S, *, leave: Callable[[], bool] = lambda: False) -> list[str]:
        """Write what is left, for so long at most; the sentences to be said in the end."""
        if self._thread.ident is None:
            return []
        self._finishing = True
        self._wake.set()
        begun_at = self._clock.monotonic()
        waiting = False
        while self._thread.is_alive() and not leave():
            waited_s = self._clock.monotonic() - begun_at
            if waited_s >= within_s:
                break
            if waited_s >= 1 and not waiting:
                waiting = True
                self._say(f"Writing the rest to MLflow, for {within_s:g} s at most…")
            self._thread.join(0.05)
        self._leaving = True
        self._wake.set()
        try:
            return self._last_words()
        except LedgerBusy:  # it tells of that itself, to those who need it
            return [*filter(None, [self._trouble]), left_over({})]

    def _last_words(self) -> list[str]:
        """What the end says. That all was written is believed of the cursors alone, not of the thread."""
        owed = missing(self._ledger, self._place, self._rounds.followed)
        if self._whole and not owed:
            its_own = self._study_id is not None and not self._rounds.left_alone
            return ["It is in MLflow too. Look at it with: orch ui"] if its_own else []
        alone = None if self._study_id is None else self._ledger.study(self._study_id).name
        return [*filter(None, [self._trouble]), left_over(owed, alone)]

    def _run(self) -> None:
        """The thread."""
        troubles = 0
        with ExitStack() as held:
            while not self._leaving:
                wait_s = PACE_S
                finishing = self._finishing  # asked before the look: all that was said till then is read
                try:
                    through = self._rounds.once(held)
                    if through and self._trouble is not None:
                        self._say("MLflow takes what is mirrored again.")
                        troubles, self._trouble = 0, None
                    if through and finishing:
                        self._whole = True
                        return
                except Exception as problem:  # whatever it is: a mirror must not fail what it shows
                    self._note(problem)
                    wait_s = WAITS_S[min(troubles, len(WAITS_S) - 1)]
                    troubles += 1
                self._wake.wait(min(wait_s, FINISHING_WAIT_S) if self._finishing else wait_s)
                self._wake.clear()

    def _note(self, problem: Exception) -> None:
        """Say what is wrong, once until it is over. A ledger that is busy is told of by those who need it."""
        if isinstance(problem, LedgerBusy | LedgerDamaged):
            return
        known = isinstance(problem, MirrorLost)
        sentence = str(problem) if known else f"The mirror to MLflow failed: {problem!r:.300}."
        first, self._trouble = self._trouble is None, sentence
        if first:
            self._say(f"{sentence} The study is not touched by it; what is missing is written later.")


class _Rounds:
    """What the thread keeps between two rounds."""

    def __init__(
        self,
        ledger: Store,
        place: Destination,
        study_id: str | None,
        going_on: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._ledger, self._place, self._study_id = ledger, place, study_id
        self._going_on, self._say = going_on, say
        self._sink: MlflowStore | None = None
        self._mirrors: dict[str, StudyMirror] = {}
        self._owed: dict[str, None] = {}  # of which something was heard, and not yet told to their end
        self._heard_to: int | None = None  # the newest event when it was last looked who has spoken
        # all that were ever owed; in that order
        self._followed: dict[str, None] = {} if study_id is None else {study_id: None}
        self._noted: set[str] = set()  # of which the ledger knows that they are owed
        self._looked_back = study_id is not None
        self._deleted: set[str] = set()  # in MLflow, by a person
        self._locked = False

    @property
    def left_alone(self) -> bool:
        """Whether the study of this process is not mirrored, since a person deleted it in MLflow."""
        return self._study_id in self._deleted

    @property
    def followed(self) -> list[str]:
        """The studies that are to be in MLflow when this process ends."""
        return [study_id for study_id in list(self._followed) if study_id not in self._deleted]

    def look(self) -> None:
        """Note which studies are owed: those that run, and those that have spoken since the last look, since
        a short one may begin and end between two. The ledger knows it too, so that a kill forgets none."""
        running = [study.study_id for study in self._ledger.studies({StudyState.RUNNING})]
        if self._heard_to is None:
            self._heard_to = self._ledger.newest_event()
            running += [] if self._study_id is None else [self._study_id]
        spoke: dict[str, int] = {}
        for page in paging.pages(self._ledger, after=self._heard_to):
            spoke |= {stored.study_id: stored.event_id for stored in page}
            self._heard_to = page[-1].event_id
        self._owe(running)
        self._owe(s for s, newest in spoke.items() if self._ledger.cursor(self._place.cursor(s)) < newest)

    def _owe(self, study_ids: Iterable[str]) -> None:
        for study_id in study_ids:
            self._owed[study_id] = self._followed[study_id] = None
            if study_id not in self._noted and study_id not in self._deleted:
                self._ledger.move_cursor(self._place.owed(study_id), 1)
                self._noted.add(study_id)

    def _owe_no_more(self, study_id: str) -> None:
        self._owed.pop(study_id, None)
        self._noted.discard(study_id)
        self._ledger.move_cursor(self._place.owed(study_id), 0)

    def once(self, held: ExitStack) -> bool:
        """Write all that is new. False: another process writes to the mirror, or this was cut short."""
        # First, since all else may take long or fail, and one that ends meanwhile is owed all the same.
        self.look()
        if not self._may_write(held):
            return False
        if self._sink is None:
            self._sink = MlflowStore(self._place)
        if not self._looked_back:
            self._owe(self.cut_short())
            self._looked_back = True
        mine = () if self._study_id is None else (self._study_id,)
        for study_id in dict.fromkeys((*mine, *self._owed)):
            if study_id not in self._deleted and not self._bring(self._sink, study_id):
                return False
        return True

    def _may_write(self, held: ExitStack) -> bool:
        """Whether this process alone writes to the mirror; once it does, until `held` is closed."""
        if not self._locked:
            with ExitStack() as lock:  # else each look would leave its file open
                self._locked = lock.enter_context(writing(self._place))
                if self._locked:
                    held.push(lock.pop_all())
        return self._locked

    def cut_short(self) -> list[str]:
        """Studies that an earlier process owed, or of which it has written a part."""
        return [study.study_id for study in self._ledger.studies() if self._is_cut_short(study.study_id)]

    def _is_cut_short(self, study_id: str) -> bool:
        if self._ledger.cursor(self._place.owed(study_id)):
            return True
        begun = self._ledger.cursor(self._place.cursor(study_id)) > 0
        return begun and lag(self._ledger, self._place, study_id, most=1) > 0

    def _bring(self, sink: MlflowStore, study_id: str) -> bool:
        known = self._mirrors.pop(study_id, None)  # back once all went well
        try:
            mirror = known or StudyMirror(self._ledger, sink, self._place, study_id)
            through = mirror.advance(lambda _: self._going_on())
        except MirrorDeleted as deleted:
            self._deleted.add(study_id)
            self._owe_no_more(study_id)
            self._say(str(deleted))
            return True
        except NotFound:  # deleted from the ledger
            self._followed.pop(study_id, None)
            self._owe_no_more(study_id)
            return True
        except Exception:
            if known is None:
                raise
            # What was read may not be what is written; and only a new look tells that a run was deleted.
            return self._bring(sink, study_id)
        told = through and mirror.settled
        if not told or study_id == self._study_id:
            self._mirrors[study_id] = mirror
        if told and study_id in self._noted:
            self._owe_no_more(study_id)
        return through


def mirror(
    settings: Settings, ledger: Store, study_id: str | None, *, say: Callable[[str], None]
) -> Mirror | NoMirror:
    """The mirror of a process that runs this study, or all; nothing is loaded or written before `begin`."""
    place = destination(settings)
    if place is None:
        return NoMirror()
    if extras.absent(["mlflow"]):
        return MissingMirror(say)
    return Mirror(ledger, place, study_id, say=say)
