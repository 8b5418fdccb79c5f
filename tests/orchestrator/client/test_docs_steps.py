"""Do the steps of first-study.md, own-entrypoint.md and client.md run as pasted?

In order, in this process and over simulated machines; a small workload stands for the trainer.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import SimulatedBackend
from orchestrator.cli import output
from orchestrator.runs.contract import Launch
from orchestrator.service.rehearse import REHEARSAL
from tests.orchestrator.client.conftest import ROOT, Serve
from tests.orchestrator.conftest import Orch, Said
from trainer.protocol import Place, Reply, write_resume_note

# What is put in place of a page's words, in all its commands: the smallest size, and beside these the address
# of the test's own server. Nothing else of a command is changed.
STANDS_FOR = (
    ("--size quick", "--size smoke"),
    ("--size paper", "--size smoke"),
    ("bo-vs-guided-quick", "bo-vs-guided-smoke"),
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.S | re.M)


def steps(page: str) -> list[str]:
    """The commands of a page's indented blocks, in their order."""
    text = re.sub(r"^```.*?^```", "", (ROOT / "docs" / page).read_text(), flags=re.S | re.M)
    return [line.strip() for line in re.findall(r"^    (?=orch ).*$", text, re.M)]


def pasted(command: str, *more: tuple[str, str]) -> list[str]:
    for word, other in (*STANDS_FOR, *more):
        command = command.replace(word, other)
    program, *arguments = shlex.split(command)
    assert program == "orch"
    return arguments


@pytest.fixture
def rehearsing(machines: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """Simulated machines on which every trial of the trainer is a rehearsal."""
    submit = SimulatedBackend.submit

    def rehearse(backend: SimulatedBackend, launch: Launch, ahead: Any = (), *, avoid: str = "") -> bool:
        return submit(backend, replace(launch, entrypoint=REHEARSAL, code=None), ahead, avoid=avoid)

    monkeypatch.setattr(SimulatedBackend, "submit", rehearse)
    return machines


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A person's own folder, in which orch is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_model", "guided_vs_bo"):
        sys.modules.pop(name, None)


def test_the_steps_of_a_first_study_run_as_pasted(
    orch: Orch,
    home: Path,
    rehearsing: dict[int, Any],
    serve: Serve,
    folder: Path,
) -> None:
    said: dict[str, Said] = {}
    address = ("http://127.0.0.1:8000", "http://127.0.0.1:0")
    for command in steps("first-study.md"):
        if command == "orch serve":  # a process of its own
            address = (address[0], serve(home=home).url)
            continue
        create = command.startswith("orch study create")
        if create:  # "Press Ctrl-C"
            rehearsing[3] = lambda: os.kill(os.getpid(), signal.SIGINT)
        said[command] = orch(*pasted(command, address))
        rehearsing.clear()
        assert said[command].code == (output.INTERRUPTED if create else 0), (command, said[command].err)
    ended = said["orch study resume bo-vs-guided-quick"].out  # after the seeds were added
    assert re.search(r"dev loss, 6 fresh seeds  guided \S+   BO ", ended)
    assert said["orch study table bo-vs-guided-quick --format latex"].out.startswith("\\begin{table}")
    assert json.loads(said["orch study show bo-vs-guided-quick --json"].out)["status"] == "completed"
    assert "bo-vs-guided-smoke" in said["orch study list --server http://127.0.0.1:8000"].out
    assert (folder / "trials.csv").read_text().count("\n") > 40
    assert (folder / "trials.db").stat().st_size > 0
    assert orch("token", "link", "--server", address[1]).out.startswith(f"{address[1]}/login")
    trial = "bo-vs-guided-smoke.base.0.0"
    assert trial in orch("trial", "list", "bo-vs-guided-smoke").out
    assert orch("trial", "show", trial).code == orch("trial", "logs", trial).code == 0


def test_the_steps_of_an_entrypoint_of_ones_own_run_as_pasted(
    orch: Orch, machines: dict[int, Any], folder: Path
) -> None:
    modules, specs = blocks("own-entrypoint.md", "python"), blocks("own-entrypoint.md", "yaml")
    (folder / "my_model.py").write_text(modules[0])
    (folder / "my-study.yaml").write_text(specs[0])
    (folder / "guided_vs_bo.py").write_text(modules[-1])
    (folder / "guided_vs_bo.yaml").write_text(specs[-1])
    commands = steps("own-entrypoint.md")
    assert [" ".join(command.split()[1:3]) for command in commands] == ["study plan", "study create"] * 2
    said = [orch(*pasted(command)) for command in commands]
    assert [one.code for one in said] == [0] * 4, [one.err for one in said]
    assert "Completed    my-study    16 runs" in said[1].out
    assert re.search(r"loss, 6 fresh seeds  guided 0\.\d+   BO 0\.\d+ ", said[3].out)
    assert orch("study", "show", "guided-vs-bo", "--json").json["ended"] == 29


def test_the_page_shows_the_files_of_the_examples() -> None:
    shown = blocks("own-entrypoint.md", "python")
    for name in ("gang_jax.py", "gang_sockets.py"):
        assert (ROOT / "examples" / name).read_text() in shown
    for name, language in (("guided_vs_bo.py", "python"), ("guided_vs_bo.yaml", "yaml")):
        assert blocks("own-entrypoint.md", language)[-1] == (ROOT / "examples" / name).read_text()


def test_the_example_goes_on_from_its_checkpoint_to_the_same_end(folder: Path) -> None:
    (folder / "guided_vs_bo.py").write_text((ROOT / "examples" / "guided_vs_bo.py").read_text())
    import guided_vs_bo  # type: ignore[import-not-found]

    config = {"seed": 3, "steps": 60, "guide": True}
    whole = guided_vs_bo.run(config, lambda report: Reply.GO, folder, Place())
    assert guided_vs_bo.run(config, lambda report: Reply.SAVE_AND_STOP, folder, Place()).status == "stopped"
    write_resume_note(folder, str(folder / "checkpoint.npz"))
    resumed = guided_vs_bo.run(config, lambda report: Reply.GO, folder, Place())
    assert (resumed.status, resumed.values) == ("completed", whole.values)
    assert (resumed.clocks["steps"], whole.clocks["steps"]) == (40, 60)


def test_the_example_says_what_is_wrong_with_a_config(folder: Path) -> None:
    (folder / "guided_vs_bo.py").write_text((ROOT / "examples" / "guided_vs_bo.py").read_text())
    import guided_vs_bo

    assert guided_vs_bo.check({"seed": 0, "guide": True, "reach": 3}) == []
    allowed = "seed, steps, lr, alpha, beta1, guide, reach"
    assert guided_vs_bo.check({"stesp": 1, "lr": 0, "beta1": 1.0}) == [
        f"Unknown key 'stesp'. Allowed: {allowed}.",
        "lr is 0. Allowed: above 0.",
        "beta1 is 1.0. Allowed: between 0 and 1.",
    ]


def test_the_client_s_commands_run_as_pasted(
    orch: Orch, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    (block,) = (block for block in blocks("client.md", "") if "export ORCH_URL" in block)
    export, command = block.splitlines()
    values = {"https://orch.example": server.url, "orch_…": server.key}
    for word in export.removeprefix("export ").split():
        name, _, value = word.partition("=")
        monkeypatch.setenv(name, values[value])
    said = orch(*pasted(command))
    assert said.code == 0, said.err
    assert "Completed    eta-sweep-smoke    7 runs" in said.out
