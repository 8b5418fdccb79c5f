"""How does a study leave the ledger? As JSON, as CSV, or as an Optuna storage that its dashboard opens."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from orchestrator.ground.errors import BadSpec
from orchestrator.ledger import Ledger
from orchestrator.ledger.codec import finite
from orchestrator.ledger.records import StudyRow, TrialRow, TrialState
from orchestrator.search.bayes import quiet, worst
from orchestrator.study.space import Value
from orchestrator.study.spec import Arm, Parameter, StudySpec
from trainer.protocol import COUNTS, SECONDS

if TYPE_CHECKING:
    import optuna

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for a formula
OPTUNA_TABLES = {"studies", "trials", "version_info"}


def to_json(ledger: Ledger, study: str) -> dict[str, Any]:
    """The study, its spec, and its trials with their attempts: plain JSON values."""
    row = ledger.study(study)
    described = finite(vars(row))
    return {
        "spec": described.pop("spec"),
        "study": described,
        "trials": [
            {
                **finite(vars(trial)),
                "attempts": finite([vars(each) for each in ledger.attempts(trial.trial_id)]),
            }
            for trial in ledger.trials(row.study_id)
        ],
    }


def to_csv(ledger: Ledger, study: str, file: TextIO) -> None:
    """One row a trial. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    trials = ledger.trials(ledger.study(study).study_id)
    paths = sorted({path for trial in trials for path in trial.point})
    clocks = _clocks(trials)
    table = csv.writer(file, lineterminator="\n")
    table.writerow(
        ["trial_id", "arm", "replicate", "index", "state", "value", *paths]
        + [f"charged.{clock}" for clock in clocks]
        + [f"productive.{clock}" for clock in clocks]
        + ["attempts", "losses", "failures", "reason"]
    )
    for t in trials:
        cells = [t.trial_id, t.arm, t.replicate, t.index, t.state.value, t.value]
        cells += [t.point.get(path) for path in paths]
        cells += [costs.get(clock) for costs in (t.charged, t.productive) for clock in clocks]
        table.writerow([_cell(value) for value in (*cells, t.attempts, t.losses, t.failures, t.reason)])


def to_optuna(ledger: Ledger, study: str, url: str) -> None:
    """Write `<study>/<arm>/<replicate>` studies into the Optuna storage at `sqlite:///path/to/file`.

    States: completed is COMPLETE. Diverged is COMPLETE with the worst value of its arm and replicate, as
    the search was told, and user attribute `diverged`; FAIL when no finite value exists. Stopped is
    PRUNED once it has run, else FAIL. Waiting and running trials are written as such.
    """
    row = ledger.study(study)
    spec = StudySpec.stored(row.spec)
    trials = {
        key: list(group)
        for key, group in groupby(ledger.trials(row.study_id), lambda t: (t.arm, t.replicate))
    }
    places = [(arm, replicate) for arm in spec.arms for replicate in range(spec.replicates_of(arm))]
    path = _storage_path(url)
    with quiet():
        import optuna

        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        try:
            names = {(arm.name, replicate): f"{row.name}/{arm.name}/{replicate}" for arm, replicate in places}
            taken = set(optuna.get_all_study_names(storage)) & set(names.values())
            if taken:
                raise BadSpec(
                    f"The Optuna storage {path} already holds a study named {min(taken)!r}, and nothing is "
                    f"overwritten. Export to another file."
                )
            for arm, replicate in places:
                exported = optuna.create_study(
                    storage=storage, study_name=names[arm.name, replicate], direction=spec.objective.goal
                )
                for name, value in _described(row, spec, arm, replicate).items():
                    exported.set_user_attr(name, value)
                exported.add_trials(
                    _frozen_trials(
                        ledger, arm, trials.get((arm.name, replicate), []), goal=spec.objective.goal
                    )
                )
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _storage_path(url: str) -> Path:
    """The file of a SQLite URL; BadSpec for anything that an Optuna storage cannot be written to."""
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or "?" in url or path.name == "":
        raise BadSpec(
            f"An Optuna storage cannot be written to {url!r}. Give a SQLite file: sqlite:///path/to/file."
        )
    if not path.parent.is_dir():
        raise BadSpec(
            f"An Optuna storage cannot be written to {path}: there is no folder {path.parent}. Make it first."
        )
    if path.exists() and not _holds_optuna(path):
        raise BadSpec(
            f"{path} is not an Optuna storage, and nothing is written into another program's file. "
            f"Export to another file."
        )
    return path


