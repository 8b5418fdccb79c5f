"""Does docs/extending.md say how to extend orch? Its code blocks are run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.engine.checks import require_runnable
from orchestrator.ground.errors import BadSpec
from orchestrator.readings.overview import overview
from orchestrator.study.methods import METHODS
from orchestrator.study.overrides import override
from orchestrator.study.spec_files import read_spec
from tests.faults.world import created, world
from tests.installed import installed, write_package

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "extending.md"

# A ledger and a backend of somebody's own, as far as the page is concerned: ours, by folder, in one process.
# On the virtual clock nothing has to be slow to be interrupted.
MY_LEDGER = """
from orchestrator.ledger.memory import MemoryLedger
opened = {}
def MyLedger(folder):
    return opened.setdefault(str(folder), MemoryLedger())
"""
MY_BACKEND = """
from dataclasses import replace
from orchestrator.backends.simulated import SimulatedBackend, VirtualClock
started = {}
class Simulated(SimulatedBackend):
    def submit(self, launch, ahead=(), **preferred):
        told = {k: v for k, v in launch.config.get("rehearsal", {}).items() if k != "pace_s"}
        launch = replace(launch, config={**launch.config, "rehearsal": told})
        return super().submit(launch, ahead, **preferred)
    def poll(self, after):
        super().poll(dict.fromkeys(self.attempts(), 0))
        self._clock.advance_to(self.next_event_at() or 0.0)
        return super().poll(after)
def MyBackend(folder, slots):
    return started.setdefault(str(folder), Simulated(VirtualClock(), slots=slots))
"""


def blocks_of(section: str) -> dict[str, list[str]]:
    """The code blocks of a section, by language."""
    part = PAGE.read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    blocks: dict[str, list[str]] = {}
    for language, block in re.findall(r"```(\w+)\n(.*?)```", part, re.S):
        blocks.setdefault(language, []).append(block)
    return blocks


def install(section: str, folder: Path) -> dict[str, list[str]]:
    """Installs the package that a section writes; its code blocks."""
    blocks = blocks_of(section)
    project = tomllib.loads(blocks["toml"][0])["project"]
    points = [
        f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in offered.items())
        for group, offered in project["entry-points"].items()
    ]
    write_package(folder, {f"{project['name']}.py": blocks["python"][0]}, "\n".join(points))
    return blocks


def test_the_example_searcher_runs_a_study_as_written(tmp_path: Path) -> None:
    blocks = install("A searcher", tmp_path / "site")
    (tmp_path / "study.yaml").write_text(blocks["yaml"][0])
    with installed(tmp_path / "site", METHODS):
        study = read_spec(tmp_path / "study.yaml")
        require_runnable(study)
        place = world(tmp_path / "runs")
        created(place, study)
        place.drive(place.engine(), "s1")
        default, best = (overview(place.store, place.store.study("s1")).arms[i].best for i in (0, 1))
        assert default is not None
        assert best is not None
        assert best < default
        with pytest.raises(BadSpec) as refused:
            require_runnable(override(study, trials=2).spec)
    sys.modules.pop("nearby")
    assert str(refused.value) == "arm nearby: 2 trials lead nowhere. Give it 3 or more."


def test_the_example_searcher_keeps_the_contract(tmp_path: Path) -> None:
    blocks = install("A searcher", tmp_path / "site")
    (tmp_path / "test_nearby.py").write_text(blocks["python"][1])
    assert passed(tmp_path / "test_nearby.py", tmp_path / "site") > 15


@pytest.mark.parametrize(("block", "module", "tests"), [(0, "ledger", 90), (1, "backend", 14)])
def test_the_examples_of_a_ledger_and_a_backend_run_the_contracts(
    tmp_path: Path, block: int, module: str, tests: int
) -> None:
    source = {"ledger": MY_LEDGER, "backend": MY_BACKEND}[module]
    (tmp_path / f"my_{module}.py").write_text(source)
    (tmp_path / f"test_my_{module}.py").write_text(blocks_of("A ledger or a backend")["python"][block])
    assert passed(tmp_path / f"test_my_{module}.py", tmp_path) >= tests


def test_a_study_runs_on_a_ledger_and_a_backend_as_written(tmp_path: Path) -> None:
    (tmp_path / "my_ledger.py").write_text(MY_LEDGER)
    (tmp_path / "my_backend.py").write_text(MY_BACKEND)
    (tmp_path / "study.yaml").write_text(blocks_of("A searcher")["yaml"][0].replace("nearby", "random"))
    (tmp_path / "run.py").write_text(blocks_of("A ledger or a backend")["python"][2])
    assert python("run.py", folder=tmp_path, packages=tmp_path).splitlines()[-1] == "completed"


def python(*arguments: str, folder: Path, packages: Path) -> str:
    """What it prints, in a process of its own in which those packages are installed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(file: Path, packages: Path) -> int:
    """How many tests of a file pass; none fails."""
    options = ("-p", "no:cacheprovider", "--rootdir", str(file.parent))
    said = python("-m", "pytest", *options, str(file), folder=file.parent, packages=packages)
    found = re.search(r"= (\d+) passed in", said)
    assert found is not None, said
    return int(found[1])
