"""Do the models of the README and of coming-from.md run as pasted? And are other tools' words theirs?"""

from __future__ import annotations

import inspect
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.client.test_docs_steps import ROOT, blocks, pasted, steps
from tests.orchestrator.conftest import Orch
from trainer.protocol import Outcome, Place, Reply, Report

README, PAGE = "../README.md", "coming-from.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's own folder, in which orch is called, with the files of both pages."""
    (tmp_path / "my_model.py").write_text(blocks(README, "python")[0])
    (tmp_path / "bo-vs-random.yaml").write_text(blocks(README, "yaml")[0])
    (tmp_path / "moved.py").write_text(blocks(PAGE, "python")[1])
    (tmp_path / "moved.yaml").write_text(blocks(PAGE, "yaml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_model", "moved"):
        sys.modules.pop(name, None)


def test_the_model_of_the_readme_runs_as_pasted(orch: Orch, machines: dict[int, Any], folder: Path) -> None:
    commands = [command.split("#")[0] for command in steps(README) if "bo-vs-random.yaml" in command]
    plan, create = (orch(*pasted(command)) for command in commands)
    assert (plan.code, create.code) == (0, 0), (plan.err, create.err)
    assert "The cost is unknown" not in plan.out
    assert "36 runs" in create.out
    assert re.search(r"loss, 6 fresh seeds  BO \S+ +random ", create.out)


def test_the_model_of_the_readme_says_what_is_wrong_and_stops_when_told(folder: Path) -> None:
    import my_model  # type: ignore[import-not-found]

    assert my_model.check({"lr": 0}) == ["lr is 0. Allowed: above 0."]
    config = {"seed": 0, "steps": 5, "lr": 0.1}
    assert my_model.run(config, lambda report: Reply.STOP, folder, Place()).status == "stopped"


def test_the_readme_s_example_is_there() -> None:
    (command,) = [command for command in steps(README) if "guided_vs_bo.yaml" in command]
    assert (ROOT / "examples" / command.split()[-1]).is_file()


def test_the_objective_of_optuna_runs_as_an_entrypoint(
    orch: Orch, machines: dict[int, Any], folder: Path
) -> None:
    for command in steps(PAGE):
        said = orch(*pasted(command))
        assert said.code == 0, (command, said.err)
    trials = orch("trial", "list", "moved").out
    assert len(re.findall(r"^moved\.\S+\.0\.\d+ ", trials, re.M)) == 36
    assert re.search(r"^moved\.tpe\.0\.\d+ +stopped ", trials, re.M)  # at a rung
    with closing(sqlite3.connect(folder / "moved.db")) as storage:
        lanes = {name for (name,) in storage.execute("select study_name from studies")}
    assert lanes == {f"moved/{arm}/0" for arm in ("tpe", "random", "confirm-tpe", "confirm-random")}


def test_the_entrypoint_trains_what_the_objective_trained(folder: Path) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    there: dict[str, Any] = {}
    exec(blocks(PAGE, "python")[0], there)
    optuna.logging.set_verbosity(before)
    import moved  # type: ignore[import-not-found]

    assert there["study"].best_trial.state == optuna.trial.TrialState.COMPLETE
    point = {"lr": 0.05, "momentum": 0.6}
    reports: list[Report] = []

    def go(report: Report) -> Reply:
        reports.append(report)
        return Reply.GO

    ended: Outcome = moved.run({"seed": 0, "steps": 100, **point}, go, folder, Place())
    assert ended.values["loss"] == there["objective"](optuna.trial.FixedTrial(point))
    assert [report.step for report in reports] == list(range(10, 101, 10))


def _words(column: int) -> set[str]:
    """The names in a column of the page's table."""
    text = (ROOT / "docs" / PAGE).read_text().split("\n## Words\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    names = {name for row in rows[1:] for name in re.findall(r"`([\w.]+)`", row[column])}
    return {part for name in names for part in name.split(".")}


def _names(*places: Any) -> set[str]:
    """What modules and classes hold, and the parameters of functions and of classes."""
    known: set[str] = set()
    for place in places:
        known |= set(dir(place))
        if not inspect.ismodule(place):
            known |= set(inspect.signature(place).parameters)
    return known


def test_the_words_of_optuna_are_its_own() -> None:
    import optuna
    from optuna import pruners, samplers, storages
    from optuna.trial import Trial, TrialState

    known = _names(
        optuna,
        pruners,
        samplers,
        storages,
        TrialState,
        Trial,
        Trial.suggest_float,
        optuna.Study,
        optuna.Study.optimize,
        optuna.create_study,
        pruners.SuccessiveHalvingPruner,
        samplers.TPESampler,
    )
    ours = {"gp", "tpe"}
    assert _words(2) - known == ours
    assert {"CmaEsSampler"} <= known


def test_the_words_of_ray_tune_are_its_own() -> None:
    from ray import tune
    from ray.tune import schedulers
    from ray.tune.experiment import Trial
    from ray.tune.search.optuna import OptunaSearch

    known = _names(
        tune,
        tune.Tuner,
        tune.TuneConfig,
        tune.RunConfig,
        tune.FailureConfig,
        schedulers,
        schedulers.ASHAScheduler,
        OptunaSearch,
    )
    assert _words(4) - known - {"OptunaSearch", "Trial", Trial.TERMINATED, Trial.ERROR} == set()
