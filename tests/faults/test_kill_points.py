"""Rows 2 and 3: the orchestrator dies around every write and every act, or is lied to by its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger import open_ledger
from orchestrator.study.spec import StudySpec
from tests.faults import invariants
from tests.faults.world import ACTS, WRITES, Killed, Tripwire, World, created, small_study, world

Undisturbed = tuple[list[dict[str, Any]], list[str]]


def _smaller_study() -> StudySpec:
    """Half the trials, and every write and act all the same."""
    arms = {arm["name"]: arm for arm in small_study().model_dump(mode="json")["arms"]}
    few = [arms["base"], {**arms["random"], "trials": 2}, {**arms["confirm"], "trials": 1}]
    return small_study(arms=few)


def _undisturbed(folder: Path, spec: StudySpec) -> Undisturbed:
    """The report of a run that nothing happened to, and the calls that it made."""
    place = world(folder)
    wire = Tripwire()
    study = created(place, spec)
    place.drive(place.engine(wire), study.study_id)
    invariants.check(place.store, study.study_id)
    return invariants.report(place.store, study.study_id), wire.seen


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return _undisturbed(tmp_path_factory.mktemp("undisturbed"), small_study())


@pytest.fixture(scope="module", params=[_smaller_study, pytest.param(small_study, marks=pytest.mark.slow)])
def studied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudySpec, Undisturbed]:
    spec: StudySpec = request.param()
    return spec, _undisturbed(tmp_path_factory.mktemp("studied"), spec)


def _live_on(place: World, study_id: str, wire: Tripwire, *, arrives: bool = False) -> None:
    """The process dies where the wire says; another one comes and brings the study to its end."""
    try:
        place.drive(place.engine(wire), study_id)
    except Killed:
        place.drive(place.next_life(arrives=arrives), study_id)


@pytest.mark.fault(2, 3)
@pytest.mark.parametrize("before", [False, True], ids=["after the call", "before the call"])
@pytest.mark.parametrize(
    ("raises", "arrives"),
    [(Killed, False), (Killed, True), (LedgerBusy, False)],
    ids=["killed", "killed and what was submitted arrives", "looked failed"],
)
def test_every_write_and_every_act_may_be_the_last(
    tmp_path: Path,
    studied: tuple[StudySpec, Undisturbed],
    raises: Any,
    arrives: bool,
    before: bool,
) -> None:
    spec, (report, calls) = studied
    assert {"add_trial", "start_attempt", "append", "end_attempt", "submit", "forget"} <= set(calls)
    for at in range(1, len(calls) + 1):
        place = world(tmp_path / f"{at}")
        study = created(place, spec)
        wire = Tripwire(at=at, raises=raises, before=before)
        _live_on(place, study.study_id, wire, arrives=arrives)
        assert wire.count >= at
        invariants.check(place.store, study.study_id)
        assert {t.losses for t in place.store.trials(study.study_id)} == {0}
        assert invariants.report(place.store, study.study_id) == report, f"{calls[at - 1]} (call {at})"
        assert place.backend.attempts() == []


@pytest.mark.fault(2, 3)
@pytest.mark.parametrize("raises", [Killed, LedgerBusy], ids=["killed", "looked failed"])
def test_a_kill_inside_a_transaction_of_a_real_database(
    tmp_path: Path, undisturbed: Undisturbed, raises: Any
) -> None:
    """The memory ledger keeps what was written before the kill; SQLite rolls the transaction back."""
    report, calls = undisturbed
    for at in range(1, len(calls) + 1, 9):
        folder = tmp_path / f"{at}"
        place = world(folder, store=open_ledger(f"sqlite:///{folder / 'ledger.db'}"))
        study = created(place, small_study())
        _live_on(place, study.study_id, Tripwire(at=at, raises=raises))
        invariants.check(place.store, study.study_id)
        assert invariants.report(place.store, study.study_id) == report
        place.store.close()


@pytest.mark.fault(2, 17)
def test_every_point_of_a_study_without_a_valid_result(tmp_path: Path) -> None:
    base = {**small_study().base, "rehearsal": {"nan_at_step": 25}}
    calm, counting = world(tmp_path / "calm"), Tripwire()
    created(calm, small_study(base=base))
    calm.drive(calm.engine(counting), "s1")
    assert "move_trial" in counting.seen
    for at in range(1, counting.count + 1, 2):
        place = world(tmp_path / f"{at}")
        created(place, small_study(base=base))
        _live_on(place, "s1", Tripwire(at=at))
        invariants.check(place.store, "s1")
        assert invariants.report(place.store, "s1") == invariants.report(calm.store, "s1")


@pytest.mark.fault(1, 2)
@pytest.mark.parametrize("every", [3, 4, 5, 7, 11])
def test_a_study_survives_an_orchestrator_that_dies_again_and_again(
    tmp_path: Path, undisturbed: Undisturbed, every: int
) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    for life in range(1000):
        try:
            place.drive(place.next_life(Tripwire(at=every), arrives=life % 2 == 0), study.study_id)
            break
        except Killed:
            continue
    assert place.lives > 5
    invariants.check(place.store, study.study_id)
    assert invariants.report(place.store, study.study_id) == undisturbed[0]


@pytest.mark.fault(2, 4)
@pytest.mark.parametrize("raises", [Killed, LedgerBusy], ids=["killed", "looked failed"])
def test_lost_workers_and_a_dying_orchestrator_together(
    tmp_path: Path, undisturbed: Undisturbed, raises: Any
) -> None:
    from orchestrator.backends.simulated import Fault

    faults = [Fault("*", 1, "die", 3)]
    counting = Tripwire()
    place = world(tmp_path / "count", faults=faults)
    study = created(place, small_study())
    place.drive(place.engine(counting), study.study_id)
    for at in range(1, counting.count + 1, 3):
        place = world(tmp_path / f"{at}", faults=faults)
        study = created(place, small_study())
        _live_on(place, study.study_id, Tripwire(at=at, raises=raises))
        invariants.check(place.store, study.study_id)
        assert invariants.report(place.store, study.study_id) == undisturbed[0]


def test_the_wires_cover_every_call_that_writes() -> None:
    """A write that is added to the contracts and not here would escape these tests."""
    from orchestrator.ledger.base import Ledger
    from orchestrator.runs.contract import Backend

    reads = {
        "lead", "release", "create_study", "study", "studies", "trial", "trials", "counts", "counts_of",
        "attempts", "live_attempts", "events", "newest_event", "leader", "close", "slots", "poll", "renew",
        "together", "room", "tallies", "best", "await_news", "free", "hosts", "keep_off", "ledger_id",
    }  # fmt: skip
    offered = {n for port in (Ledger, Backend) for n in vars(port) if not n.startswith("_")}
    assert offered - reads <= {*WRITES, *ACTS}


@pytest.mark.fault(2)
@pytest.mark.parametrize("before", [True, False], ids=["before the call", "after the call"])
@pytest.mark.parametrize("raises", [Killed, LedgerBusy], ids=["killed", "looked failed"])
def test_a_deletion_that_is_cut_short_is_done_by_the_next(tmp_path: Path, raises: Any, before: bool) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    place.drive(place.engine(), study.study_id)
    place.store.wish(study.study_id, "delete", {}, asked_at=1.0, asked_by="ada")
    wire = Tripwire(at=1, raises=raises, before=before)
    with pytest.raises(raises):
        place.engine(wire).tick()
    assert wire.seen[-1] == "delete_study"
    place.engine().tick()
    assert place.store.studies() == []
    assert place.store.open_wishes() == []
    assert list(tmp_path.iterdir()) == []
