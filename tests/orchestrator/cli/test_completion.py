"""Does a shell complete commands, options and names, from the ledger or a service, and never say a word?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import client as client_package
from orchestrator.cli import completion, run
from orchestrator.ground.errors import ServiceLost
from orchestrator.ground.settings import from_environment
from orchestrator.ledger import Store, glance
from orchestrator.ledger.records import Role, Token
from studies import catalog
from tests.faults.world import created, small_study, world
from tests.orchestrator.conftest import Orch
from tests.test_architecture import HEAVY

ROOT = Path(__file__).parents[3]
Completed = Callable[..., list[str]]
ARMS = ["base", "random", "grid", "confirm"]


@pytest.fixture
def ended(ledger: Callable[[], Store], home: Path, tmp_path: Path) -> Store:
    """Two studies, one of which has ended, and two tokens, in the ledger of this home."""
    home.mkdir()
    store = ledger()
    there = world(tmp_path / "runs", store=store)
    study = created(there, small_study())
    there.drive(there.engine(), study.study_id)
    created(there, small_study(name="sweep"), study_id="s2")
    store.release()
    store.add_token(Token("ada", "d1", Role.RUN, created_at=1.0))
    store.add_token(Token("bob", "d2", Role.RUN, created_at=1.0))
    store.revoke_token("bob", at=2.0)
    return store


@pytest.fixture
def completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """What is offered for the last of these words."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_ORCH_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(("orch", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            run([])
        out, err = capsys.readouterr()
        assert err == ""
        return [line.removeprefix("plain,") for line in out.splitlines() if line]

    return complete


def test_studies_arms_trials_and_tokens_are_completed(completed: Completed, ended: Store) -> None:
    assert completed("study", "show", "") == ["sweep", "small"]
    assert completed("study", "drain", "sw") == ["sweep"]
    assert completed("study", "verdict", "sm") == ["small"]
    assert completed("study", "extend", "small", "--arm", "") == ARMS
    assert completed("study", "extend", "--arm", "") == []
    assert completed("trial", "list", "s2", "--arm", "c") == ["confirm"]
    assert completed("trial", "show", "s") == ["sweep.", "small."]
    grid = ["small.grid.0.0", "small.grid.0.1"]
    assert sorted(completed("trial", "logs", "small.g")) == grid
    assert sorted(completed("trial", "retry", "sm")) == sorted(
        f"small.{trial.arm}.{trial.replicate}.{trial.index}" for trial in ended.trials("s1")
    )
    assert completed("token", "revoke", "") == ["ada"]


def test_presets_sizes_files_commands_and_options_are_completed(completed: Completed, home: Path) -> None:
    assert set(completed("study", "create", "")) == set(catalog.names())
    assert completed("study", "plan", "eta") == ["eta-sweep"]
    assert completed("study", "create", "./mine") == ["file,./mine"]
    assert completed("study", "create", "eta-sweep", "--size", "s") == ["smoke"]
    assert completed("study", "dr") == ["drain"]
    assert "--arm" in completed("study", "extend", "small", "--")
    assert completed("completion", "") == ["bash", "zsh", "fish"]
    assert not home.exists()  # to complete makes nothing


def test_where_there_is_no_ledger_no_name_is_offered(completed: Completed, home: Path) -> None:
    assert completed("study", "show", "") == []
    assert not home.exists()
    home.mkdir()
    (home / "ledger.db").write_bytes(b"no database at all")
    assert completed("study", "show", "") == []


def test_names_are_read_while_another_process_writes(completed: Completed, ended: Store) -> None:
    assert ended.lead("somebody") is not None
    assert completed("study", "show", "") == ["sweep", "small"]


class Asked:
    """A service that tells what it is asked for; `lost`: it does not answer."""

    lost = False

    def __init__(self, url: str, **options: Any) -> None:
        assert (url, options["patience_s"]) == ("http://orch.test", 0.0)

    def studies(self) -> list[dict[str, str]]:
        if self.lost:
            raise ServiceLost("away")
        return [{"study": "there"}, {"study": "elsewhere"}]

    def study(self, name: str) -> dict[str, Any]:
        return {"arms": [{"arm": f"{name}-arm"}]}

    def trials(self, study: str, *, arm: str | None) -> list[dict[str, Any]]:
        return [{"arm": arm or "base", "replicate": 0, "index": i} for i in range(2)]


