"""Whose code did a run load: the repository, the commit and the changes of the entrypoint's own checkout?"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs import checkout
from orchestrator.runs.checkout import Checkout, code_facts, look

Git = Callable[..., str]


def git_in(folder: Path, *words: str) -> str:
    settings = ("user.name=a", "user.email=a@b", "protocol.file.allow=always", "init.defaultBranch=main")
    command = ["git", "-C", str(folder), *(part for one in settings for part in ("-c", one)), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    checkout._looked_at.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A person's repository with one commit of `net.py`."""
    folder = tmp_path / "project"
    folder.mkdir()
    git_in(folder, "init", "-q")
    (folder / "net.py").write_text("LR = 1\n")
    git_in(folder, "add", "net.py")
    git_in(folder, "commit", "-qm", "first")
    return folder


def test_a_clean_checkout_is_its_commit_and_no_diff(project: Path, tmp_path: Path) -> None:
    git_in(project, "remote", "add", "upstream", "https://example.org/other.git")
    git_in(project, "remote", "add", "origin", "https://me:t0ken@example.org/net.git")
    assert code_facts("net", str(project / "net.py"), tmp_path / "study") == {
        "entrypoint": "net",
        "file": str(project / "net.py"),
        "root": str(project),
        "repository": "https://example.org/net.git",
        "commit": git_in(project, "rev-parse", "HEAD"),
        "dirty": False,
    }
    assert not (tmp_path / "study").exists()


def test_changes_are_kept_as_a_diff_that_git_applies(project: Path, tmp_path: Path) -> None:
    (project / "net.py").write_text("LR = 2\n")
    (project / "new.py").write_text("not added\n")
    facts = code_facts("net", str(project / "net.py"), tmp_path / "study")
    assert (facts["dirty"], facts["untracked"]) == (True, 1)
    kept = Path(facts["diff"])
    assert kept.parent == tmp_path / "study" / "code"
    assert "#   'new.py'" in kept.read_text()
    git_in(project, "stash", "-q")
    git_in(project, "apply", str(kept))
    assert (project / "net.py").read_text() == "LR = 2\n"


def test_it_is_asked_once_and_kept_in_each_study(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "net.py").write_text("LR = 2\n")
    first = code_facts("net", str(project / "net.py"), tmp_path / "one")

    def never(*words: Any, **more: Any) -> Checkout:
        raise AssertionError("asked again")

    monkeypatch.setattr(checkout, "look", never)
    second = code_facts("net", str(project / "net.py"), tmp_path / "two")
    assert Path(first["diff"]).read_bytes() == Path(second["diff"]).read_bytes()
    assert code_facts("net", str(project / "net.py"), tmp_path / "one") == first


def test_a_long_diff_is_cut_and_its_true_size_told(project: Path) -> None:
    (project / "net.py").write_text("x = 1  # a line of twenty-six\n" * 200_000)
    size = len(git_in(project, "diff", "HEAD")) + 1
    found = look(project / "net.py")
    (note,) = found.facts["notes"]
    assert note == f"The diff has {size:,} bytes; the first {checkout.MOST_DIFF:,} are kept."
    assert checkout.MOST_DIFF < len(found.diff) < checkout.MOST_DIFF + 1000
    assert note.encode() in found.diff  # who opens the file reads it too


def test_no_more_untracked_files_are_named_than_so_many(project: Path) -> None:
    for i in range(checkout.MOST_UNTRACKED + 7):
        (project / f"more-{i:03d}.txt").touch()
    found = look(project / "net.py")
    assert found.facts["untracked"] == checkout.MOST_UNTRACKED + 7
    assert b"#   and 7 more\n" in found.diff
    assert found.diff.count(b"more-") == checkout.MOST_UNTRACKED


def test_an_entrypoint_that_was_never_added_is_told(project: Path) -> None:
    (project / "draft.py").write_text("LR = 3\n")
    assert look(project / "draft.py").facts["notes"] == [
        "The entrypoint's own file is not tracked, so that no commit and no diff holds it."
    ]


