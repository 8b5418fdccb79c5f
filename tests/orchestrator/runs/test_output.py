"""Is what an attempt prints kept, whatever prints it, bounded, and read back from any place?"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrator.ground.errors import NotFound
from orchestrator.runs import output
from orchestrator.runs.output import (
    HEAD_BYTES,
    NEWEST_BYTES,
    OUTPUT,
    everything,
    read,
    shown_lines,
    tail,
)

HEAD = """
    import os, sys
    from pathlib import Path
    from orchestrator.runs.capture import Capture
    folder = Path(sys.argv[1])
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Code in a process of its own, whose file descriptors it may turn round."""
    program = textwrap.dedent(HEAD) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=120
    )


def all_of(folder: Path) -> str:
    return "".join(everything(folder))


def gap_line(dropped: int) -> bytes:
    return f"\n… {dropped:,} bytes dropped …\n".encode()


# -- what is heard -----------------------------------------------------------------------------------------
def test_prints_warnings_logging_c_code_and_children_are_kept_in_order(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
        import ctypes, logging, subprocess, warnings
        print("before")
        with Capture(folder):
            print("a print")
            logging.warning("a logger")
            ctypes.CDLL(None).puts(b"C code")
            warnings.warn("a warning")
            subprocess.run(["sh", "-c", "echo a child; echo its stderr >&2"])
            os.write(2, b"a file descriptor\\n")
        print("after")
        """,
    )
    assert (said.stdout, said.stderr) == ("before\nafter\n", "")
    lines = [line for line in all_of(tmp_path).splitlines() if "warnings.warn" not in line]
    assert lines[3].endswith("UserWarning: a warning")
    assert [*lines[:3], *lines[4:]] == [
        "a print",
        "WARNING:root:a logger",
        "C code",
        "a child",
        "its stderr",
        "a file descriptor",
    ]