def test_a_service_is_asked_where_one_is_named(
    completed: Completed, ended: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_package, "Client", Asked)
    assert completed("study", "show", "--server", "http://orch.test", "") == ["there", "elsewhere"]
    monkeypatch.setenv("ORCH_URL", "http://orch.test")
    assert completed("study", "show", "th") == ["there"]
    assert completed("trial", "list", "there", "--arm", "") == ["there-arm"]
    assert completed("trial", "show", "there.b.") == ["there.b.0.0", "there.b.0.1"]
    monkeypatch.setattr(Asked, "lost", True)
    assert completed("study", "show", "") == []


def test_a_completion_loads_nothing_heavy(ended: Store, home: Path) -> None:
    code = (
        "import sys\n"
        "from orchestrator.cli import run\n"
        "try: run([])\n"
        "except SystemExit: pass\n"
        f"print(sorted(({HEAVY!r} | {{'sqlalchemy', 'httpx', 'fastapi', 'numpy'}}) & set(sys.modules)))"
    )
    for words in ("orch study show ", "orch study create ", "orch trial show small."):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **asked, "_ORCH_COMPLETE": "bash_complete", "ORCH_HOME": str(home)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        *offered, heavy = done.stdout.splitlines()
        assert (heavy, done.stderr) == ("[]", "")
        assert len(offered) >= 2


# -- in shells --------------------------------------------------------------------------------------------
@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `orch` is this code."""
    script = tmp_path / "bin" / "orch"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m orchestrator.cli "$@"\n')
    script.chmod(0o755)
    return f"{script.parent}:{os.environ['PATH']}"


def in_bash(path: str, *words: str) -> list[str]:
    """What a real bash with the script offers for the last of these words."""
    program = (
        'eval "$(orch completion bash)"; complete -p orch >&2; '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _orch_completion orch; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    quoted = " ".join(f"'{word}'" for word in ("orch", *words))
    done = subprocess.run(
        ["bash", "--norc", "-c", f"COMP_WORDS=({quoted}); {program}"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "complete -o nosort -F _orch_completion orch\n"
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_studies_and_presets(path: str, ended: Store) -> None:
    assert in_bash(path, "study", "show", "") == ["sweep", "small"]
    assert in_bash(path, "study", "create", "eta") == ["eta-sweep"]
    assert in_bash(path, "study", "extend", "small", "--arm", "g") == ["grid"]


@pytest.mark.parametrize(
    ("shell", "tie"),
    [
        ("bash", "complete -o nosort -F _orch_completion orch"),
        ("zsh", "compdef _orch_completion orch"),
        ("fish", "complete --no-files --command orch"),
    ],
)
def test_each_shell_gets_a_script_that_it_takes(orch: Orch, tmp_path: Path, shell: str, tie: str) -> None:
    said = orch("completion", shell)
    assert (said.code, said.err) == (0, "")
    assert tie in said.out
    assert f"_ORCH_COMPLETE={shell}_complete" in said.out
    if shutil.which(shell):
        (tmp_path / "script").write_text(said.out)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_another_shell_is_refused_and_the_help_says_how_to_install(orch: Orch) -> None:
    said = orch("completion", "tcsh")
    assert said.code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in said.err
    help_ = orch("completion", "--help").out
    for shell in completion.SHELLS:
        assert f"orch completion {shell} > " in help_


def test_a_glance_at_a_ledger_leaves_its_file_as_it_is(ended: Store, home: Path) -> None:
    file = from_environment().ledger_file
    assert file is not None
    before = file.read_bytes()
    assert glance.studies(file) == ["sweep", "small"]
    assert glance.arms(file, "small") == glance.arms(file, "s1") == ARMS
    assert glance.arms(file, "nothing") == []
    assert glance.trials(file, "small", "grid.") != []
    assert glance.trials(file, "small", "%") == []
    assert glance.tokens(file) == ["ada"]
    assert file.read_bytes() == before
