"""Do two machines learn whether they see the same files, and each other's locks on them?"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO, Any

import pytest

from orchestrator.ground.errors import MoveRefused
from orchestrator.runs import shared


def alone(file: IO[Any], how: int) -> None:
    """`flock` of a disk that keeps locks to the machine that asks: nobody is ever in the way."""


def refused(file: IO[Any], how: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_what_one_has_written_the_other_answers_and_the_answer_is_heard_once(tmp_path: Path) -> None:
    name = shared.answer(tmp_path, shared.word_of(tmp_path))
    assert shared.heard(tmp_path, name)
    assert not shared.heard(tmp_path, name)


def test_another_folder_at_the_same_path_is_refused(tmp_path: Path) -> None:
    shared.word_of(tmp_path)
    with pytest.raises(MoveRefused, match="that path is another folder here"):
        shared.answer(tmp_path, "0" * 32)


def test_a_lock_that_one_holds_the_other_sees_while_it_lasts(tmp_path: Path) -> None:
    name = shared.answer(tmp_path, shared.word_of(tmp_path))
    with shared.held(tmp_path, name):
        assert shared.is_held(tmp_path, name)
    assert not shared.is_held(tmp_path, name)


@pytest.mark.parametrize("flock", [alone, refused])
def test_a_disk_whose_locks_reach_nobody_or_that_has_none_is_found_out(flock: Any, tmp_path: Path) -> None:
    name = shared.answer(tmp_path, shared.word_of(tmp_path))
    with shared.held(tmp_path, name, flock=flock):
        assert not shared.is_held(tmp_path, name, flock=flock)
    with shared.held(tmp_path, name, flock=flock):  # one that has locks, and one that has not
        assert not shared.is_held(tmp_path, name)
    with shared.held(tmp_path, name):
        assert not shared.is_held(tmp_path, name, flock=flock)
    assert shared.heard(tmp_path, name)  # the files are the same all the same


def test_a_file_that_is_not_there_is_not_locked_and_is_not_made(tmp_path: Path) -> None:
    shared.word_of(tmp_path)
    assert not shared.is_held(tmp_path, "0" * 32)
    assert not shared.heard(tmp_path, "0" * 32)


def test_locks_are_believed_until_a_host_was_found_without_and_again_once_it_has_them(tmp_path: Path) -> None:
    assert shared.locks_reach(tmp_path)
    for host in ("worker-2", "worker-1"):
        shared.note_locks(tmp_path, host, reach=False)
    shared.note_locks(tmp_path, "worker-3", reach=True)
    assert not shared.locks_reach(tmp_path)
    assert shared.without_locks(tmp_path) == {"worker-1", "worker-2"}
    shared.note_locks(tmp_path, "worker-1", reach=True)
    assert not shared.locks_reach(tmp_path)
    shared.note_locks(tmp_path, "worker-2", reach=True)
    assert shared.locks_reach(tmp_path)


def test_it_is_said_what_it_means_that_they_do_not_reach() -> None:
    assert shared.no_locks([]) == ""
    assert shared.no_locks(["worker-1", "worker-2"]) == (
        "Locks on the files of runs do not reach from worker-1 and worker-2 to other machines. Another one "
        "that comes to lead counts what runs there as lost after a minute without a report. Mend the mount "
        "(NFS 4; Lustre with `-o flock`), then join again or run `orch doctor --cluster`."
    )
