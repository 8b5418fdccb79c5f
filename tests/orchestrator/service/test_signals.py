"""Does a closed terminal end what runs in it as Ctrl-C does?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.foreground import Interrupts
from orchestrator.server.process import Ending
from orchestrator.service.signals import Heeded, ending

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _hangs_up() -> Iterator[None]:
    """As in a terminal, whatever these tests are started by."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def _hang_up() -> None:
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL  # it would end the tests
    signal.raise_signal(signal.SIGHUP)


def test_a_closed_terminal_asks_a_foreground_study_to_pause_and_a_service_to_end() -> None:
    with Interrupts() as interrupts:
        _hang_up()
        assert interrupts.asked
    with Ending() as asked:
        _hang_up()
        assert asked.asked.is_set()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_closed_terminal_ends_the_pages() -> None:
    with pytest.raises(KeyboardInterrupt), Heeded():
        _hang_up()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_what_nohup_has_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in ending()


# It waits until its terminal is closed, and then speaks.
SPEAKS = """\
import os, sys
from contextlib import suppress
from orchestrator.service.signals import leave_closed_terminal
os.write(1, b"open")
with suppress(OSError):
    while os.read(0, 1):
        pass
leave_closed_terminal()
sys.exit(0 if os.write(1, b"said") == os.write(2, b"said") == 4 else 2)
"""


def test_a_process_may_speak_after_its_terminal_was_closed() -> None:
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SPEAKS], cwd=ROOT, stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    assert os.read(ours, 4) == b"open"
    os.close(ours)
    assert process.wait(60) == 0
