"""A person's own module on real Ray: is the same code loaded in the worker as was checked, with its siblings,
and never a module of theirs in place of ours?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.study.canonical import canonical
from tests.faults.world import small_study

ROOT = Path(__file__).parents[2]
WITHIN_S = 240.0
NET = (
    "import layers_of_mine\nfrom orchestrator import rehearsal\n"
    "def check(c):\n    import late_layers_of_mine\n    return rehearsal.check(c)\n"
    "shape_key = rehearsal.shape_key\n"
    "def run(config, reporter, workdir, place):\n"
    "    import late_layers_of_mine, tabnanny\n"
    "    assert layers_of_mine.FROM == late_layers_of_mine.FROM == tabnanny.FROM == 'here'\n"
    "    return rehearsal.run(config, reporter, workdir, place)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The person's, where orch is called."""
    here = tmp_path / "project"
    here.mkdir()
    return here


def _orch(folder: Path, home: Path, *arguments: str) -> Any:
    # As the installed command does it: -P keeps the current folder off the path.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli", *arguments, "--json"],
        cwd=folder,
        env={**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "2", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_worker_loads_what_was_checked(folder: Path, tmp_path: Path) -> None:
    """`tabnanny` is also in Python's own library: a sibling comes before it, there as here."""
    home, spec = tmp_path / "home", tmp_path / "own.json"
    (folder / "net_of_mine.py").write_text(NET)
    for name in ("layers_of_mine", "late_layers_of_mine", "tabnanny"):
        (folder / f"{name}.py").write_text("FROM = 'here'\n")
    spec.write_text(canonical(small_study(name="own", entrypoint="net_of_mine")))
    try:
        assert _orch(folder, home, "study", "create", str(spec))["status"] == "completed"
        (attempt,) = _orch(folder, home, "trial", "show", "own.base.0.0")["attempts"]
    finally:
        daemon.stop(home)
    code = attempt["provenance"]["code"]
    assert code["file"] == str(folder / "net_of_mine.py")
    assert code["notes"] == ["It lies in no git repository."]
    assert "numpy" in attempt["provenance"]["packages"]


def test_a_module_of_the_person_s_never_comes_before_ours_in_a_worker(folder: Path, tmp_path: Path) -> None:
    """Ray would put the folder that orch is called in before all else."""
    home, spec = tmp_path / "home", tmp_path / "small.json"
    for name in ("trainer", "optax"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    spec.write_text(canonical(small_study()))
    try:
        done = _orch(folder, home, "study", "create", str(spec))
    finally:
        daemon.stop(home)
    assert done["status"] == "completed"
    assert sum(arm["states"].get("completed", 0) for arm in done["arms"]) == 8
