"""Are a study's trials listed at a terminal, under names that can be typed, and is a wrong name put right?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import output
from orchestrator.ledger import Store
from tests.faults.world import created, small_study, world
from tests.orchestrator.conftest import Orch


@pytest.fixture
def ended(ledger: Callable[[], Store], home: Path, tmp_path: Path) -> Store:
    """A study that has ended, in the ledger of this home."""
    home.mkdir()
    store = ledger()
    there = world(tmp_path / "runs", store=store)
    study = created(there, small_study())
    there.drive(there.engine(), study.study_id)
    store.release()
    return store


def test_a_study_s_trials_are_a_table_with_seeds_and_values(orch: Orch, ended: Store) -> None:
    said = orch("trial", "list", "small")
    assert said.code == 0
    header, *lines = said.out.splitlines()
    assert header.split() == ["trial", "state", "seed", "value", "run", "time"]
    trials = ended.trials("s1")
    assert len(lines) == len(trials) == 8
    for line, trial in zip(lines, trials, strict=True):
        name, state, seed, value, *run_time = line.split()
        assert name == f"small.{trial.arm}.{trial.replicate}.{trial.index}"
        assert (state, seed) == (trial.state, str(trial.config["seed"]))
        assert float(value) == pytest.approx(trial.value, rel=1e-4)
        assert run_time != []
        assert orch("trial", "show", name).code == 0


def test_one_arm_s_trials_are_listed_and_as_json(orch: Orch, ended: Store) -> None:
    found = orch("trial", "list", "small", "--arm", "grid", "--json").json["trials"]
    assert [each["trial"] for each in found] == ["small.grid.0.0", "small.grid.0.1"]
    assert [each["seed"] for each in found] == [t.config["seed"] for t in ended.trials("s1", arm="grid")]
    assert [each["value"] for each in found] == [t.value for t in ended.trials("s1", arm="grid")]
    assert "config" not in found[0]


def test_trials_in_one_state_are_listed(orch: Orch, ended: Store) -> None:
    found = orch("trial", "list", "small", "--state", "completed", "--arm", "grid", "--json").json["trials"]
    assert [each["trial"] for each in found] == ["small.grid.0.0", "small.grid.0.1"]
    said = orch("trial", "list", "small", "--state", "failed", "--arm", "grid")
    assert (said.code, said.out, said.err) == (0, "", "small has no failed trials in grid.\n")
    said = orch("trial", "list", "small", "--state", "broken")
    assert said.code == output.USAGE
    assert "'broken' is not one of 'waiting', 'running', 'completed'" in said.err


def test_a_study_without_trials_says_so(orch: Orch, spec: str) -> None:
    orch("study", "create", spec, "--no-run")
    said = orch("trial", "list", "small")
    assert (said.code, said.out, said.err) == (0, "", "small has no trials yet.\n")
    assert orch("trial", "list", "small", "--json").json == {"trials": []}
    said = orch("trial", "show", "small.base.0.0")
    assert said.err == "orch: small has no trial 'base.0.0'. To see all: orch trial list small\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("list", "small", "--arm", "rendom"), "small has no arm 'rendom'. Did you mean 'random', '"),
        (("show", "small.gird.0.0"), "small has no arm 'gird'. Did you mean 'grid', '"),
        (
            ("show", "small.random.0.9"),
            "small has no trial 'random.0.9'. Did you mean 'small.random.0.2', 'small.random.0.1' or "
            "'small.random.0.0'? To see all: orch trial list small\n",
        ),
        (
            ("logs", "small.base.x"),
            "small has no trial 'base.x'. Did you mean 'small.base.0.0'? To see all: ",
        ),
        (("show", f"small.base.{'9' * 5000}.0"), "small has no trial 'base.999"),
        (("list", "smal"), "There is no study 'smal'."),
    ],
    ids=["arm", "arm of a trial", "index", "no numbers", "many digits", "study"],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    orch: Orch, ended: Store, words: tuple[str, ...], sentence: str
) -> None:
    said = orch("trial", *words)
    assert said.code == output.NOT_FOUND
    assert said.err.startswith(f"orch: {sentence}")
    assert len(said.err) < 400
