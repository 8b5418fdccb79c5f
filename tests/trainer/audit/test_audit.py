"""Does an audit say what it found and leave its run as it was? On the embedded corpus, very small."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from trainer import audit, run
from trainer.audit import __main__ as at_a_terminal
from trainer.audit.config import read
from trainer.config import TrainConfig
from trainer.protocol import Outcome, Place, Reply, Report

pytestmark = pytest.mark.usefixtures("optimized")

STEPS = 24
RUN: dict[str, Any] = {
    "seed": 3,
    "steps": STEPS,
    "eval_every_steps": 8,
    "checkpoint_every_steps": 8,
    "data": {"pairs": 600, "level": "phrases"},
    "model": {"size": "tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "optimizer": {"name": "sgd"},  # its tangents compile in half the time of the others'
    "schedule": {"warmup_steps": 2},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 0},
}
AUDITED = {**RUN, "audit": {"at": 3, "spans": [1, 10], "step": 0.05}}  # at 4, 12 and 20, four steps a chunk


@dataclass
class Told:
    """A reporter that asks to save and stop at a step."""

    stop_at: int | None = None
    reports: list[Report] = field(default_factory=list)

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        return Reply.SAVE_AND_STOP if report.step == self.stop_at and report.kind == "eval" else Reply.GO

    def of(self, step: int) -> dict[str, float]:
        """What was said of the fork there."""
        (said,) = [r.values for r in self.reports if r.step == step and any("audit" in n for n in r.values)]
        return dict(said)


@dataclass(frozen=True)
class Made:
    folder: Path
    outcome: Outcome
    told: Told

    @property
    def forks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "audit.json").read_text())["forks"]
        return found

    @property
    def losses(self) -> np.ndarray:
        with np.load(self.folder / "trajectory.npz") as file:
            return np.asarray(file["loss"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all runs, as in a warm worker."""
    before = jax.config.jax_compilation_cache_dir
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_HOME", str(folder))
        yield folder
    jax.config.update("jax_compilation_cache_dir", before)


def made(entrypoint: Any, config: Mapping[str, Any], folder: Path, stop_at: int | None = None) -> Made:
    folder.mkdir(exist_ok=True)
    told = Told(stop_at)
    return Made(folder, entrypoint.run(config, told, folder, Place()), told)


@pytest.fixture(scope="module")
def whole(home: Path) -> Made:
    return made(audit, AUDITED, home / "whole")


def test_the_run_is_the_plain_one_bit_for_bit(home: Path, whole: Made) -> None:
    plain = made(run, RUN, home / "plain")
    assert np.array_equal(whole.losses, plain.losses)
    assert whole.outcome.values["dev_loss"] == plain.outcome.values["dev_loss"]


def test_each_fork_says_the_truth_beside_what_the_estimators_say(whole: Made) -> None:
    assert [(f["step"], f["hyper"]) for f in whole.forks] == [
        (step, hyper) for step in (4, 12, 20) for hyper in ("alpha", "beta1")
    ]
    said = whole.told.of(12)
    for name in ("alpha", "beta1"):
        both = {f"audit/{name}/k{span}{of}" for span in (1, 10) for of in ("", "/loss", "/guidance")}
        assert {each for each in said if each.startswith(f"audit/{name}/k")} == both
        # In float32, over the same batch: what is left is rounding of the loss over 2 · 0.05.
        greedy = said[f"audit/{name}/held-out"]
        assert said[f"audit/{name}/k1/guidance"] == pytest.approx(greedy, rel=0.05, abs=2e-5)
        assert {f"audit/{name}/{other}" for other in ("next-batch", "discounted")} <= said.keys()
    assert all(math.isfinite(value) for value in said.values())
    assert [r["span"] for r in whole.forks[-1]["responses"]] == [1]  # ten more would end after the run


def test_forks_are_charged(whole: Made) -> None:
    rollouts = 4 * (10 + 10 + 1)
    assert whole.outcome.clocks["steps"] == STEPS + rollouts
    assert json.loads((whole.folder / "audit.json").read_text())["cost"] == whole.outcome.clocks
    assert "audit.json" in whole.outcome.files


