"""A study that searches a float, a whole number, a name and a boolean: from its spec to all who read it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter

from dashboards.report import answer as report
from dashboards.report import pages
from dashboards.report.figures import figures as drawn
from orchestrator.api.trials import TrialLine
from orchestrator.backends import daemon
from orchestrator.ledger import Store
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.readings.exports import to_csv, to_json, to_optuna
from orchestrator.study.spec import Parameter
from orchestrator.tracking.mapping import flat
from tests.dashboards.asgi import get
from tests.dashboards.web.test_web import served
from tests.faults.world import created, small_study, world

ROOT = Path(__file__).parents[2]
WITHIN_S = 300.0  # 25 s on an idle machine, most of it Ray's start
SPACE: list[dict[str, Any]] = [
    {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"},
    {"path": "batch.sentences", "type": "int", "low": 16, "high": 64, "step": 8},
    {"path": "schedule.name", "choices": ["inverse-sqrt", "constant"]},
    {"path": "model.remat", "type": "bool"},
]
PATHS = [p["path"] for p in SPACE]


def arms(method: str) -> list[dict[str, Any]]:
    both: dict[str, Any] = {"space": SPACE, "trials": 6}
    fresh = {"method": "fixed", "trials": 3, "phase": "confirm", "fresh_seeds": True}
    return [
        {"name": "random", "method": "random", "row": "random", **both},
        {"name": "model", "method": method, "row": "model", "startup_trials": 3, **both},
        {"name": "confirm-random", "row": "random", **fresh, "after": {"arm": "random"}},
        {"name": "confirm-model", "row": "model", **fresh, "after": {"arm": "model"}},
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    place = world(tmp_path_factory.mktemp("mixed"))
    base = small_study().base
    own = {"batch": {"sentences": 32}, "model": {"remat": False}}
    schedule = {"schedule": {"name": "inverse-sqrt", "warmup_steps": 4}}
    claim = {"text": "Better.", "challenger": "model", "incumbent": "random", "metric": "loss"}
    created(place, small_study(base={**base, **own, **schedule}, arms=arms("tpe"), claim=claim))
    place.drive(place.engine(), "s1")
    return place.store


def test_every_trial_holds_its_values_in_their_types_and_a_confirmation_those_that_were_chosen(
    store: Store,
) -> None:
    trials = store.trials("s1")
    searched = [t for t in trials if t.point]
    assert len(searched) == 12
    types = {tuple(type(t.point[path]) for path in PATHS) for t in searched}
    assert types == {(float, int, str, bool)}
    for trial in searched:
        sections = [path.split(".") for path in PATHS]
        assert [trial.config[a][b] for a, b in sections] == [trial.point[path] for path in PATHS]
        params = flat(trial.config)
        assert params["batch.sentences"] == str(trial.point["batch.sentences"])
        assert params["model.remat"] == json.dumps(trial.point["model.remat"])
    best = min((t for t in searched if t.arm == "model"), key=lambda t: (t.value, t.index))
    confirmed = [t for t in trials if t.arm == "confirm-model"]
    assert [t.config["batch"] for t in confirmed] == [{"sentences": best.point["batch.sentences"]}] * 3


def test_the_report_has_a_verdict_and_shows_names_as_names(store: Store) -> None:
    answer = report.gather(store, "s1", slots=2)
    assert answer.verdict.answer
    text = pages.markdown(answer)
    space = (
        r"optimizer.alpha 0.1 to 10 (log); batch.sentences 16 to 64 in steps of 8 (whole numbers, linear); "
        "schedule.name in inverse-sqrt, constant; model.remat in false, true"
    )
    assert text.count(space) == 2
    assert pages.page(answer)
    best = answer.frame.best(answer.frame.spec.arm("model"))
    assert best is not None
    remat = "true" if best.point["model.remat"] else "false"
    assert f"batch.sentences {best.point['batch.sentences']}" in text
    assert f"model.remat {remat}" in text
    assert not any("schedule.name =" in c.sentence or "model.remat =" in c.sentence for c in answer.cautions)
    figures = {f.key: f for f in drawn(answer.frame, answer.heard, answer.speedups, seen=None)}
    titles = [plot.figure["layout"]["xaxis"] for plot in figures["space"].plots]
    assert {"inverse-sqrt", "constant"} in [set(axis.get("ticktext", ())) for axis in titles]


def test_the_pages_and_the_api_show_them(store: Store) -> None:
    trial = next(t for t in store.trials("s1") if t.point)
    remat = "true" if trial.point["model.remat"] else "false"
    words = f"sentences {trial.point['batch.sentences']}, name {trial.point['schedule.name']}, remat {remat}"
    app = served(store)
    assert words in get(app, f"/trials/{trial.trial_id}").text
    assert words in get(app, f"/studies/small?arm={trial.arm}").text
    told = json.loads(TypeAdapter(TrialLine.model_fields["point"].annotation).dump_json(dict(trial.point)))
    assert [type(told[path]) for path in PATHS] == [float, int, str, bool]


def test_exports_keep_the_types(store: Store, tmp_path: Path) -> None:
    trials = [t for t in store.trials("s1") if t.point]
    exported = [t for t in json.loads(json.dumps(to_json(store, "s1")))["trials"] if t["point"]]
    assert [json.dumps(t["point"]) for t in exported] == [json.dumps(dict(t.point)) for t in trials]
    file = io.StringIO()
    to_csv(store, "s1", file)
    first = next(row for row in csv.DictReader(io.StringIO(file.getvalue())) if row["model.remat"])
    assert first["batch.sentences"] == str(trials[0].point["batch.sentences"])
    assert first["model.remat"] == json.dumps(trials[0].point["model.remat"])
    url = f"sqlite:///{tmp_path}/optuna.db"
    to_optuna(store, "s1", url)
    storage = optuna.storages.RDBStorage(url)
    theirs = optuna.load_study(study_name="small/model/0", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    assert theirs[0].distributions == {
        "optimizer.alpha": optuna.distributions.FloatDistribution(0.1, 10, log=True),
        "batch.sentences": optuna.distributions.IntDistribution(16, 64, step=8),
        "schedule.name": optuna.distributions.CategoricalDistribution(("inverse-sqrt", "constant")),
        "model.remat": optuna.distributions.CategoricalDistribution((False, True)),
    }
    ours = [t for t in trials if t.arm == "model"]
    assert [json.dumps(t.params) for t in theirs] == [json.dumps(dict(t.point)) for t in ours]


def test_choices_that_python_takes_for_one_are_told_apart_in_an_optuna_storage(tmp_path: Path) -> None:
    place = world(tmp_path / "runs", store=MemoryLedger())
    space = (
        Parameter(path="rehearsal.seconds_per_step", choices=(1, 2.5, 4)),
        Parameter(path="model.remat", choices=(False, True)),
    )
    listed = [p.model_dump(mode="json") for p in space]
    grid = [{"name": "g", "method": "grid", "space": listed, "trials": 6}]
    created(place, small_study(arms=grid))
    place.drive(place.engine(), "s1")
    points = [json.dumps(dict(t.point)) for t in place.store.trials("s1")]
    assert points[:3] == [
        '{"rehearsal.seconds_per_step": 1, "model.remat": false}',
        '{"rehearsal.seconds_per_step": 1, "model.remat": true}',
        '{"rehearsal.seconds_per_step": 2.5, "model.remat": false}',
    ]
    assert len(set(points)) == 6


OWN = """
from trainer.protocol import Outcome, Report

