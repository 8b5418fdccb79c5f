"""What does pip install from an index, into an empty environment? Skipped where pip reaches no index."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.install import own_study
from tests.install.environments import Built, Environment

pytestmark = pytest.mark.slow

BASE_MB = 100


@pytest.fixture(scope="module", autouse=True)
def _index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A small package of the base, which pip can fetch or not."""
    folder = tmp_path_factory.mktemp("index")
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "click"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip reaches no index here: {done.stderr.strip().splitlines()[-1]}")


def installed(folder: Path, built: Built, extras: str = "") -> Environment:
    venv.create(folder, with_pip=True)
    made = Environment(folder)
    words = [made.python, "-m", "pip", "install", "--quiet", f"{built.wheel}{extras}"]
    subprocess.run(words, cwd=folder, check=True)
    return made


def size_mb(folder: Path) -> float:
    """Of site-packages."""
    (site,) = (folder / "lib").glob("python3*/site-packages")
    return sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6


def test_the_base_is_below_100_mb_and_answers(built: Built, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    base = installed(tmp_path / "base", built)
    added = size_mb(base.folder) - size_mb(tmp_path / "empty")
    assert added < BASE_MB
    study = own_study.write(tmp_path / "study")
    assert base.orch("--help", cwd=study).returncode == 0
    assert base.orch("study", "plan", "study.yaml", cwd=study).returncode == 0
    refused = base.orch("study", "create", "study.yaml", cwd=study)
    assert refused.returncode == 2
    assert "pip install 'orch-studies[run]'" in refused.stderr


def test_with_run_a_study_of_ones_own_module_comes_to_its_verdict(built: Built, tmp_path: Path) -> None:
    run = installed(tmp_path / "run", built, "[run]")
    checked = subprocess.run([run.python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    study = own_study.write(tmp_path / "study")
    try:
        made = run.orch("study", "create", "study.yaml", "--workers", "2", cwd=study, within_s=600)
        assert made.returncode == 0, made.stderr
        assert "Claim supported" in made.stdout
    finally:
        run.orch("down", "--force", cwd=study)
