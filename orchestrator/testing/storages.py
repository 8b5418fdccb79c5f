"""Does a storage keep its contract? For each kind: what one host writes is there for another.

Give the fixture `opener`: each call opens the same storage once more, as another host would.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import Event
from orchestrator.runs.folders import Storage

Opener = Callable[[], Storage]
STUDY, TRIAL = "s1", "s1.arm.0.1"


class StorageContract:
    def test_what_a_run_writes_is_read_on_another_host(self, opener: Opener) -> None:
        folder = opener().folder(STUDY, TRIAL, 1)
        folder.mkdir(parents=True)
        (folder / "params.npz").write_bytes(b"1" * 5_000_000)
        there = opener().folder(STUDY, TRIAL, 1)
        assert (there / "params.npz").read_bytes() == b"1" * 5_000_000

    def test_what_the_ledger_holds_of_a_path_names_it_on_every_host(self, opener: Opener) -> None:
        here, there = opener(), opener()
        folder = here.folder(STUDY, TRIAL, 2)
        folder.mkdir(parents=True)
        (folder / "checkpoint-20").write_text("saved")
        key = here.key(str(folder / "checkpoint-20"))
        assert not Path(key).is_absolute()
        assert Path(there.path(key)).read_text() == "saved"
        said = Event(TRIAL, 2, 3, "checkpoint", 20, {"path": str(folder / "checkpoint-20")}, at=1.0)
        assert here.keyed(said).payload == {"path": key}

    def test_a_schedule_is_there_whole_or_not_at_all(self, opener: Opener) -> None:
        here, there = opener(), opener()
        path = here.keep(STUDY, "s1.arm.0.1.schedule.npz", b"curve")
        assert here.keep(STUDY, path.name, b"curve") == path
        config = {"schedule": {"name": here.in_config(path)}}
        assert Path(there.placed(config)["schedule"]["name"]).read_bytes() == b"curve"

    def test_the_newest_attempt_that_left_a_file_is_found(self, opener: Opener) -> None:
        here, there = opener(), opener()
        for number, left in ((1, True), (2, True), (3, False)):
            folder = here.folder(STUDY, TRIAL, number)
            folder.mkdir(parents=True)
            if left:
                (folder / "params.npz").write_text(str(number))
        assert (there.latest(STUDY, TRIAL, 3, "params.npz") / "params.npz").read_text() == "2"
        before = there.before(there.folder(STUDY, TRIAL, 3), 3)
        assert [each.name for each in before] == ["attempt-2", "attempt-1"]

    def test_what_is_large_is_discarded_and_the_rest_stays(self, opener: Opener) -> None:
        here, there = opener(), opener()
        folder = here.folder(STUDY, TRIAL, 1)
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("params.npz", "events.jsonl"):
            (folder / name).write_text("x")
        there.discard(there.folder(STUDY, TRIAL, 1))
        assert sorted(each.name for each in folder.iterdir()) == ["events.jsonl"]

    def test_a_study_that_is_deleted_is_gone_everywhere(self, opener: Opener) -> None:
        here, there = opener(), opener()
        for study in (STUDY, "s2"):
            here.folder(study, TRIAL, 1).mkdir(parents=True)
        there.delete(STUDY)
        there.delete(STUDY)
        assert not here.folder(STUDY, TRIAL, 1).exists()
        assert here.folder("s2", TRIAL, 1).exists()

    @pytest.mark.parametrize("name", ["..", "a/b", "/etc", ".hidden"])
    def test_no_name_leads_out_of_it(self, opener: Opener, name: str) -> None:
        for study, trial in ((name, TRIAL), (STUDY, name)):
            with pytest.raises(BadSpec):
                opener().folder(study, trial, 1)

    def test_there_is_room_where_something_can_be_written(self, opener: Opener) -> None:
        opener().require_room(STUDY)
        opener().require_room(STUDY)
