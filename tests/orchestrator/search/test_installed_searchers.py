"""Can a searcher of another package be used wherever one is named, and does a broken one harm nobody?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from dashboards.report.answer import gather
from dashboards.report.pages import markdown
from orchestrator.api.presets import Preset
from orchestrator.engine.checks import require_runnable
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.readings.exports import to_json, to_optuna
from orchestrator.readings.overview import listed, overview
from orchestrator.study.canonical import canonical
from orchestrator.study.methods import METHODS, replacing
from orchestrator.study.overrides import override
from orchestrator.study.plan import plan
from orchestrator.study.spec import Arm, StudySpec
from orchestrator.study.spec_files import spec_from_dict
from tests.faults.world import created, small_study, world
from tests.installed import installed, write_package

MODULE = """
from orchestrator.study.methods import Method

HALVES = Method("halving:Halving", "half of the best", bayesian=True)
TABLE = Method("halving:Table", "listed values", space="values")
CODELESS = Method("halving:gone", "its code is not there")
MODULELESS = Method("no_such_module:gone", "nor is its module")
NUMBER = 7


class Halving:
    uses_history = True

    def check(self, arm):
        if arm.name == "y":
            raise ZeroDivisionError("division by zero")
        return ["arm x: not today."] if arm.name == "x" else []

    def suggest(self, request):
        ended = sorted(request.finished, key=lambda o: o.value)
        best, by = (ended[0].point, 2) if ended else (request.default, 1)
        return {p.path: max(p.low, best[p.path] / by) for p in request.space}


class Table:
    uses_history = False

    def check(self, arm):
        return []

    def suggest(self, request):
        return {p.path: p.values[request.index] for p in request.space}
"""
POINTS = """\
[orch.searchers]
halves = halving:HALVES
table = halving:TABLE
codeless = halving:CODELESS
moduleless = halving:MODULELESS
broken = raises:ANYTHING
missing = no_such_module:IT
number = halving:NUMBER
gp = halving:HALVES
"""
SPACE = [{"path": "optimizer.alpha", "low": 0.01, "high": 10, "scale": "log"}]
GRID = [{"path": "optimizer.beta1", "values": [0.9, 0.5]}]


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package with two sound searchers and all kinds of others."""
    folder = tmp_path / "site"
    write_package(folder, {"halving.py": MODULE, "raises.py": "raise SystemError('half installed')"}, POINTS)
    with installed(folder, METHODS):
        yield folder
    for name in ("halving", "raises"):
        sys.modules.pop(name, None)


def arm(method: str, **changes: Any) -> dict[str, Any]:
    return {"name": "theirs", "method": method, "trials": 4, "space": SPACE, **changes}


def spec(*arms: dict[str, Any], **changes: Any) -> StudySpec:
    data = json.loads(canonical(small_study(**changes)))
    return spec_from_dict({**data, "arms": [*data["arms"], *arms]})


def refusal(method: str) -> str:
    with pytest.raises(BadSpec) as refused:
        require_runnable(spec(arm(method)))
    return str(refused.value)