def _holds_optuna(path: Path) -> bool:
    """An empty file or database counts: Optuna may fill it. A ledger has tables of its own."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = {
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
    except sqlite3.Error:
        return False
    return not tables or tables >= OPTUNA_TABLES


def _described(study: StudyRow, spec: StudySpec, arm: Arm, replicate: int) -> dict[str, Any]:
    """User attributes of an exported study. Optuna has no logit scale: such a range is linear there."""
    return {
        "study_id": study.study_id,
        "spec_hash": study.spec_hash,
        "arm": arm.name,
        "replicate": replicate,
        "method": arm.method,
        "metric": spec.objective.metric,
        "logit": [p.path for p in arm.space if p.scale == "logit"],
    }


def _frozen_trials(
    ledger: Ledger, arm: Arm, trials: Sequence[TrialRow], *, goal: str
) -> list[optuna.trial.FrozenTrial]:
    """The trials of one arm and replicate as Optuna writes them, by index."""
    import optuna

    bad = worst((t.value for t in trials if t.state is TrialState.COMPLETED), minimize=goal == "minimize")

    def frozen(t: TrialRow) -> optuna.trial.FrozenTrial:
        state, value = _state_and_value(t, bad)
        # Trial 0 of an arm that follows another may lie outside the space; Optuna refuses such a value.
        inside = [p for p in arm.space if p.path in t.point and p.takes(t.point[p.path])]
        attempts = ledger.attempts(t.trial_id)
        begun = attempts[0].started_at if attempts else t.created_at
        return optuna.trial.FrozenTrial(
            number=-1,  # given by the storage, as is trial_id
            trial_id=-1,
            state=state,
            value=value,
            # naive local times, as Optuna's own
            datetime_start=None if t.state is TrialState.WAITING else datetime.fromtimestamp(begun),
            datetime_complete=datetime.fromtimestamp(t.ended_at or begun) if state.is_finished() else None,
            params={p.path: _told(p, t.point[p.path]) for p in inside},
            distributions={p.path: _distribution(p) for p in inside},
            user_attrs=_noted(t, [p.path for p in inside]),
            system_attrs={},
            intermediate_values={},
        )

    return [frozen(t) for t in trials]


def _noted(t: TrialRow, inside: Collection[str]) -> dict[str, Any]:
    """User attributes of an exported trial, only those that say something: each costs Optuna 3 ms."""
    notes: dict[str, Any] = {"trial_id": t.trial_id}
    if t.state is TrialState.DIVERGED:
        notes["diverged"] = True
    if t.charged:
        notes["charged"] = finite(t.charged)
    if t.reason:
        notes["reason"] = t.reason
    return notes | {f"outside.{path}": value for path, value in t.point.items() if path not in inside}


def _state_and_value(t: TrialRow, bad: float | None) -> tuple[optuna.trial.TrialState, float | None]:
    """Optuna wants a value with COMPLETE, none with FAIL, and takes either with PRUNED."""
    from optuna.trial import TrialState as Theirs

    finite = t.value if t.value is not None and math.isfinite(t.value) else None
    match t.state:
        case TrialState.COMPLETED if finite is not None:
            return Theirs.COMPLETE, finite
        case TrialState.DIVERGED if bad is not None:
            return Theirs.COMPLETE, bad
        case TrialState.STOPPED if t.attempts:
            return Theirs.PRUNED, finite
        case TrialState.WAITING:
            return Theirs.WAITING, None
        case TrialState.RUNNING:
            return Theirs.RUNNING, None
        case _:
            return Theirs.FAIL, None


def _told(parameter: Parameter, value: Value) -> Value:
    """The value itself; a choice as JSON text where two of its list are equal for Python, as 1 and true."""
    if len(set(parameter.choices)) == len(parameter.choices):
        return value
    return json.dumps(value)


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.values:
        return CategoricalDistribution(tuple(parameter.listed))
    if parameter.choices:
        return CategoricalDistribution([_told(parameter, choice) for choice in parameter.choices])
    if parameter.type == "int":
        low, high = map(int, parameter.bounds)
        return IntDistribution(low, high, log=parameter.scale == "log", step=parameter.step)
    return FloatDistribution(*parameter.bounds, log=parameter.scale == "log")


def _clocks(trials: Iterable[TrialRow]) -> list[str]:
    """The names of all costs: the protocol's first, in its order."""
    known = [*SECONDS, *COUNTS]
    met = {clock for t in trials for clock in (*t.charged, *t.productive)}
    return known + sorted(met - set(known))


def _cell(value: object) -> object:
    """Numbers go out as they are, also negative ones, and booleans as in JSON; a text is never left to be a
    formula."""
    if isinstance(value, bool):
        return json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
