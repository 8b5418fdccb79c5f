"""Is a whole run in two processes, from text to scores, the run of one process? Once each on one device."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.training import chosen_program
from tests.trainer.training.gang_runs_program import finished, gang, started
from tests.trainer.training.test_text_killed import own_file

STEPS = 24
SMALL = {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1}
CADENCE: dict[str, Any] = {"seed": 3, "steps": STEPS, "eval_every_steps": 8, "checkpoint_every_steps": 8}
TRANSLATION: dict[str, Any] = {
    **CADENCE,
    "data": {"pairs": 600, "level": "phrases"},
    "model": {"size": "tiny", **SMALL},
    "schedule": {"warmup_steps": 2},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 4, "test": True, "beam": 1},
}
UNSCORED = {**TRANSLATION, "score": {"dev_sentences": 0}}
DATA, FSDP, TENSOR = {"data": 2}, {"fsdp": 2}, {"tensor": 2}
SAVED = "checkpoint-8"  # of the run that is told to stop, and goes on

Result = dict[str, Any]


def guided(estimator: str, *learn: str, **more: Any) -> dict[str, Any]:
    return {"estimator": estimator, "learn": [*(learn or ("alpha", "beta1"))], "eta": 0.05, **more}


def text(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        **CADENCE,
        "data": {**own_file(folder), "source_tokens": 24, "vocabulary": 100, "sentinels": 20},
        "objective": {"name": "random-spans"},
        "model": {"size": "t5-tiny", **SMALL},
        "optimizer": {"name": "adafactor"},
        "schedule": {"warmup_steps": 2},
        "batch": {"sentences": 16},
        "score": {"test": True},
        **changes,
    }


def task(folder: Path, **changes: Any) -> dict[str, Any]:
    """It ends with its best evaluation's parameters."""
    return {**chosen_program.config(folder / "task.py"), **CADENCE, "eval_every_steps": 4, **changes}


@dataclass(frozen=True)
class Pair:
    """A run in a gang and the same one alone."""

    together: Path
    alone: Path
    first: Sequence[Result]  # what process 0 said, attempt by attempt
    second: Sequence[Result]
    single: Result

    def reports(self) -> list[Any]:
        return [report for attempt in self.first for report in attempt["reports"]]


def pairs(
    folder: Path, configs: Mapping[str, tuple[dict[str, Any], dict[str, int]]], homes: Sequence[Path]
) -> dict[str, Pair]:
    """The first of these runs is stopped by process 1's host at a third, and goes on."""
    together, alone = [], []
    stopped = next(iter(configs))
    for name, (config, mesh) in configs.items():
        places = {kind: folder / kind / name for kind in ("together", "alone")}
        for place in places.values():
            place.mkdir(parents=True)
        begun = {k: str(v).replace("KIND", "alone") if k == "init" else v for k, v in config.items()}
        about = {"name": name, "entrypoint": "trainer.audit" if "audit" in config else "trainer.run"}
        alone.append({**about, "config": begun, "folder": str(places["alone"])})
        begun = {k: str(v).replace("KIND", "together") if k == "init" else v for k, v in config.items()}
        run = {**about, "config": {**begun, "mesh": mesh}, "folder": str(places["together"])}
        if name == stopped:
            together.append({**run, "answers": {"1": {"5": "save_and_stop"}}})
            run["checkpoint"] = str(places["together"] / SAVED)
        together.append(run)
    processes = [started(alone, folder / "home-alone"), *gang(together, homes)]
    single, first, second = finished(*processes, timeout_s=1500)
    return {
        run["name"]: Pair(
            Path(folder / "together" / run["name"]),
            Path(run["folder"]),
            [said for said, asked in zip(first, together, strict=True) if asked["name"] == run["name"]],
            [said for said, asked in zip(second, together, strict=True) if asked["name"] == run["name"]],
            said,
        )
        for run, said in zip(alone, single, strict=True)
    }


