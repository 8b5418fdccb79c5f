"""What can be done with the wheel and `[run]`: a study of one's own to its verdict, and no more than that?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install import own_study
from tests.install.environments import Built, Environment, environment

GP_ARM = "  - {name: bo, method: gp, trials: 4, space: [{path: lr, low: 0.05, high: 0.9}]}\n"


@pytest.fixture(scope="module")
def run(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("run") / "venv", built, "run")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return own_study.write(tmp_path / "study")


@pytest.fixture
def ending_workers(run: Environment, folder: Path) -> Iterator[None]:
    yield
    run.orch("down", "--force", cwd=folder)


@pytest.mark.usefixtures("ending_workers")
def test_a_study_of_ones_own_module_runs_to_its_verdict(run: Environment, folder: Path) -> None:
    made = run.orch("study", "create", "study.yaml", "--workers", "2", cwd=folder)
    assert made.returncode == 0, made.stderr
    assert "Claim supported" in made.stdout
    assert made.stderr.count("The mirror is off: MLflow is not installed.") == 1
    assert (
        "The report needs plotly and jinja2, which are not installed. Install them: pip install "
        "'orch-studies[report]'; then: orch study report parabola"
    ) in made.stderr
    verdict = json.loads(run.orch("study", "verdict", "parabola", "--json", cwd=folder).stdout)
    assert verdict["status"] == "completed"
    logs = run.orch("trial", "logs", "parabola.search.0.0", cwd=folder)
    assert "attempt 1  completed" in logs.stdout
    trial = json.loads(run.orch("trial", "show", "parabola.search.0.1", "--json", cwd=folder).stdout)
    point = trial["point"]
    assert isinstance(point["width"], int)
    assert point["kind"] in ("wide", "deep")
    logs = run.orch("trial", "logs", "parabola.search.0.1", cwd=folder)
    assert f"width int {point['width']} {point['kind']}" in logs.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("study", "report", "parabola"),
            "`orch study report` needs plotly and jinja2, which are not installed. Install them: pip "
            "install 'orch-studies[report]'",
        ),
        (
            ("serve",),
            "`orch serve` needs plotly and jinja2, which are not installed. Install them: pip install "
            "'orch-studies[report]'",
        ),
        (
            ("study", "create", "eta-sweep", "--set", "data.source=wmt19"),
            "data.source 'wmt19' needs tensorflow-datasets, which is not installed. Install it: pip install "
            "'orch-studies[tfds]'",
        ),
    ],
)
def test_another_extra_is_named_before_anything_starts(
    run: Environment, folder: Path, words: tuple[str, ...], sentence: str
) -> None:
    said = run.orch(*words, cwd=folder)
    assert said.returncode == 2
    assert said.stderr.endswith(f"orch: {sentence}\n")
    assert not (folder / "orch-data").exists()


def test_an_arm_of_a_gaussian_process_is_refused_by_its_name_before_anything_starts(
    run: Environment, folder: Path
) -> None:
    (folder / "study.yaml").write_text(own_study.SPEC + GP_ARM)
    said = run.orch("study", "create", "study.yaml", cwd=folder)
    assert (said.returncode, said.stderr) == (
        2,
        "orch: arm bo: method 'gp' needs torch, which is not installed. Install it: pip install "
        "'orch-studies[gp]' (a CPU build of torch is enough), or choose method 'random'.\n",
    )
    assert not (folder / "orch-data").exists()
    assert run.orch("study", "plan", "study.yaml", cwd=folder).returncode == 0


def test_a_ledger_in_postgresql_is_refused_before_anything_starts(run: Environment, folder: Path) -> None:
    said = run.orch("study", "create", "study.yaml", cwd=folder, ORCH_LEDGER="postgresql://nobody@x/y")
    assert (said.returncode, said.stderr) == (
        2,
        "orch: A ledger in PostgreSQL needs psycopg, which is not installed. Install it: pip install "
        "'orch-studies[postgres]'. Or name a service with --server.\n",
    )
    assert not (folder / "orch-data").exists()