def test_what_the_repository_ignores_is_not_of_it(project: Path) -> None:
    (project / ".gitignore").write_text("scratch/\n")
    (project / "scratch").mkdir()
    (project / "scratch" / "net.py").touch()
    assert look(project / "scratch" / "net.py").facts == {
        "notes": [f"The repository in {project} ignores it."]
    }


def test_an_installed_entrypoint_is_its_distribution(tmp_path: Path) -> None:
    file = "/env/lib/python3.11/site-packages/numpy/__init__.py"
    facts = code_facts("numpy.anything", file, tmp_path)
    assert (facts["distribution"], "commit" in facts) == ("numpy", False)
    assert facts["version"] == __import__("numpy").__version__
    nobodys = code_facts("no_such_thing", "/env/site-packages/no_such_thing.py", tmp_path)
    assert nobodys["notes"] == ["It is installed, by no distribution that is known."]


def test_without_a_repository_there_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "net.py").touch()
    assert look(tmp_path / "net.py") == Checkout({"notes": ["It lies in no git repository."]})


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git_in(tmp_path, "init", "-q")
    (tmp_path / "net.py").touch()
    facts = look(tmp_path / "net.py").facts
    assert (facts["commit"], facts["dirty"]) == (None, True)
    assert "It has no commit yet." in facts["notes"]


def test_a_submodule_is_a_repository_of_its_own(project: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    git_in(above, "init", "-q")
    git_in(above, "submodule", "--quiet", "add", str(project), "sub")
    facts = look(above / "sub" / "net.py").facts
    assert facts["commit"] == git_in(project, "rev-parse", "HEAD")
    assert facts["notes"] == [f"It is a submodule of {above}."]


def test_a_bare_repository_holds_no_checkout(tmp_path: Path) -> None:
    git_in(tmp_path, "init", "-q", "--bare")
    (note,) = look(tmp_path / "net.py").facts["notes"]
    assert note.startswith("git rev-parse did not say (fatal: this operation must be run in a work tree")


def test_binary_changes_are_named_without_their_bytes(project: Path) -> None:
    (project / "weights.bin").write_bytes(bytes(range(256)))
    git_in(project, "add", "weights.bin")
    found = look(project / "net.py")
    assert found.facts["notes"] == ["Binary files changed; the diff does not hold what became of them."]
    assert len(found.diff) < 1000


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"two\nlines.txt", "привет.txt".encode(), b'"quoted".txt'])
def test_a_path_of_any_bytes_is_no_trouble(project: Path, name: bytes) -> None:
    (project / os.fsdecode(name)).write_text("new")
    found = look(project / "net.py")
    assert (found.facts["dirty"], found.facts["untracked"]) == (True, 1)
    assert all(line.startswith(b"#") for line in found.diff.splitlines())  # nothing breaks out of its line


def test_a_repository_of_another_user_is_a_note(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    (note,) = look(project / "net.py").facts["notes"]
    assert note.startswith("git rev-parse did not say (fatal: detected dubious ownership in repository")


def test_without_git_there_is_a_note(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    assert look(project / "net.py").facts["notes"] == [
        "git rev-parse did not say (git could not be started: No such file or directory)."
    ]


def test_a_git_that_hangs_is_ended_with_what_it_started(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child holds the pipes, as a filter or a monitor would."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/child\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    began = time.monotonic()
    assert look(project / "net.py", within_s=1.0).facts["notes"] == [
        "git rev-parse did not say (it did not finish in time)."
    ]
    assert time.monotonic() - began < 60
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(child):
        pass
    assert not _runs(child)


def test_git_s_own_variables_of_the_caller_lead_nowhere_else(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git_in(other, "init", "-q")
    commit = git_in(project, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook
    assert look(project / "net.py").facts["commit"] == commit


def test_a_diff_that_cannot_be_kept_is_a_note(project: Path, tmp_path: Path) -> None:
    (project / "net.py").write_text("LR = 2\n")
    (tmp_path / "study").write_text("a file")
    facts = code_facts("net", str(project / "net.py"), tmp_path / "study")
    assert "diff" not in facts
    assert facts["notes"] == ["The diff could not be kept (Not a directory)."]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