USUAL = ("held-out, fsdp", "task, lagged")


def few(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, int]]]:
    sgd = {"name": "sgd"}  # its tangents compile in half the time of the others'
    lagged = guided("lagged", lag_steps=8)
    return {
        "held-out, fsdp": ({**TRANSLATION, "optimizer": sgd, "guidance": guided("held-out")}, FSDP),
        "task, lagged": (task(folder, guidance=lagged), DATA),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gang")


@pytest.fixture(scope="module")
def usual(folder: Path) -> dict[str, Pair]:
    """Hosts with an ORCH_HOME of their own."""
    runs = few(folder)
    assert tuple(runs) == USUAL
    return pairs(folder, runs, [folder / "home-0", folder / "home-1"])


MORE = (
    "unguided",
    "begun with its parameters",
    "next-batch",
    "lagged",
    "held-out, fsdp",
    "next-batch, tensor",
    "forward",
    "discounted",
    "by group",
    "schedule-free, fsdp",
    "packed",
    "of tokens",
    "task, fsdp",
    "text, fsdp",
    "text, next-batch",
    "audit",
)


def others(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, int]]]:
    """The first run is one of many steps."""
    grouped = guided("next-batch", groups={"words": "embedding"}, hypers={"alpha": {"per_group": True}})
    free = {"name": "optax.contrib.schedule_free_adamw"}
    return {
        "unguided": ({**TRANSLATION, "steps": 120}, DATA),
        "begun with its parameters": ({**UNSCORED, "init": str(folder / "KIND" / "unguided")}, FSDP),
        "next-batch": ({**UNSCORED, "guidance": guided("next-batch")}, DATA),
        "lagged": ({**UNSCORED, "guidance": guided("lagged", lag_steps=8)}, DATA),
        "held-out, fsdp": ({**UNSCORED, "guidance": guided("held-out")}, FSDP),
        "next-batch, tensor": ({**UNSCORED, "guidance": guided("next-batch")}, TENSOR),
        "forward": ({**UNSCORED, "guidance": guided("forward")}, DATA),
        "discounted": ({**UNSCORED, "guidance": guided("discounted", discount=0.5)}, DATA),
        "by group": ({**UNSCORED, "guidance": grouped}, DATA),
        "schedule-free, fsdp": ({**UNSCORED, "optimizer": free}, FSDP),
        "packed": ({**UNSCORED, "batch": {"sentences": 8, "buckets": 0}}, DATA),
        "of tokens": ({**UNSCORED, "batch": {"tokens": 256}}, DATA),
        "task, fsdp": (task(folder), FSDP),
        "text, fsdp": (text(folder), FSDP),
        "text, next-batch": (text(folder, guidance=guided("next-batch", "alpha")), DATA),
        "audit": (
            {**UNSCORED, "optimizer": {"name": "sgd"}, "audit": {"at": 3, "spans": [1, 4], "step": 0.05}},
            DATA,
        ),
    }


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Hosts that share their ORCH_HOME."""
    folder = tmp_path_factory.mktemp("more")
    runs = others(folder)
    assert tuple(runs) == MORE
    return pairs(folder, runs, [folder / "home"] * 2)


def losses(folder: Path) -> np.ndarray:
    with np.load(folder / "trajectory.npz") as file:
        return np.asarray(file["loss"])


def close(pair: Pair) -> None:
    """What the gang said and left is what the process that was alone did, but for the order of sums."""
    assert pair.single.get("status") == "completed", pair.single
    assert pair.first[-1].get("status") == "completed", pair.first
    ours, theirs = losses(pair.together), losses(pair.alone)
    np.testing.assert_allclose(ours[:20], theirs[:20], atol=1e-5, rtol=0)
    np.testing.assert_allclose(ours[-1], theirs[-1], atol=1e-3, rtol=0)
    own = [[{**r, "files": []} for r in said] for said in (pair.first, pair.second)]
    assert own[0] == own[1], "all processes report the same, and end with the same values"
    assert all(attempt["files"] == [] for attempt in pair.second)
    assert [r[:2] for r in pair.reports()] == [r[:2] for r in pair.single["reports"]]
    assert pair.first[-1]["files"] == pair.single["files"]
    assert pair.first[-1]["values"] == pytest.approx(pair.single["values"], abs=1e-3)
    for name in pair.single["files"]:
        if name.endswith(".npz") and name != "trajectory.npz":  # hypergradients go through zero
            same_arrays(pair.together / name, pair.alone / name)
        elif name.endswith(".jsonl"):
            same_lines(pair.together / name, pair.alone / name)
    assert not list(pair.together.glob("unfinished*"))


def same_arrays(ours: Path, theirs: Path) -> None:
    with np.load(ours) as one, np.load(theirs) as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_allclose(one[name], other[name], atol=1e-3, rtol=1e-3, err_msg=name)


def same_lines(ours: Path, theirs: Path) -> None:
    """The first one has the scores."""
    one, other = (list(map(json.loads, file.read_text().splitlines())) for file in (ours, theirs))
    assert one[0] == pytest.approx(other[0], abs=1e-3)
    assert one[1:] == other[1:]


@pytest.mark.parametrize("name", USUAL)
def test_two_processes_train_say_and_leave_what_one_does(usual: dict[str, Pair], name: str) -> None:
    close(usual[name])


def test_it_stops_where_any_process_is_told_to_and_goes_on_to_the_same_end(usual: dict[str, Pair]) -> None:
    first, second = usual["held-out, fsdp"].first
    assert (first["status"], first["clocks"]["steps"]) == ("stopped", 8)
    assert Path(first["checkpoint"]).name == SAVED
    assert (second["status"], second["clocks"]["steps"]) == ("completed", STEPS - 8)


def test_what_was_compared_did_train_and_guide_and_choose(usual: dict[str, Pair]) -> None:
    with np.load(usual["held-out, fsdp"].together / "schedule.npz") as file:
        assert np.ptp(file["alpha"]) > 0.01
    chosen = usual["task, lagged"].first[0]["values"]
    assert {"chosen_step", "chosen_score", "score", "test_score"} <= chosen.keys()


def test_a_test_split_is_opened_once_for_each_run_of_a_gang(usual: dict[str, Pair], folder: Path) -> None:
    opened = {
        home: sorted(json.loads(p.read_text())["why"] for p in (folder / home).glob("data/test-openings/*"))
        for home in ("home-0", "home-1")
    }
    assert opened == {
        "home-0": [
            "The final score of together/held-out, fsdp.",
            "The final score of together/task, lagged.",
        ],
        "home-1": [],
    }


def test_hosts_that_see_another_text_under_the_same_path_are_told_so(tmp_path: Path) -> None:
    homes = [tmp_path / "home-0", tmp_path / "home-1"]
    for number, home in enumerate(homes):
        home.mkdir()
        own_file(home)
        notes = home / "notes.txt"
        notes.write_text(notes.read_text() + "And one more.\n" * number)
    config = text(tmp_path, mesh=DATA)
    config["data"]["path"] = "~/notes.txt"
    said = finished(*gang([{"config": config, "folder": str(tmp_path)}], homes))
    sentence = (
        "The text, or what the run begins with, is another one in process 1 than in process 0. Give all "
        "hosts of a gang the same files and the same versions of the packages."
    )
    assert said == [[{"raised": sentence}]] * 2


@pytest.mark.slow  # many programs more; two are in test_two_processes_train_say_and_leave_what_one_does
@pytest.mark.parametrize("name", MORE)
def test_what_else_a_run_can_be_is_the_same_in_two_processes(more: dict[str, Pair], name: str) -> None:
    close(more[name])
    assert ("test_loss" in more[name].first[-1]["values"]) == name.startswith("text")
