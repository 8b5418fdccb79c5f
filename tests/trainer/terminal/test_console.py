"""Is one command enough to train a model, and is a wrong one answered before anything is loaded?"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainer.config import papers_rate
from trainer.protocol import Outcome, Report
from trainer.terminal import console

ROOT = Path(__file__).parents[3]
SMALL = (
    "model.d_model=16",
    "model.d_attention=16",
    "model.d_ff=32",
    "model.heads=2",
    "model.layers=1",
    "data.pairs=600",
    "score.dev_sentences=12",
    "batch.sentences=8",
)


def parsed(*arguments: str) -> argparse.Namespace:
    return console._parser().parse_args(arguments)


def test_flags_make_a_config_whose_cadence_and_rate_follow_its_length() -> None:
    config = console.config_of(parsed("--pair", "en-lt", "--steps", "1200", "--guide", "lagged"))
    assert (config.data.pair, config.steps, config.eval_every_steps) == ("en-lt", 1200, 120)
    assert config.schedule.warmup_steps == 120
    assert config.optimizer.learning_rate == papers_rate(120)
    assert config.guidance.learn == ("alpha", "beta1")


def test_set_reaches_every_setting_and_comes_last() -> None:
    config = console.config_of(
        parsed("--steps", "100", "--set", "optimizer.name=adamw", "--set", "schedule.warmup_steps=7")
    )
    assert (config.optimizer.name, config.schedule.warmup_steps) == ("adamw", 7)


def test_a_file_is_laid_under_the_flags_and_keeps_its_own_rate(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"steps": 50, "eval_every_steps": 50, "checkpoint_every_steps": 50}))
    assert console.config_of(parsed(str(path), "--seed", "3")).seed == 3
    assert console.config_of(parsed(str(path), "--steps", "100")).optimizer.learning_rate == 0.04


def test_a_path_means_files_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = console.config_of(parsed("--path", "train"))
    assert (config.data.source, config.data.path) == ("files", str(tmp_path / "train"))


def test_unlabelled_text_is_named_by_its_source_and_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = console.config_of(parsed("--source", "text", "--path", "notes.txt"))
    assert (config.data.source, config.data.path) == ("text", str(tmp_path / "notes.txt"))


def test_paths_are_those_of_the_folder_that_it_is_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "learned.npz").touch()
    (tmp_path / "config.json").write_text('{"data": {"source": "files", "path": "train"}}')
    config = console.config_of(parsed("config.json", "--set", "schedule.name=learned.npz"))
    assert config.data.path == str(tmp_path / "train")
    assert config.schedule.name == str(tmp_path / "learned.npz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pair", "german"), "orch: data.pair is 'german'."),
        (("--set", "steps"), "orch: --set is 'steps'. Allowed is PATH=VALUE"),
        (("none.json",), "orch: none.json cannot be read as JSON"),
        (("--path", "/nowhere/train"), "orch: data.path is '/nowhere/train', and there is no such file"),
        (
            ("--source", "text", "--path", "/nowhere/a.txt"),
            "orch: data.path is '/nowhere/a.txt', and there is",
        ),
        (("--size", "huge"), "orch: model.size is 'huge'."),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    assert console.main(arguments) == 2
    assert capsys.readouterr().err.startswith(said)
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_unlabelled_text_is_called_by_it_and_says_what_it_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("data.source=tfds:c4/en", "data.path=/sets", "objective.name=iid-spans", "score.test=true")
    config = console.config_of(parsed(*(word for each in sets for word in ("--set", each))))
    assert console._subject(config) == "c4-en"
    values = {"train_loss": 2.0, "dev_loss": 2.125, "repeats": 1.25, "uncorrupted_spans": 1234.0}
    clocks = dict.fromkeys(("train_s", "eval_s", "compile_s", "other_s", "steps", "tokens"), 1.0)
    console._show(Outcome("completed", values, clocks), tmp_path, config)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  dev_loss 2.1250",
        "  repeats 1.25",
        "  uncorrupted_spans 1234",
        "",
        f"All of it is in {tmp_path}. Fine-tune it: orch train --init {tmp_path} --task …",
    ]


def test_ctrl_c_saves_and_the_same_command_goes_on_and_then_shows_the_result(tmp_path: Path) -> None:
    sets = [word for setting in SMALL for word in ("--set", setting)]
    command = [sys.executable, "-m", "trainer.run", "--steps", "1500", "--json", *sets]
    command += ["--set", "eval_every_steps=100", "--set", "checkpoint_every_steps=500"]
    environment = {**os.environ, "ORCH_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def begun() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)

    with begun() as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "dev loss" in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=120)
    assert process.returncode == console.STOPPED, err
    assert "The same command goes on." in err
    stopped = json.loads(out)
    assert 0 < stopped["clocks"]["steps"] < 1500
    with begun() as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"Going on from step {int(stopped['clocks']['steps']):,}." in err
    done = json.loads(out)
    assert done["clocks"]["steps"] == 1500 - stopped["clocks"]["steps"]
    assert done["values"]["dev_loss"] < 3
    folder = Path(done["folder"])
    said = subprocess.run(
        [sys.executable, "-m", "trainer.terminal.translate", str(folder), "--text", "drei Tage", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(said.stdout)["source"] == "drei Tage"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (50, "Saving and stopping at the end of this chunk of steps. Again ends it at once.\n"),
        (
            100,
            "All steps are done: the run saves, scores its translations and ends. Again ends it at once; the "
            "same command then goes on from the last checkpoint.\n",
        ),
    ],
)
def test_sigterm_says_what_happens_also_while_a_run_scores(
    step: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = console._Told(100)
    told(Report(step, "eval", {"dev_loss": 1.0}))
    capsys.readouterr()
    with console._hearing_interrupts(told):
        os.kill(os.getpid(), signal.SIGTERM)
    assert capsys.readouterr().err == said
