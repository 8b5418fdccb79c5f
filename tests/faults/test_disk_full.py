"""Row 12, on a small filesystem that is really full: checkpoints, journals, ledger, MLflow, a whole home."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import pytest

from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import AttemptState, Event, StudyState
from orchestrator.ledger.sql import SqlLedger
from orchestrator.runs.folders import DiskFull, Journal
from orchestrator.tracking.background import Mirror
from tests.faults import invariants, mirrored
from tests.faults.serving import Service, awaited, service
from tests.faults.world import created, small_study, world
from tests.orchestrator.conftest import mlflow_at
from tests.orchestrator.conftest import mlflow_template as mlflow_template
from trainer.training import checkpoint

# MLflow's own use of SQLAlchemy and of Python, which is not ours to mend.
pytestmark = [
    pytest.mark.fault(12, real=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(sys.platform != "linux", reason="a tmpfs is Linux's"),
]


class Disk:
    """A filesystem of its own, and whether there is room on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last byte."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1 << 6, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """64 MB; skipped where nobody may mount one, as in most containers."""
    folder = Path(tempfile.mkdtemp(prefix="orch-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "orch-test", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no filesystem can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(folder)


def test_a_checkpoint_that_finds_no_room_leaves_the_last_good_one(disk: Disk) -> None:
    state = {"w": jnp.arange(200_000.0)}

    def saved(step: int) -> Path:
        return checkpoint.save(disk.path, checkpoint.Snapshot(step, state, seed=7, fingerprint="f"))

    first = saved(1)
    disk.fill()
    with pytest.raises(checkpoint.Unwritten) as refusal:
        saved(2)
    assert refusal.value.strerror == (
        f"The disk is full: {disk.path / 'checkpoint-2'} could not be written. The last good one is {first}. "
        f"Make room there."
    )
    assert checkpoint.finished(disk.path) == [first]
    restored = checkpoint.restore(first, state, fingerprint="f")
    assert restored is not None
    assert restored.snapshot.step == 1
    disk.make_room()
    assert checkpoint.finished(disk.path) == [first]
    assert saved(2).is_dir()


def test_a_journal_that_finds_no_room_says_so(disk: Disk) -> None:
    journal = Journal(disk.path)
    words = [Event("s1.a.0.0", 1, n, "eval", n, {"values": {"loss": "x" * 5000}}, 0.0) for n in (1, 2)]
    journal.event(words[0])
    disk.fill()
    with pytest.raises(DiskFull) as refusal:
        journal.event(words[1])
    assert str(refusal.value).startswith("The disk is full: an event could not be written to ")
    journal.close()


def test_a_ledger_without_room_is_busy_and_the_study_ends_as_if_nothing_had_been(
    disk: Disk, tmp_path: Path
) -> None:
    calm = world(tmp_path / "calm")
    created(calm, small_study())
    calm.drive(calm.engine(), "s1")
    store = SqlLedger(f"sqlite:///{disk.path / 'ledger.db'}", busy_timeout_s=0.05)
    place = world(tmp_path / "runs", store=store)
    created(place, small_study())
    engine = place.engine()
    while len(place.store.events()) < 5:
        place.step(engine)
    disk.fill()

    def on() -> None:
        for _ in range(200):  # some writes still fit into its last page
            place.step(engine)

    with pytest.raises(LedgerBusy):
        on()
    assert store.study("s1").state is StudyState.RUNNING  # it is still read
    disk.make_room()
    place.drive(engine, "s1")
    invariants.check(store, "s1")
    assert invariants.report(store, "s1") == invariants.report(calm.store, "s1")
    store.close()


def test_an_mlflow_without_room_costs_the_study_nothing_and_catches_up(
    disk: Disk, tmp_path: Path, mlflow_template: Path
) -> None:
    home = disk.path / "home"
    home.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    place = mlflow_at(home)
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    there = world(tmp_path / "runs", store=store)
    created(there, small_study())
    disk.fill()
    said: list[str] = []
    following = Mirror(store, place, "s1", say=said.append)
    following.begin()
    there.drive(there.engine(), "s1")
    invariants.check(store, "s1")
    awaited(lambda: said or None, what="a word on MLflow")
    disk.make_room()
    following.finish(90)
    mirrored.check(store, "s1", mirrored.look(place.uri, "s1"))
    store.close()


@pytest.mark.slow
def test_a_service_whose_whole_home_is_full_goes_on_once_there_is_room(disk: Disk, tmp_path: Path) -> None:
    base = {**small_study().base, "rehearsal": {"pace_s": 0.05}}
    study = small_study(base=base)
    home = disk.path / "home"
    with service(home) as there:
        # What it says lies beside the home: there it would find no room either.
        there.said = tmp_path / "said"
        there.start()
        there.leads()
        study_id = there.create(study)
        awaited(lambda: there.ended(study_id) or None, what="the first trial's end")
        disk.fill()
        awaited(lambda: _told(there) or None, what="a word on the disk")
        assert there.alive()
        disk.make_room()
        there.to_the_end(study_id, within_s=240)
        with there.ledger() as store:
            invariants.check(store, study_id)
            for trial in store.trials(study_id):
                states = {a.state for a in store.attempts(trial.trial_id)}
                assert states <= {AttemptState.PREEMPTED, AttemptState.COMPLETED}
                assert trial.failures == 0
        there.end()


def _told(there: Service) -> str:
    """What the service says of its trouble, whichever part met the full disk first."""
    said = there.said.read_text()
    ready = there.ask("/health/ready")
    full = [word for word in (said, str(ready["unrunnable"]), ready["trouble"]) if "full" in word.lower()]
    return full[0] if full else ""
