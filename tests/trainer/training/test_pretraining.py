"""Does a whole run on unlabelled text keep what a run promises? On a text that repeats itself, very small."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.trainer.data.streams import Parts
from tests.trainer.data.test_foreign_vocabulary import WORDS, trained
from tests.trainer.training.test_assembly import Told, same
from trainer import run
from trainer.audit import run as audited
from trainer.data import text_tokens
from trainer.data.contract import DataError
from trainer.data.streams import Text
from trainer.data.vocabulary import END, Given
from trainer.protocol import PARAMS, Outcome, Place, Reply, Report

STEPS = 24
GUIDED = {"estimator": "held-out", "learn": ["alpha"], "eta": 0.05}
BASE: dict[str, Any] = {
    "seed": 3,
    "steps": STEPS,
    "eval_every_steps": 8,
    "checkpoint_every_steps": 8,
    "data": {"source": "tfds:own", "source_tokens": 24, "sentinels": 20},
    "objective": {"name": "random-spans"},
    "model": {"size": "t5-tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "optimizer": {"name": "adafactor"},
    "schedule": {"warmup_steps": 2},
    "batch": {"sentences": 8},
}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs on one text, as in a warm worker."""
    home = tmp_path_factory.mktemp("home")
    spiece = trained(home / "spiece.model", 36)
    opened: list[str] = []

    def split(vocabulary: Any, documents: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        some = [" ".join(WORDS[i % 7 :: 1 + i % 3]) for i in rng.integers(0, 400, documents)]
        return np.array([i for ids in vocabulary.encode(some) for i in (*ids, END)], np.int32)

    def open_text(data: Any, *, home: Path, guide_tokens: int, given: Given | None) -> Text:
        words = Given(spiece, 0, data.sentinels).open()

        def test(why: str) -> Parts:
            opened.append(why)
            return Parts(split(words, 20, 4))

        parts = split(words, 60, 1), split(words, 40, 2)
        guide = split(words, 1 + guide_tokens // 2, 3)
        return Text("own", "own", words, Parts(*parts), Parts(guide), Parts(split(words, 20, 5)), test, {})

    def once(
        folder: Path, changes: Mapping[str, Any], told: Told | None = None, how: Any = run.run
    ) -> Outcome:
        folder.mkdir(exist_ok=True)
        config = {**BASE, **changes}
        config["data"] = {**BASE["data"], "path": str(home), **changes.get("data", {})}
        assert run.check({k: v for k, v in config.items() if k != "audit"}) == []
        outcome: Outcome = how(config, told or Told(), folder, Place())
        return outcome

    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_HOME", str(home))
        patch.setattr(text_tokens, "open_text", open_text)
        once.opened = opened  # type: ignore[attr-defined]
        yield once
    jax.config.update("jax_compilation_cache_dir", before)


Train = Callable[..., Outcome]


@pytest.fixture(scope="module")
def guided(train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Told]:
    folder, told = tmp_path_factory.mktemp("guided"), Told()
    return folder, train(folder, {"guidance": GUIDED}, told), told


def losses(told: Told) -> dict[int, float]:
    return {r.step: r.values["train_loss"] for r in told.reports if r.kind == "train"}


def test_a_run_ends_with_its_dev_loss_its_parameters_and_how_often_the_text_was_read(
    guided: tuple[Path, Outcome, Told],
) -> None:
    folder, outcome, told = guided
    assert outcome.status == "completed", outcome.reason
    found = [r.values for r in told.reports if r.kind == "eval"]
    assert [v.keys() for v in found] == [{"dev_loss"}] * 3
    assert found[-1]["dev_loss"] < found[0]["dev_loss"]
    assert outcome.values.keys() == {"dev_loss", "train_loss", "repeats", "uncorrupted_spans"}
    assert outcome.values["repeats"] > 1  # so that what resumes has reached a second visit
    assert outcome.values["uncorrupted_spans"] == 0
    assert PARAMS in outcome.files
    assert not list(folder.glob("translations*"))


class Dying(Told):
    """A reporter that ends its run at a report, as a kill does."""

    def __init__(self, killed_at: int) -> None:
        super().__init__()
        self.killed_at = killed_at

    def __call__(self, report: Report) -> Reply:
        if len(self.reports) == self.killed_at:
            raise KeyboardInterrupt
        return super().__call__(report)


@pytest.mark.parametrize("killed_at", [11, 20, 29])
def test_a_run_that_was_killed_goes_on_with_the_same_noise_to_the_same_bits(
    train: Train, guided: tuple[Path, Outcome, Told], tmp_path: Path, killed_at: int
) -> None:
    one, other = Dying(killed_at), Told()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, {"guidance": GUIDED}, one)
    saved = [report for report in one.reports if report.kind == "checkpoint"][-1]
    (tmp_path / "resume.json").write_text(json.dumps({"checkpoint": saved.path}))
    outcome = train(tmp_path, {"guidance": GUIDED}, other)
    assert outcome.clocks["steps"] == STEPS - saved.step
    whole = losses(guided[2])
    assert whole.items() >= losses(one).items()
    assert whole.items() >= losses(other).items()
    assert {*losses(one), *losses(other)} == {*whole}
    same(tmp_path, guided[0])
    assert outcome.values == guided[1].values


@pytest.mark.parametrize("name", ["prefix-lm", "iid-spans"])
def test_other_objectives_train_too_and_open_the_test_split_when_asked(
    train: Train, tmp_path: Path, name: str
) -> None:
    before = len(train.opened)  # type: ignore[attr-defined]
    changes = {"objective": {"name": name}, "steps": 8, "score": {"test": True}}
    outcome = train(tmp_path, changes)
    assert outcome.status == "completed", outcome.reason
    assert 0 < outcome.values["test_loss"] < 6
    assert train.opened[before:] == [  # type: ignore[attr-defined]
        f"The final loss of {tmp_path.parent.name}/{tmp_path.name}."
    ]


def test_a_rollout_audit_takes_unlabelled_text(train: Train, tmp_path: Path) -> None:
    changes = {"optimizer": {"name": "sgd"}, "steps": 8, "audit": {"at": 1, "spans": [1], "step": 0.05}}
    outcome = train(tmp_path, changes, how=audited)
    assert outcome.status == "completed", outcome.reason
    assert outcome.values["repeats"] > 0


def test_a_vocabulary_without_room_for_the_sentinels_is_refused(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = text_tokens.open_text

    def tight(data: Any, **more: Any) -> Text:
        text = make(data, **more)
        text.vocabulary.sentinels = ()
        return text

    monkeypatch.setattr(text_tokens, "open_text", tight)
    with pytest.raises(DataError) as problem:
        train(tmp_path, {"data": {"sentinels": 21}})
    assert str(problem.value) == (
        "objective.name is 'random-spans', which needs 21 sentinels (data.sentinels), and the vocabulary has "
        "0. Allowed is one with ids for them, or an objective without."
    )


def test_objectives_of_equal_config_share_a_program_and_others_do_not() -> None:
    def key(**changes: Any) -> str:
        data = {**BASE["data"], "path": "/somewhere"}
        return str(run.shape_key({**BASE, "data": data, **changes}))

    assert key() == key(seed=4)
    assert key() != key(objective={"name": "bert"})
    assert key() != key(objective={"name": "random-spans", "rate": 0.5})