COST = {"sgd": 0.4, "adam": 0.1, "lion": 0.2}


def check(config):
    said = []
    if type(config["layers"]) is not int or not 1 <= config["layers"] <= 8:
        said.append(f"layers is {config['layers']!r}. Allowed are whole numbers from 1 to 8.")
    if config["optimizer"]["name"] not in COST:
        said.append(f"optimizer.name is {config['optimizer']['name']!r}. Allowed: {', '.join(COST)}.")
    return said


def shape_key(config):
    return str(config["layers"])


def run(config, reporter, workdir, place):
    loss = COST[config["optimizer"]["name"]] + 0.1 * abs(config["layers"] - 5) + 0.001 * (config["seed"] % 7)
    clocks = {"train_s": 0.01, "steps": 1.0}
    reporter(Report(1, "eval", {"loss": loss}, {}, clocks))
    return Outcome("completed", {"loss": loss}, clocks, None)
"""


def test_a_study_of_an_own_module_ends_with_a_verdict_on_ray(tmp_path: Path) -> None:
    (tmp_path / "own_mixed.py").write_text(OWN)
    space = [
        {"path": "layers", "type": "int", "low": 1, "high": 8},
        {"path": "optimizer.name", "choices": ["sgd", "adam", "lion"]},
    ]
    study = {
        "name": "own-mixed",
        "entrypoint": "own_mixed",
        "base": {"layers": 2, "optimizer": {"name": "sgd"}},
        "arms": [{**arm, **({"space": space} if "space" in arm else {})} for arm in arms("tpe")],
        "claim": {"text": "Better.", "challenger": "model", "incumbent": "random", "metric": "loss"},
    }
    (tmp_path / "own.json").write_text(json.dumps(study))
    home = tmp_path / "home"
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    env = {**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "2", "PYTHONPATH": path}

    def orch(*words: str) -> str:
        command = [sys.executable, "-m", "orchestrator.cli", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        made = json.loads(orch("study", "create", "own.json", "--json"))
        assert (made["status"], made["ended"]) == ("completed", 18)
        best = next(arm for arm in made["arms"] if arm["arm"] == "random")["best_point"]
        assert [type(best[path]) for path in ("layers", "optimizer.name")] == [int, str]
        assert json.loads(orch("study", "verdict", "own-mixed", "--json"))
        told = json.loads(orch("trial", "show", "own-mixed.random.0.0", "--json"))
        assert type(told["point"]["layers"]) is int
    finally:
        daemon.stop(home)
