"""Does everything that a study holds come out of it, readable by others?"""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime

import optuna
import pytest

from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.ledger import Ending
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import (
    AttemptRow,
    AttemptState,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    trial_id,
)
from orchestrator.readings.exports import to_csv, to_json, to_optuna
from orchestrator.study.canonical import spec_hash
from orchestrator.study.spec import Arm, Objective, Parameter, StudySpec

THEIRS = optuna.trial.TrialState

SPACE = (
    Parameter(path="optimizer.alpha", low=0.01, high=10, scale="log"),
    Parameter(path="optimizer.beta1", low=0.1, high=0.9, scale="logit"),
    Parameter(path="dropout", low=0, high=1),
)
GRID = (Parameter(path="dropout", values=(0.0, 0.1, 0.5)),)
POINT = {"optimizer.alpha": 0.5, "optimizer.beta1": 0.9, "dropout": 0.25}
CLOCKS = {"train_s": 10.0, "eval_s": 1.5, "steps": 400.0}
SPEC = StudySpec(
    name="small",
    entrypoint="orchestrator.rehearsal",
    arms=(
        Arm(name="base", method="fixed", replicates=1),
        Arm(name="bo", method="gp", space=SPACE, trials=7),
        Arm(name="grid", method="grid", space=GRID, trials=3, replicates=1),
    ),
    replicates=2,
)


@dataclass
class Written:
    """A study in a real memory ledger, written as an engine would."""

    spec: StudySpec = SPEC
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def __post_init__(self) -> None:
        self.epoch = self.ledger.lead("test") or 0
        self.ledger.create_study(
            StudyRow(
                "s1",
                self.spec.name,
                self.spec.model_dump(mode="json"),
                spec_hash(self.spec),
                StudyState.RUNNING,
                5,
            )
        )

    def trial(self, arm: str, index: int, point=None, *, replicate: int = 0) -> str:
        name = trial_id("s1", arm, replicate, index)
        config = {"depth": 2, "seed": replicate}
        self.ledger.add_trial(
            self.epoch,
            TrialRow(name, "s1", arm, replicate, index, point or {}, config, TrialState.WAITING, 100 + index),
        )
        return name

    def start(self, name: str, number: int = 1) -> None:
        self.ledger.start_attempt(self.epoch, AttemptRow(name, number, AttemptState.LAUNCHING, 200 + number))

    def end(self, name: str, state: str, number: int = 1, **ending) -> None:
        self.start(name, number)
        ending.setdefault("charged", CLOCKS)
        ending.setdefault("productive", {"train_s": 9.0})
        after = Ending(AttemptState(state), TrialState(ending.pop("then", state)), at=300 + number, **ending)
        self.ledger.end_attempt(self.epoch, name, number, after)


@pytest.fixture
def written() -> Written:
    study = Written()
    study.end(study.trial("base", 0), "completed", value=0.75)
    study.end(study.trial("bo", 0, POINT), "completed", value=0.5, values={"bleu": 30.5})
    study.end(study.trial("bo", 1, POINT | {"dropout": 1.0}), "completed", value=2.0)
    diverged = study.trial("bo", 2, POINT | {"optimizer.alpha": 10.0})
    study.end(diverged, "diverged", values={"loss": 0.1}, reason="the loss became NaN at step 7")
    failed = study.trial("bo", 3, POINT)
    study.end(failed, "lost", then=TrialState.WAITING, reason="the worker died")
    study.end(failed, "failed", 2, reason='=cmd|"/c calc"!A1')
    study.end(study.trial("bo", 4, POINT), "stopped", value=0.6)
    unborn = study.trial("bo", 5, POINT)
    study.ledger.move_trial(
        study.epoch, unborn, TrialState.WAITING, TrialState.STOPPED, at=350, reason="cancelled"
    )
    study.start(study.trial("bo", 6, POINT))
    study.end(study.trial("bo", 0, POINT, replicate=1), "diverged")
    study.trial("grid", 0, {"dropout": 0.1})
    return study


# -- JSON -----------------------------------------------------------------------------------------


def test_json_holds_the_study_its_spec_and_every_trial_with_its_attempts(written):
    found = to_json(written.ledger, "small")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["study"] == {
        "study_id": "s1",
        "name": "small",
        "spec_hash": spec_hash(SPEC),
        "state": "running",
        "created_at": 5,
        "reason": "",
        "extra_trials": {},
        "learns": None,
        "waits": "",
    }
    assert StudySpec.model_validate(found["spec"]) == SPEC
    assert [t["trial_id"] for t in found["trials"]] == [
        "s1.base.0.0",
        *(f"s1.bo.0.{i}" for i in range(7)),
        "s1.bo.1.0",
        "s1.grid.0.0",
    ]
    failed = found["trials"][4]
    assert (failed["state"], failed["point"], failed["config"]) == ("failed", POINT, {"depth": 2, "seed": 0})
    assert [(a["number"], a["state"], a["reason"]) for a in failed["attempts"]] == [
        (1, "lost", "the worker died"),
        (2, "failed", '=cmd|"/c calc"!A1'),
    ]