def test_a_killed_process_leaves_all_that_it_printed(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
        import ctypes, signal
        Capture(folder).__enter__()
        print("the last line")
        ctypes.CDLL(None).puts(b"and of C")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert said.returncode == -signal.SIGKILL
    assert all_of(tmp_path) == "the last line\nand of C\n"


def test_a_crash_leaves_its_own_traceback(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
        import faulthandler, signal
        faulthandler.enable()
        Capture(folder).__enter__()
        os.kill(os.getpid(), signal.SIGSEGV)
        """,
    )
    assert said.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in all_of(tmp_path)


def test_each_attempt_has_its_own_output_and_one_begun_anew_begins_afresh(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run(
        tmp_path,
        """
        for name in ("a", "b", "a"):
            with Capture(folder / name):
                print("of", name)
        """,
    )
    assert [all_of(tmp_path / name) for name in "ab"] == ["of a\n", "of b\n"]


def test_a_child_prints_on_into_a_file_that_was_shortened(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
        import subprocess
        from orchestrator.runs import output
        output.NEWEST_BYTES, output.HEAD_BYTES = 1000, 100
        with Capture(folder, look_s=3600):
            child = subprocess.Popen(["sh", "-c", "echo early; read go; echo late"], stdin=subprocess.PIPE)
            while "early" not in (folder / "output.log").read_text():
                pass
            print("x" * 5000)
            output.shorten(folder)
            child.communicate(b"go")
        """,
    )
    assert said.stderr == ""
    head, kept = "early\n" + "x" * 94, "x" * 999 + "\nlate\n"
    assert all_of(tmp_path) == head + "\n… 3,907 bytes dropped …\n" + kept


def test_a_process_that_prints_much_is_not_held_up_and_leaves_the_head_and_the_newest(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
        line = "x" * 99 + "\\n"
        with Capture(folder, look_s=0.01):
            print("the first")
            for _ in range(400):
                sys.stdout.write(line * 1000)
            print("the last")
        """,
    )
    assert said.returncode == 0, said.stderr
    assert 512 * (tmp_path / OUTPUT).stat().st_blocks <= 2 * NEWEST_BYTES + HEAD_BYTES + 8192
    text = all_of(tmp_path)
    assert text.startswith("the first\n")
    assert text.endswith("\nthe last\n")
    dropped = sum(int(n.replace(",", "")) for n in re.findall("… ([0-9,]+) bytes dropped …", text))
    assert dropped == read(tmp_path).dropped == 40_000_019 - len(text.encode()) + len(gap_line(dropped))


# -- reading -----------------------------------------------------------------------------------------------
@pytest.fixture(params=["hole", "anew"])
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Small bounds, on a disk that can punch holes and on one that cannot."""
    monkeypatch.setattr(output, "NEWEST_BYTES", 1000)
    monkeypatch.setattr(output, "HEAD_BYTES", 100)
    if request.param == "anew":
        monkeypatch.setattr(output, "_punch", lambda *_: False)


@pytest.mark.usefixtures("small")
def test_the_head_and_the_newest_of_a_long_output_are_read_at_their_own_places(tmp_path: Path) -> None:
    rng = random.Random(1)
    whole = b""
    for _ in range(60):
        piece = b"".join(b"%d\n" % rng.randrange(10**6) for _ in range(rng.randrange(40)))
        whole += piece
        with (tmp_path / OUTPUT).open("ab") as file:
            file.write(piece)
        output.shorten(tmp_path)
    assert len(whole) > 5000
    seen, place, dropped = b"", 0, 0
    while place < len(whole):
        part = read(tmp_path, offset=place, most=77)
        assert part.end == len(whole)
        assert whole[part.start : part.next].decode() == part.text
        dropped += part.start - place
        seen += part.text.encode()
        place = part.next
    assert 0 < dropped == part.dropped == len(whole) - len(seen)
    assert seen[:100] == whole[:100]
    assert 1100 <= len(seen) <= 2100
    assert set((tmp_path / OUTPUT).read_bytes()[100 : 100 + dropped]) == {0}
    assert read(tmp_path, offset=len(whole)) == output.Output(place, place, place, dropped, "")
    assert read(tmp_path, offset=10**9).next == place


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("ending", ["\n", ""])
def test_the_tail_is_the_last_lines(tmp_path: Path, ending: str) -> None:
    lines = [f"line {i}" for i in range(400)]
    for line in lines[:-1]:
        with (tmp_path / OUTPUT).open("a") as file:
            file.write(line + "\n")
        output.shorten(tmp_path)
    with (tmp_path / OUTPUT).open("a") as file:
        file.write(lines[-1] + ending)
    for count in (1, 3, 90):
        found = tail(tmp_path, lines=count)
        assert found.text == "\n".join(lines[-count:]) + ending
        assert (found.next, found.start) == (found.end, found.end - len(found.text))
    assert 1000 <= len(tail(tmp_path, lines=10**6).text) <= 2000
    assert tail(tmp_path, lines=5, most=4).text == (lines[-1] + ending)[-4:]


def test_what_is_dropped_while_it_is_read_is_read_anew(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / OUTPUT).write_bytes(b"x" * 5000)
    actual = output._size

    def shortened_meanwhile(path: Path) -> int:
        monkeypatch.setattr(output, "_size", actual)
        output.shorten(tmp_path)
        return actual(path)

    monkeypatch.setattr(output, "_size", shortened_meanwhile)
    part = read(tmp_path, offset=200)
    assert (part.start, part.text) == (4000, "x" * 1000)


def test_a_character_that_is_not_whole_yet_is_read_once_it_is(tmp_path: Path) -> None:
    (tmp_path / OUTPUT).write_bytes("aé".encode()[:-1])
    first = read(tmp_path)
    assert (first.text, first.next) == ("a", 1)
    (tmp_path / OUTPUT).write_bytes("aéb".encode())
    assert read(tmp_path, offset=first.next).text == "éb"


def test_bytes_that_are_no_text_are_read_as_marks_and_never_stop_a_reader(tmp_path: Path) -> None:
    (tmp_path / OUTPUT).write_bytes(b"a\xff\xfeb\n\xe2\x82")
    assert all_of(tmp_path) == "a\ufffd\ufffdb\n\ufffd"


def test_an_attempt_without_output_has_an_empty_one(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere") == tail(tmp_path, lines=5) == output.Output(0, 0, 0, 0, "")


def test_the_newest_attempt_is_meant_and_one_that_there_is_not_is_refused() -> None:
    assert [output.attempt_of("t", 3, asked) for asked in (None, 1, 3)] == [3, 1, 3]
    assert output.attempt_of("t", 0, None) == 0
    for asked in (0, 4):
        with pytest.raises(NotFound, match=f"has had 3 attempts; there is no {asked}"):
            output.attempt_of("t", 3, asked)


def test_colours_and_control_characters_are_not_shown_and_of_a_progress_bar_the_last(tmp_path: Path) -> None:
    text = "\x1b[31mred\x1b[0m \x1b]0;title\x07x\n10%\r50%\r100%\r\nplain\tb\x00\x08\n\n"
    assert shown_lines(text) == ["red x", "100%", "plain\tb", ""]
    assert shown_lines("") == []
