"""What the host and a run share besides words: files that are whole, and the note to go on from."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trainer.protocol import Reply, Verdict, resume_note, whole, write_resume_note


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with whole(path) as file:
        file.write_text("first")
        assert not path.exists()

    def cut_short() -> None:
        with whole(path) as file:
            file.write_text("sec")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        cut_short()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_two_threads_that_write_a_file_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"

    def write() -> None:
        with whole(path) as file:
            file.write_text("theirs")

    with whole(path) as file:
        file.write_text("ours")
        other = threading.Thread(target=write)
        other.start()
        other.join()
        assert path.read_text() == "theirs"
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_reads_the_note_that_its_host_wrote(tmp_path: Path) -> None:
    assert resume_note(tmp_path) is None
    write_resume_note(tmp_path, "/there", earlier=["/before"])
    assert resume_note(tmp_path) == {"checkpoint": "/there", "earlier": ["/before"]}


def test_a_reply_has_its_former_name_too() -> None:
    assert Verdict.GO is Reply.GO