def test_json_has_null_where_json_has_no_number():
    study = Written()
    study.end(study.trial("base", 0), "diverged", values={"loss": math.nan, "bleu": math.inf, "steps": 3.0})
    assert to_json(study.ledger, "s1")["trials"][0]["values"] == {"loss": None, "bleu": None, "steps": 3.0}


# -- CSV ------------------------------------------------------------------------------------------


def rows(ledger, study="small") -> list[dict[str, str]]:
    file = io.StringIO(newline="")
    to_csv(ledger, study, file)
    return list(csv.DictReader(io.StringIO(file.getvalue(), newline=""), strict=True))


def test_csv_has_one_row_a_trial_with_its_point_and_costs(written):
    found = rows(written.ledger)
    assert len(found) == 10
    assert {name: found[1][name] for name in found[1] if found[1][name] != ""} == {
        "trial_id": "s1.bo.0.0",
        "arm": "bo",
        "replicate": "0",
        "index": "0",
        "state": "completed",
        "value": "0.5",
        "dropout": "0.25",
        "optimizer.alpha": "0.5",
        "optimizer.beta1": "0.9",
        "charged.train_s": "10.0",
        "charged.eval_s": "1.5",
        "charged.steps": "400.0",
        "productive.train_s": "9.0",
        "attempts": "1",
        "losses": "0",
        "failures": "0",
    }
    assert (found[0]["dropout"], found[9]["dropout"], found[9]["optimizer.alpha"]) == ("", "0.1", "")
    assert (found[4]["attempts"], found[3]["value"]) == ("2", "")


def test_csv_of_a_study_without_trials_is_its_header():
    assert rows(Written().ledger) == []


@pytest.mark.fault(26)
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_is_escaped(start):
    study = Written()
    study.end(study.trial("base", 0), "failed", reason=f'{start}HYPERLINK("http://x"),\n1')
    assert rows(study.ledger)[0]["reason"] == f'\'{start}HYPERLINK("http://x"),\n1'


def test_negative_numbers_and_harmless_texts_are_left_as_they_are():
    study = Written()
    study.end(study.trial("base", 0, {"x": -1.5e-7}), "completed", value=-2.0, reason="3 = 3, <script>")
    row = rows(study.ledger)[0]
    assert (row["x"], row["value"], row["reason"]) == ("-1.5e-07", "-2.0", "3 = 3, <script>")


# -- Optuna ---------------------------------------------------------------------------------------