def test_a_run_that_was_stopped_goes_on_and_keeps_its_forks(home: Path, whole: Made) -> None:
    first = made(audit, AUDITED, home / "first", stop_at=8)
    assert first.outcome.status == "stopped"
    assert {f["step"] for f in first.forks} == {4}
    again = home / "again"
    again.mkdir()
    (again / "resume.json").write_text(json.dumps({"checkpoint": first.outcome.checkpoint}))
    second = made(audit, AUDITED, again)
    assert second.forks == whole.forks
    assert np.array_equal(second.losses, whole.losses)
    assert {r.step for r in second.told.reports if any("audit" in n for n in r.values)} == {12, 20}


def steps_of(**changes: Any) -> tuple[tuple[int, ...], int]:
    section, rest = read({**RUN, "audit": changes.pop("audit", {}), **changes})
    config = TrainConfig.from_dict(rest)
    return section.steps_of(config), section.chunk_of(config)


def test_forks_lie_in_the_middle_of_equal_parts_and_end_chunks() -> None:
    sizes = {"steps": 240, "eval_every_steps": 60, "checkpoint_every_steps": 60}
    assert steps_of(**sizes) == (tuple(range(15, 240, 30)), 15)
    longer = {"steps": 1200, "eval_every_steps": 300, "checkpoint_every_steps": 300}
    steps, chunk = steps_of(**longer)
    assert (steps, chunk) == (tuple(range(50, 1200, 150)), 50)  # the middles, 75 and so on, moved down
    assert steps_of(**longer, audit={"at": [12, 300]}) == ((12, 300), 12)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"audit": {"at": [5, 3]}},
            "audit.at is [5, 3]. Allowed is a list of whole numbers of at least 1 that rise, or a whole "
            "number of at least 1: how many.",
        ),
        (
            {"audit": {"spans": "long"}},
            "audit.spans is 'long'. Allowed is a list of whole numbers of at least 1 that rise.",
        ),
        (
            {"audit": {"size": 1}},
            "Unknown key 'audit.size'. Allowed: step, learn, at, spans.",
        ),
        (
            {"audit": {"at": [4, 24]}},
            "The shortest of audit.spans is 1, the last fork is at step 24 and steps is 24. Allowed are "
            "forks that end within the run. Fork earlier and for fewer steps, or train longer.",
        ),
        (
            {"audit": {"spans": [30]}},
            "The shortest of audit.spans is 30, the first fork is at step 1 and steps is 24. Allowed are "
            "forks that end within the run. Fork earlier and for fewer steps, or train longer.",
        ),
        (
            {"audit": {"at": 13}},
            "audit.at is 13 and steps is 24. Allowed is at most one fork in two steps. Lower it.",
        ),
        (
            {"guidance": {"estimator": "lagged", "learn": ["alpha"]}},
            "guidance.estimator is 'lagged'. An audit is of an unguided run, on which the estimators look "
            "on. Set it to 'off'; audit.learn names what is moved.",
        ),
        (
            {"audit": {"learn": ["decay_rate"]}},
            "guidance.learn holds decay_rate, which sgd does not have. "
            "Allowed: alpha, beta1, weight_decay, label_smoothing.",
        ),
        (
            {"schedule": {**RUN["schedule"], "course": {"alpha": {"end": 0.5}}}},
            "schedule.course gives alpha a course of its own, which nothing can move. Leave it out, or name "
            "other hyperparameters in audit.learn.",
        ),
        (
            {"score": {"test": True}},
            "score.test is true. An audit does not open the test split. Leave it out.",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert audit.check({**AUDITED, **changes}) == [sentence]


def test_programs_are_told_apart_from_a_plain_runs_by_their_shape() -> None:
    assert audit.check(AUDITED) == []
    key = audit.shape_key(AUDITED)
    assert key == audit.shape_key({**AUDITED, "seed": 9, "optimizer": {"name": "sgd", "alpha": 2.0}})
    assert key != run.shape_key(RUN)


def test_a_file_that_is_no_config_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("[]")
    assert at_a_terminal.main([str(tmp_path / "config.json")]) == 2
    assert capsys.readouterr().err == (
        f"orch: {tmp_path / 'config.json'} cannot be read (it holds no JSON object). "
        f"Name a JSON file with a config.\n"
    )
