"""What do people ask of a running study, and what does it mean? Obeyed once, however often it is tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from orchestrator.engine.lanes import Course, followers
from orchestrator.engine.skipping import failed_alike
from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import BadSpec, MoveRefused, NotFound
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, StudyState, TrialState, Wish
from orchestrator.ledger.rules import deletable, never_began, no_arm
from orchestrator.runs.folders import Storage
from orchestrator.study.spec import FRESH_PER_REPLICATE, MOST_TRIALS, Arm, StudySpec

VERBS = ("pause", "drain", "resume", "cancel", "extend", "retry", "delete")

GOING_ON = (StudyState.RUNNING, StudyState.DRAINED)  # runs of these are under way, or may be
HELD = (StudyState.PAUSED, StudyState.DRAINED)  # nothing of these is launched until they are resumed


def obey_all(store: Store, epoch: int, *, clock: Clock, storage: Storage | None) -> set[str]:
    """Obey and answer all that was asked for; the studies that it concerned.

    To delete takes the storage: without it such a wish waits for a process that has it.
    """
    deleted: set[str] = set()
    concerned: set[str] = set()
    for wish in store.open_wishes():
        if wish.study_id in deleted or (wish.verb == "delete" and storage is None):
            continue
        answer = obey(store, epoch, wish, clock, storage)
        concerned.add(wish.study_id)
        if wish.verb == "delete" and not answer:
            deleted.add(wish.study_id)  # and its wishes with it, this one too
        else:
            store.answer_wish(epoch, wish.wish_id, answer)
    return concerned


def obey(store: Store, epoch: int, wish: Wish, clock: Clock, storage: Storage | None = None) -> str:
    """Do what the wish says. The answer: "" for done, else why not."""
    try:
        study = store.study(wish.study_id)
        match wish.verb:
            case "pause":
                _turn(store, epoch, study, StudyState.PAUSED, "paused", after=GOING_ON)
            case "drain":
                _turn(store, epoch, study, StudyState.DRAINED, "drained", after=(StudyState.RUNNING,))
            case "resume":
                _turn(store, epoch, study, StudyState.RUNNING, "resumed", after=HELD)
            case "cancel":
                _cancel(store, epoch, study, clock)
            case "extend":
                _extend(store, epoch, study, wish)
            case "retry":
                _retry(store, epoch, study, wish, clock)
            case "delete" if storage is not None:
                deletable(study, live=bool(store.live_attempts(study.study_id)))
                # The folders first: a process that dies in between still finds the study and the wish.
                storage.delete(study.study_id)
                store.delete_study(epoch, study.study_id)
            case verb:
                return f"Nothing is known of {verb!r}. Allowed: {', '.join(VERBS)}."
    except (MoveRefused, NotFound, BadSpec) as refusal:
        return str(refusal)
    return ""


def _turn(
    store: Store,
    epoch: int,
    study: StudyRow,
    to: StudyState,
    verb: str,
    *,
    after: tuple[StudyState, ...],
) -> None:
    """Already there is as good as done: a wish may be obeyed twice."""
    if study.state not in (to, *after):
        again = " Create it again under another name." if study.state is StudyState.CANCELLED else ""
        raise MoveRefused(
            f"The study {study.name} is {study.state} and cannot be {verb}; only one that is "
            f"{' or '.join(after)} can.{again}"
        )
    store.move_study(epoch, study.study_id, study.state, to)


def _cancel(store: Store, epoch: int, study: StudyRow, clock: Clock) -> None:
    if study.state is StudyState.COMPLETED:
        raise MoveRefused(f"The study {study.name} is completed; there is nothing left to cancel.")
    if study.state is not StudyState.CANCELLED:
        store.move_study(epoch, study.study_id, study.state, StudyState.CANCELLED, reason="cancelled")
    stop_waiting(store, epoch, study.study_id, clock, reason="The study was cancelled.")


def stop_waiting(store: Store, epoch: int, study_id: str, clock: Clock, *, reason: str) -> None:
    """End all trials that wait. What runs is told by the engine, and ends by itself."""
    for trial in store.trials(study_id, states={TrialState.WAITING}):
        store.move_trial(
            epoch, trial.trial_id, TrialState.WAITING, TrialState.STOPPED, at=clock.time(), reason=reason
        )


def _extend(store: Store, epoch: int, study: StudyRow, wish: Wish) -> None:
    """The sum of all extensions that were granted and this one: the same however often it is obeyed."""
    spec = StudySpec.stored(study.spec)
    check_extension(store, study.study_id, spec, wish.detail)
    if study.state is StudyState.CANCELLED:
        raise MoveRefused(
            f"The study {study.name} is cancelled and cannot be extended. Create it again under another name."
        )
    _affordable(store, study, spec)
    total: Counter[str] = Counter()
    for other in store.wishes(study.study_id):
        if other.verb == "extend" and (other.answer == "" or other.wish_id == wish.wish_id):
            total.update({arm: int(more) for arm, more in other.detail.items()})
    for name, more in total.items():
        arm = spec.arm(name)
        most = most_trials(arm)
        if arm.trials + more > most:
            seeds = " on fresh seeds" if arm.fresh_seeds else ""
            raise BadSpec(
                f"{name} would have {arm.trials + more:,} trials{seeds}; at most {most:,} are allowed."
            )
    extended = [
        (name, replicate) for name in total for replicate in range(spec.replicates_of(spec.arm(name)))
    ]
    with store.together(epoch):
        _take_back_skipped(store, epoch, study, spec, extended)
        store.extend_study(epoch, study.study_id, dict(total))
        if study.state is StudyState.COMPLETED:
            store.move_study(epoch, study.study_id, StudyState.COMPLETED, StudyState.RUNNING)


def check_extension(store: Store, study_id: str, spec: StudySpec, more: Mapping[str, int]) -> None:
    names = [arm.name for arm in spec.arms]
    for name, count in more.items():
        if name not in names:
            raise no_arm(spec.name, name, names)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise BadSpec(f"{name}: {count!r} more trials cannot be added. Give a whole number from 1.")
        refusal = closed(spec, name, begun=lambda arm: _begun(store, study_id, arm))
        if refusal:
            raise BadSpec(refusal)
        _require_going_on(store, study_id, spec.arm(name))


def _require_going_on(store: Store, study_id: str, arm: Arm) -> None:
    course = Course.read(store.study(study_id), store.trials(study_id, arm=arm.name))
    stopped = failed_alike(course, arm)
    if stopped:
        raise BadSpec(
            f"More runs of {arm.name} would not be started. {stopped.rstrip('.')}. Once that is mended, try "
            f"a failed one again (orch trial retry): with it the arm goes on."
        )


def closed(spec: StudySpec, name: str, *, begun: Callable[[str], bool]) -> str:
    """Why an arm cannot get more trials; "" if it can. `begun`: whether an arm has a trial."""
    arm = spec.arm(name)
    seeds = f"orch study extend {spec.name} --arm {name} --seeds N"
    more = f" More seeds for its choice: {seeds}" if spec.confirmations(arm) else ""
    if arm.is_grid:
        return f"{name} is a grid: all its points are in it. Make a new study with more values.{more}"
    for other in spec.arms:
        # It runs what this arm chose, which more trials could change; not where all trials are of one config,
        # or where the runs that it pools are those of the spec.
        if other.after is None or name not in other.after.arms:
            continue
        fixed = not arm.space and (other.after.take in ("config", "checkpoint") or other.after.pools)
        if not fixed and begun(other.name):
            return (
                f"{other.name} has already begun with what {name} found, and more trials of {name} could "
                f"change that. Make a new study with more trials.{more}"
            )
    return ""


def more_seeds(spec: StudySpec, count: int, arm: str | None = None) -> dict[str, int]:
    """How many more trials each arm gets, for so many more fresh seeds in the confirmations of both sides of
    the claim, in all columns of one about their average, or of one arm. The runs that theirs begin with, by
    number, come with them."""
    if arm is not None:
        sides = [arm]
    elif spec.claim is not None:
        sides = [spec.claim.challenger, spec.claim.incumbent]
        if spec.claim.average:
            pairs = spec.cells(*map(spec.arm, sides)).values()
            sides = [arm.name for pair in pairs for arm in pair]
    else:
        raise BadSpec(f"{spec.name} registered no claim. Name the arm whose choice is to run on more seeds.")
    found: dict[str, int] = {}
    for name in sides:
        names = [each.name for each in spec.arms]
        if name not in names:
            raise no_arm(spec.name, name, names)
        there = spec.confirmations(spec.arm(name))
        if not there:
            raise BadSpec(
                f"No arm of {spec.name} runs what {name} chose on fresh seeds. Create one that does."
            )
        found |= dict.fromkeys((each.name for each in there), count)
        begun = (each.after.arm for each in there if each.after and spec.starts_by_number(each))
        found |= {source: count for source in begun if spec.arm(source).trials > 1}
    return found


def most_trials(arm: Arm) -> int:
    """How many an arm may have in one replicate."""
    return FRESH_PER_REPLICATE if arm.fresh_seeds else MOST_TRIALS


def _begun(store: Store, study_id: str, arm: str, replicate: int | None = None) -> bool:
    """Whether anything of it ran or will. A trial that was skipped, with nothing to follow, is nothing."""
    others = set(TrialState) - {TrialState.STOPPED}
    if store.trials(study_id, arm=arm, replicate=replicate, states=others, limit=1):
        return True
    stopped = store.trials(study_id, arm=arm, replicate=replicate, states={TrialState.STOPPED})
    return not all(map(never_began, stopped))


def _affordable(store: Store, study: StudyRow, spec: StudySpec) -> None:
    """More trials than the budget pays for would only be stopped."""
    if spec.budget.run_hours is None and spec.budget.chip_hours is None:
        return
    spent = Course.read(study, store.trials(study.study_id)).budget_spent(reserving=False)
    if spent is not None:
        raise MoveRefused(f"{spent} Nothing more can run; make a new study.")


def _take_back_skipped(
    store: Store, epoch: int, study: StudyRow, spec: StudySpec, lanes: Sequence[tuple[str, int]]
) -> None:
    """Trials of these lanes, and of those that follow them, that were written down as stopped and never began
    are made anew. First of all: a study that dies before the rest skips them again."""
    for arm, replicate in {*lanes, *(f for lane in lanes for f in followers(spec, lane))}:
        for trial in store.trials(study.study_id, arm=arm, replicate=replicate, states={TrialState.STOPPED}):
            if never_began(trial):
                store.remove_trial(epoch, trial.trial_id)


def _retry(store: Store, epoch: int, study: StudyRow, wish: Wish, clock: Clock) -> None:
    trial_id = str(wish.detail.get("trial_id", ""))
    trial = store.trial(trial_id)
    if study.state is StudyState.CANCELLED:
        raise MoveRefused(f"The study {study.name} is cancelled; its trials cannot be tried again.")
    if trial.state not in (TrialState.FAILED, TrialState.WAITING):
        raise MoveRefused(f"The trial {trial_id} is {trial.state}; only a failed one can be tried again.")
    spec, lane = StudySpec.stored(study.spec), (trial.arm, trial.replicate)
    _affordable(store, study, spec)
    # Its arm may have been stopped, since its first runs failed alike: then its other replicates go on too.
    others = [
        (trial.arm, replicate)
        for replicate in range(spec.replicates_of(spec.arm(trial.arm)))
        if not any(_begun(store, study.study_id, *f) for f in followers(spec, (trial.arm, replicate)))
    ]
    for arm, replicate in followers(spec, lane):
        if trial.state is TrialState.FAILED and _begun(store, study.study_id, arm, replicate):
            raise MoveRefused(
                f"{arm} has already begun with what {trial.arm} found, so {trial_id} cannot be tried again: "
                f"it could become the best. Run its configuration in a new study."
            )
    with store.together(epoch):
        _take_back_skipped(store, epoch, study, spec, [lane, *others])
        if study.state is StudyState.COMPLETED:  # before its trial waits: in a study that is over none does
            store.move_study(epoch, study.study_id, StudyState.COMPLETED, StudyState.RUNNING)
        store.move_trial(epoch, trial_id, TrialState.FAILED, TrialState.WAITING, at=clock.time())