@dataclass
class Storage:
    url: str

    def __getitem__(self, name: str) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.opened)

    def __enter__(self) -> Storage:
        self.opened = optuna.storages.RDBStorage(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.remove_session()
        self.opened.engine.dispose()


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def test_an_optuna_storage_holds_a_study_for_each_arm_and_replicate(written, url):
    to_optuna(written.ledger, "small", url)
    with Storage(url) as storage:
        assert sorted(optuna.get_all_study_names(storage.opened)) == [
            "small/base/0",
            "small/bo/0",
            "small/bo/1",
            "small/grid/0",
        ]
        study = storage["small/bo/0"]
        assert study.direction == optuna.study.StudyDirection.MINIMIZE
        assert study.user_attrs == {
            "study_id": "s1",
            "spec_hash": spec_hash(SPEC),
            "arm": "bo",
            "replicate": 0,
            "method": "gp",
            "metric": "loss",
            "logit": ["optimizer.beta1"],
        }
        assert (study.best_value, study.best_params) == (0.5, POINT)


def test_states_and_values_are_those_that_optuna_means_by_them(written, url):
    to_optuna(written.ledger, "small", url)
    with Storage(url) as storage:
        trials = storage["small/bo/0"].trials
        assert [(t.state, t.value) for t in trials] == [
            (THEIRS.COMPLETE, 0.5),
            (THEIRS.COMPLETE, 2.0),
            (THEIRS.COMPLETE, 2.0),  # diverged: the worst value
            (THEIRS.FAIL, None),
            (THEIRS.PRUNED, 0.6),  # stopped while it ran
            (THEIRS.FAIL, None),  # stopped before it ran
            (THEIRS.RUNNING, None),
        ]
        assert [t.user_attrs["trial_id"] for t in trials] == [f"s1.bo.0.{i}" for i in range(7)]
        assert [t.number for t in trials if t.user_attrs.get("diverged")] == [2]
        assert trials[0].user_attrs == {"trial_id": "s1.bo.0.0", "charged": CLOCKS}
        assert trials[2].user_attrs["reason"] == "the loss became NaN at step 7"
        # nothing finite to tell a lone diverged trial by
        assert [t.state for t in storage["small/bo/1"].trials] == [THEIRS.FAIL]
        assert [t.state for t in storage["small/grid/0"].trials] == [THEIRS.WAITING]


def test_the_worst_value_of_a_maximized_metric_is_the_smallest(url):
    study = Written(SPEC.model_copy(update={"objective": Objective(metric="bleu", goal="maximize")}))
    for index, value in enumerate((3.0, -1.0)):
        study.end(study.trial("bo", index, POINT), "completed", value=value)
    study.end(study.trial("bo", 2, POINT), "diverged")
    to_optuna(study.ledger, "s1", url)
    with Storage(url) as storage:
        assert storage["small/bo/0"].direction == optuna.study.StudyDirection.MAXIMIZE
        assert [t.value for t in storage["small/bo/0"].trials] == [3.0, -1.0, -1.0]


def test_points_come_with_their_distributions_and_times(written, url):
    to_optuna(written.ledger, "small", url)
    with Storage(url) as storage:
        trial = storage["small/bo/0"].trials[3]
        assert trial.params == POINT
        assert trial.distributions == {
            "optimizer.alpha": optuna.distributions.FloatDistribution(0.01, 10, log=True),
            "optimizer.beta1": optuna.distributions.FloatDistribution(0.1, 0.9),
            "dropout": optuna.distributions.FloatDistribution(0, 1),
        }
        # from the first attempt's start to the trial's end
        assert trial.datetime_start == datetime.fromtimestamp(201)
        assert trial.datetime_complete == datetime.fromtimestamp(302)
        grid = storage["small/grid/0"].trials[0]
        assert grid.distributions == {
            "dropout": optuna.distributions.CategoricalDistribution((0.0, 0.1, 0.5))
        }
        assert grid.params == {"dropout": 0.1}


def test_a_value_outside_the_space_is_kept_as_an_attribute(url):
    study = Written()
    study.end(study.trial("bo", 0, POINT | {"dropout": 1.5, "optimizer.alpha": 0.0}), "completed", value=1.0)
    to_optuna(study.ledger, "small", url)
    with Storage(url) as storage:
        trial = storage["small/bo/0"].trials[0]
        assert set(trial.params) == {"optimizer.beta1"}
        assert (trial.user_attrs["outside.dropout"], trial.user_attrs["outside.optimizer.alpha"]) == (1.5, 0)


def test_an_exported_study_is_never_overwritten(written, url, tmp_path):
    to_optuna(written.ledger, "small", url)
    before = (tmp_path / "optuna.db").read_bytes()
    with pytest.raises(BadSpec) as refused:
        to_optuna(written.ledger, "small", url)
    assert str(refused.value) == (
        f"The Optuna storage {tmp_path}/optuna.db already holds a study named 'small/base/0', and nothing is "
        f"overwritten. Export to another file."
    )
    assert (tmp_path / "optuna.db").read_bytes() == before


def test_two_studies_share_a_storage(written, url):
    other = Written(SPEC.model_copy(update={"name": "other"}))
    to_optuna(written.ledger, "small", url)
    to_optuna(other.ledger, "other", url)
    with Storage(url) as storage:
        assert len(optuna.get_all_study_names(storage.opened)) == 8


def test_a_file_of_another_program_is_left_alone(written, url, tmp_path):
    path = tmp_path / "optuna.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE trials (trial_id TEXT)")
    database.close()
    for content in (path.read_bytes(), b"a text"):
        path.write_bytes(content)
        with pytest.raises(BadSpec) as refused:
            to_optuna(written.ledger, "small", url)
        assert str(refused.value) == (
            f"{path} is not an Optuna storage, and nothing is written into another program's file. "
            f"Export to another file."
        )
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["optuna.db", "postgresql://host/name", "sqlite:///", "sqlite:///a.db?mode=ro"]
)
def test_only_a_sqlite_file_is_taken(written, url):
    with pytest.raises(BadSpec) as refused:
        to_optuna(written.ledger, "small", url)
    assert str(refused.value) == (
        f"An Optuna storage cannot be written to '{url}'. Give a SQLite file: sqlite:///path/to/file."
    )


def test_a_missing_folder_is_named(written, tmp_path):
    with pytest.raises(BadSpec) as refused:
        to_optuna(written.ledger, "small", f"sqlite:///{tmp_path}/none/optuna.db")
    assert str(refused.value) == (
        f"An Optuna storage cannot be written to {tmp_path}/none/optuna.db: there is no folder "
        f"{tmp_path}/none. Make it first."
    )


def test_exporting_says_nothing_and_puts_the_log_level_back(written, url, capfd):
    before = optuna.logging.get_verbosity()
    to_optuna(written.ledger, "small", url)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


# -- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("export", [to_json, to_csv, to_optuna])
def test_an_unknown_study_is_not_found(written, export, url):
    further = {to_json: (), to_csv: (io.StringIO(),), to_optuna: (url,)}[export]
    with pytest.raises(NotFound):
        export(written.ledger, "smal", *further)


def test_a_study_goes_by_its_name_or_its_id(written):
    assert to_json(written.ledger, "s1") == to_json(written.ledger, "small")


def test_importing_the_exports_loads_no_heavy_library():
    heavy = {"optuna", "torch", "scipy", "sqlalchemy"}
    code = f"import sys, orchestrator.readings.exports; print({heavy} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "set()\n"
