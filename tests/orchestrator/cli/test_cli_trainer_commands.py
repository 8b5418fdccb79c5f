"""Is a command that the trainer answers ended by whoever ends orch?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

# It ends by SIGTERM with a code of its own; whatever happens, it ends.
WAITS = """\
import signal, sys
signal.alarm(60)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
sys.exit(7 + len(signal.sigpending()))
"""


def test_a_sigterm_reaches_the_training_and_its_exit_code_comes_back(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from orchestrator.cli import trainer_commands; trainer_commands.run('waits', [])",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ORCH_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(60) == 7
