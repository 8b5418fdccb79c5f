"""Do the examples of the service's pages run as they are written? Against a service in its own process."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from orchestrator import cli
from tests.orchestrator.client.conftest import ROOT, Serve, Server

DOCS = ROOT / "docs"
PAGES = ("client.md", "rest.md", "deployment.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.S | re.M)


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **more}


# -- the client --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", range(len(blocks("client.md", "python"))))
def test_the_client_s_examples_run_as_written(number: int, server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks("client.md", "python")[number]],
        env=environment(tmp_path, ORCH_URL=server.url, ORCH_HOME=str(server.home)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if number == 0:
        assert ".base.0.0 started 0\n" in done.stdout
        assert "completed 7 of 7 runs\n**eta-sweep-smoke: " in done.stdout
        assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_the_client_s_page_names_every_method(server: Server) -> None:
    from orchestrator.client import Client

    text = (DOCS / "client.md").read_text()
    methods = {name for name in vars(Client) if not name.startswith("_")} - {"close", "url", "listening"}
    assert {name for name in methods if f"`{name}(" not in text} == set()


# -- curl --------------------------------------------------------------------------------------------------
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_page_s_requests_can_be_pasted_one_after_another(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    server = serve(home=tmp_path / "home", speed="0.5")
    orch = tmp_path / "bin" / "orch"
    orch.parent.mkdir()
    orch.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator.cli "$@"\n')
    orch.chmod(0o755)
    script = "\n".join(
        f"echo '--- {number}' >&2\n{block}" for number, block in enumerate(blocks("rest.md", "sh"))
    )
    assert "http://127.0.0.1:8000" in script
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8000", server.url)],
        env=environment(tmp_path, ORCH_HOME=str(server.home), PATH=f"{orch.parent}:{os.environ['PATH']}"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for said in (
        '"eta-sweep"',
        '"created":true',
        "event: started",
        '"verb":"pause"',
        "**sweep: ",
        '"leader":',
    ):
        assert said in done.stdout, said
    assert '"path":"/api/v1/studies/sweep","status":204' in done.stdout  # the last audit lines
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_every_route_that_a_page_names_is_in_the_document() -> None:
    from orchestrator.api.app import build

    known = {re.sub(r"\{.*?\}", "x", path) for path in build().openapi()["paths"]}
    for page in PAGES:
        for path in re.findall(r"/api/v1(/[^\s\"`?')]*)", (DOCS / page).read_text()):
            named = re.sub(r"/(studies|trials|hosts)/[^/]+", r"/\1/x", path.rstrip(".,;"))
            assert f"/api/v1{named}" in known | {"/api/v1/openapi.json"}, f"{page}: {path}"


# -- how it is run for a team ------------------------------------------------------------------------------
def parses(words: list[str]) -> None:
    """The words are a command of this release with its options; it is not run."""
    context = click.Context(cli.orch)
    command: click.Command | None = cli.orch
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        command = command.get_command(context, name)
    assert command is not None, name
    command.make_context("orch", list(words), parent=context, resilient_parsing=False)


SHOWN = r"(?:^|/|run --rm orch )orch ((?:serve|token|study|down|join|hosts)\b.*?)(?: &)?$"


def test_the_commands_that_the_pages_show_are_commands_of_this_release() -> None:
    shown = 0
    for page in PAGES:
        for line in (line for block in blocks(page, "") for line in block.splitlines()):
            if found := re.search(
                r"(?:^|/|run --rm orch )orch ((?:serve|token|study|down|join|hosts)\b.*?)(?: &)?$", line
            ):
                parses(shlex.split(found[1]))
                shown += 1
    assert shown >= 8


def test_the_compose_file_parses_and_starts_a_command_of_this_release() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(compose["services"]) == {"db", "orch"}
    served = compose["services"]["orch"]
    assert served["command"][0] == "orch"
    parses(served["command"][1:])
    assert (ROOT / served["build"]["dockerfile"]).is_file()
    named = {volume.split(":")[0] for s in compose["services"].values() for volume in s["volumes"]}
    assert named == set(compose["volumes"])
    check = served["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-c"]
    compile(check[3], "healthcheck", "exec")


def test_what_the_image_copies_is_there_and_let_through() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.*)$", text, re.M) for word in line.split()[:-1]]
    assert {"orchestrator", "trainer", "requirements.lock"} <= set(sources)
    let_through = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in let_through
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.M)
    parses(yaml.safe_load(command)[1:])


def test_the_unit_starts_a_command_of_this_release() -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", (ROOT / "deploy" / "orch.service").read_text(), re.M)
    program, *words = shlex.split(line)
    assert program.endswith("/bin/orch")
    parses(words)
