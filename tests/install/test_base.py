"""What can be done with the wheel and no extra, from a folder outside the checkout?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.ground import keys
from orchestrator.ground.release import VERSION
from tests.install import own_study
from tests.install.environments import ROOT, Built, Environment, environment

RUN = (
    "needs ray, optuna, jax and 13 more packages, which are not installed. Install them: pip install "
    "'orch-studies[run]'"
)


@pytest.fixture(scope="module")
def base(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("base") / "venv", built)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return own_study.write(tmp_path / "study")


@dataclass(frozen=True)
class Served:
    url: str
    token: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real service, of this environment, without an engine."""
    home = tmp_path_factory.mktemp("served")
    with (home / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "serve", "--port", "0", "--api-only"],
            cwd=ROOT,
            env={**os.environ, "ORCH_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        assert link.startswith("http://"), (home / "said").read_text()
        yield Served(link.partition("/login")[0], keys.read(home) or "")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_the_command_line_answers_and_says_its_version(base: Environment, tmp_path: Path) -> None:
    assert base.orch("--version", cwd=tmp_path).stdout == f"orch {VERSION}\n"
    helped = base.orch("--help", cwd=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Create, plan, list, watch and control studies." in helped.stdout


def test_every_command_has_its_help(base: Environment, tmp_path: Path) -> None:
    nouns = base.orch("--help", cwd=tmp_path).stdout.partition("Commands:")[2].partition("Exit codes")[0]
    for noun in (line.split()[0] for line in nouns.splitlines() if line[2:3].isalpha()):
        helped = base.orch(noun, "--help", cwd=tmp_path)
        assert (helped.returncode, helped.stderr) == (0, ""), noun


def test_a_service_is_asked_with_the_wheel_alone(base: Environment, served: Served, folder: Path) -> None:
    def orch(*words: str) -> subprocess.CompletedProcess[str]:
        return base.orch(*words, "--server", served.url, cwd=folder, ORCH_TOKEN=served.token)

    assert "There are no studies" in orch("study", "list").stderr
    made = orch("study", "create", "eta-sweep", "--size", "smoke", "--no-run", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["created"] is True
    listed = json.loads(orch("study", "list", "--json").stdout)["studies"]
    assert [row["study"] for row in listed] == ["eta-sweep-smoke"]
    table = orch("study", "table", "eta-sweep-smoke")
    assert (table.returncode, table.stderr) == (0, "")
    assert "dev_loss" in table.stdout
    for verb in ("show", "verdict", "plan", "report"):
        said = orch("study", verb, "eta-sweep" if verb == "plan" else "eta-sweep-smoke")
        assert said.returncode == 0, said.stderr
        assert "Traceback" not in said.stderr


def test_a_spec_of_ones_own_module_is_checked(base: Environment, folder: Path) -> None:
    planned = base.orch("study", "plan", "study.yaml", "--json", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    told = json.loads(planned.stdout)
    assert told["total"]["runs"] == 20
    assert told["notes"][-1] == (
        "What the claim can show needs numpy and scipy, which are not installed. Install them: pip install "
        "'orch-studies[run]'."
    )
    (folder / "study.yaml").write_text(own_study.SPEC.replace("lr: 0.1", "rate: 0.1"))
    refused = base.orch("study", "plan", "study.yaml", cwd=folder)
    assert refused.returncode == 2
    assert "Unknown key 'rate'." in refused.stderr


def test_a_preset_is_planned_and_written_out(base: Environment, tmp_path: Path) -> None:
    planned = base.orch("study", "plan", "bo-vs-guided", "--size", "paper", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    spec = base.orch("study", "spec", "bo-vs-guided", cwd=tmp_path)
    assert json.loads(spec.stdout)["name"] == "bo-vs-guided-quick"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("study", "create", "study.yaml"), f"`orch study create` {RUN}"),
        (("study", "resume", "parabola"), f"`orch study resume` {RUN}"),
        (("rehearse", "eta-sweep"), f"`orch rehearse` {RUN}"),
        (("train", "--steps", "10"), f"`orch train` {RUN}"),
        (("translate", "some-run"), f"`orch translate` {RUN}"),
        (("data", "describe"), f"`orch data` {RUN}"),
        (("serve", "--engine-only"), f"`orch serve` {RUN}"),
        (
            ("serve",),
            "`orch serve` needs ray, optuna, jax and 15 more packages, which are not installed. Install "
            "them: pip install 'orch-studies[run,report]'",
        ),
        (
            ("study", "report", "parabola"),
            "`orch study report` needs plotly, jinja2, numpy and scipy, which are not installed. Install "
            "them: pip install 'orch-studies[report]'",
        ),
        (
            ("mlflow", "sync"),
            "`orch mlflow sync` needs mlflow, which is not installed. Install it: pip install "
            "'orch-studies[mlflow]'",
        ),
        (
            ("ui",),
            "`orch ui` needs mlflow, which is not installed. Install it: pip install 'orch-studies[mlflow]'",
        ),
    ],
)
def test_a_command_that_lacks_an_extra_names_it_and_starts_nothing(
    base: Environment, folder: Path, words: tuple[str, ...], sentence: str
) -> None:
    said = base.orch(*words, cwd=folder)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"orch: {sentence}\n")
    assert not (folder / "orch-data").exists()


def test_a_ledger_that_is_there_is_not_read_without_the_extra(base: Environment, folder: Path) -> None:
    (folder / "orch-data").mkdir()
    (folder / "orch-data" / "ledger.db").touch()
    said = base.orch("study", "list", cwd=folder)
    assert (said.returncode, said.stderr) == (
        2,
        "orch: A ledger needs sqlalchemy, which is not installed. Install it: pip install "
        "'orch-studies[run]'. Or name a service with --server.\n",
    )


def test_the_doctor_says_what_each_extra_is_for_and_that_none_is_here(
    base: Environment, tmp_path: Path
) -> None:
    said = base.orch("doctor", "--json", cwd=tmp_path)
    assert said.returncode == 0  # what was asked for is here
    checks = {check["what"]: check for check in json.loads(said.stdout)["checks"]}
    assert checks["httpx"]["ok"] is True
    for name, purpose in {
        "run": "studies on this machine, and the service",
        "report": "reports and the live page",
        "gp": "Bayesian optimization by a Gaussian process",
        "mlflow": "the mirror of all runs in MLflow",
        "tfds": "text of TensorFlow Datasets",
        "postgres": "a ledger in PostgreSQL",
    }.items():
        told = checks[f"[{name}]"]
        assert (told["ok"], told["found"], told["purpose"]) == (False, "not installed", purpose)
        assert told["advice"] == f"Install it: pip install 'orch-studies[{name}]'"