def test_a_study_with_it_is_planned_run_reported_and_exported(package: Path, tmp_path: Path) -> None:
    study = spec(arm("halves"), arm("table", name="listed", trials=2, space=GRID))
    require_runnable(study)
    assert [a.window for a in plan(study, slots=1).arms][-2:] == [1, None]
    place = world(tmp_path / "runs")
    created(place, study)
    assert place.drive(place.engine(), "s1").state is StudyState.COMPLETED
    alphas = [t.point["optimizer.alpha"] for t in place.store.trials("s1", arm="theirs")]
    assert alphas[:2] == [1.0, 0.5]
    assert len(alphas) == 4
    assert [t.point["optimizer.beta1"] for t in place.store.trials("s1", arm="listed")] == [0.9, 0.5]
    assert overview(place.store, place.store.study("s1")).arms[-2].best is not None
    assert "| theirs | search | halves | 4, 5 to start with |" in markdown(gather(place.store, "s1", slots=1))
    assert to_json(place.store, "s1")["spec"]["arms"][-2]["method"] == "halves"
    to_optuna(place.store, "s1", f"sqlite:///{tmp_path}/optuna.db")
    loaded = optuna.load_study(study_name="small/theirs/0", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert loaded.user_attrs["method"] == "halves"


def test_it_takes_the_place_of_bayesian_arms_and_one_over_values_does_not(package: Path) -> None:
    study = spec(arm("tpe"))
    changed = override(study, search="halves", trials=7).spec
    assert (changed.arm("theirs").method, changed.arm("theirs").trials) == ("halves", 7)
    assert replacing() == ["gp", "tpe", "random", "sobol", "halves", "table", *replacing()[6:]]
    with pytest.raises(BadSpec) as refused:
        override(study, search="table")
    assert str(refused.value) == (
        "arm theirs: optimizer.alpha: a list of values goes with method 'table' and a range with the others; "
        "this arm's method is 'table'."
    )


def test_the_api_takes_it_in_place_of_bayesian_methods(package: Path) -> None:
    assert Preset(name="bo-vs-guided", search="halves").search == "halves"
    with pytest.raises(ValidationError) as refused:
        Preset(name="bo-vs-guided", search="grid")
    (error,) = refused.value.errors()
    assert error["msg"] == "Input should be 'gp', 'tpe', 'random', 'sobol', 'halves', " + ", ".join(
        ["'table'", "'codeless'", "'moduleless'", "'broken'", "'missing' or 'number'"]
    )


def test_a_name_of_ours_stays_ours(package: Path) -> None:
    assert METHODS["gp"].make == "orchestrator.search.bayes:gp"
    assert [*METHODS].count("gp") == 1


def test_names_and_the_json_schema_list_all_and_load_none(package: Path) -> None:
    names = ["fixed", "random", "sobol", "grid", "gp", "tpe"]
    theirs = ["halves", "table", "codeless", "moduleless", "broken", "missing", "number"]
    assert TypeAdapter(Arm).json_schema()["properties"]["method"]["enum"] == [*names, *theirs]
    assert not {"halving", "raises"} & sys.modules.keys()
    with pytest.raises(BadSpec) as refused:
        spec(arm("halve"))
    assert str(refused.value) == (
        f"arms[4].method is 'halve'. Did you mean 'halves'? Allowed: {', '.join([*names, *theirs])}."
    )


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            "broken",
            "'broken' (raises:ANYTHING, entry point orch.searchers) cannot be loaded (SystemError: half "
            "installed). Repair or remove its package.",
        ),
        (
            "missing",
            "'missing' (no_such_module:IT, entry point orch.searchers) cannot be loaded "
            "(ModuleNotFoundError: No module named 'no_such_module'). Repair or remove its package.",
        ),
        (
            "number",
            "'number' (halving:NUMBER, entry point orch.searchers) is a int. "
            "Allowed is a orchestrator.study.methods.Method.",
        ),
        (
            "codeless",
            "The searcher of method 'codeless' (halving:gone) cannot be made (AttributeError: module "
            "'halving' has no attribute 'gone'). Repair or remove its package.",
        ),
        (
            "moduleless",
            "The searcher of method 'moduleless' (no_such_module:gone) cannot be made (ModuleNotFoundError: "
            "No module named 'no_such_module'). Repair or remove its package.",
        ),
    ],
)
def test_one_that_cannot_be_loaded_is_refused_in_a_sentence_and_others_are_not(
    package: Path, method: str, sentence: str
) -> None:
    assert refusal(method) == sentence
    require_runnable(spec(arm("halves"), arm("tpe", name="ours")))


def test_what_it_says_of_an_arm_is_heard_and_its_failure_to_say_is_no_crash(package: Path) -> None:
    for name, said in (
        ("x", "arm x: not today."),
        (
            "y",
            "arm y: the searcher of method 'halves' failed to check it (ZeroDivisionError: division by "
            "zero). Repair or remove its package.",
        ),
    ):
        with pytest.raises(BadSpec) as refused:
            require_runnable(spec(arm("halves", name=name)))
        assert str(refused.value) == said


def test_when_its_package_goes_what_runs_is_collected_and_other_studies_go_on(tmp_path: Path) -> None:
    place = world(tmp_path / "runs")
    write_package(tmp_path / "site", {"halving.py": MODULE}, POINTS)
    with installed(tmp_path / "site", METHODS):
        created(place, spec(arm("halves")))
        engine = place.engine()
        while not place.store.trials("s1", arm="theirs", states=[TrialState.RUNNING]):
            place.step(engine)
    sys.modules.pop("halving")
    created(place, small_study(name="two"), study_id="s2")
    later = place.next_life(arrives=True)
    assert place.drive(later, "s2").state is StudyState.COMPLETED
    (begun,) = place.store.trials("s1", arm="theirs")
    assert begun.state is TrialState.COMPLETED
    assert later.tick().unrunnable == {
        "s1": "There is no method 'halves'. Methods are: fixed, random, sobol, grid, gp, tpe."
    }
    assert len(listed(place.store, place.store.studies())) == 2
    assert overview(place.store, place.store.study("s1")).arms[-1].best is not None


def test_the_command_line_offers_it_and_runs_a_study_with_it(package: Path, tmp_path: Path) -> None:
    def orch(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": str(package), "ORCH_HOME": str(tmp_path / "home")},
        )

    assert "[gp|tpe|random|sobol|halves|table|" in "".join(orch("study", "plan", "--help").stdout.split())
    said = orch("study", "plan", "bo-vs-guided", "--size", "smoke", "--search", "halves", "--json")
    assert {a["method"] for a in json.loads(said.stdout)["arms"]} == {"fixed", "grid", "random", "halves"}
    ran = orch("rehearse", "bo-vs-guided", "--size", "smoke", "--search", "halves", "--json")
    assert ran.returncode in (0, 2), ran.stderr
    refused = orch("study", "plan", "bo-vs-guided", "--size", "smoke", "--search", "broken")
    assert "'broken' (raises:ANYTHING, entry point orch.searchers) cannot be loaded" in refused.stderr
