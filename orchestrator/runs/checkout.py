"""Of which repository is an entrypoint, at which commit, and with what changes? What cannot be found out is a
note, never an error.

Git is asked in its own process group, with a deadline for all questions together. Monitors, textconv and
external diffs that a repository's configuration may name are not started.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.study.whereabouts import INSTALLED
from trainer.protocol import whole

CODE = "code"  # in a study's folder: the diffs of its entrypoints
MOST_DIFF = 256 * 1024  # bytes that are kept
MOST_UNTRACKED = 100  # files that are named
MOST_STATUS = 1024 * 1024  # bytes of a status that are read
WITHIN_S = 10.0  # for all that is asked of one checkout
ELSEWHERE = frozenset(  # would lead git to another repository than the one that a file lies in
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"}
)
ASKED = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true")


@dataclass(frozen=True)
class Checkout:
    """Facts to be kept with each attempt, and the diff, to be kept once a study."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    diff: bytes = b""


@dataclass(frozen=True)
class _Said:
    code: int | None  # None: it did not finish
    out: bytes  # no more than was asked for
    size: int
    err: str

    @property
    def text(self) -> str:
        return _text(self.out.strip())


def code_facts(entrypoint: str, file: str, study: Path) -> dict[str, Any]:
    """What is known of an entrypoint's code; the diff is written into the study's folder."""
    found = _looked_at(entrypoint, file)
    facts = dict(found.facts)
    if found.diff:
        path = study / CODE / f"{hashlib.sha256(found.diff).hexdigest()[:16]}.diff"
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as unfinished:
                    unfinished.write_bytes(found.diff)
            facts["diff"] = str(path)
        except OSError as problem:
            facts["notes"] = [*facts.get("notes", ()), f"The diff could not be kept ({problem.strerror})."]
    return facts


@functools.cache
def _looked_at(entrypoint: str, file: str) -> Checkout:
    """Once a process: what was loaded stays as it is."""
    facts: dict[str, Any] = {"entrypoint": entrypoint, "file": file}
    if INSTALLED & set(Path(file).parts):
        return Checkout({**facts, **_distribution(entrypoint)})
    found = look(Path(file))
    return Checkout({**facts, **found.facts}, found.diff)


def _distribution(entrypoint: str) -> dict[str, Any]:
    names = distributions().get(entrypoint.partition(".")[0], ())
    if not names:
        return {"notes": ["It is installed, by no distribution that is known."]}
    return {"distribution": names[0], "version": metadata.version(names[0])}


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    """Of what is installed, by the names that are imported. A file of each is read, once a process."""
    return metadata.packages_distributions()


def look(file: Path, *, within_s: float = WITHIN_S, clock: Callable[[], float] = time.monotonic) -> Checkout:
    """The checkout that a file lies in."""
    file = Path(os.path.realpath(file))
    ask = functools.partial(_ask, folder=file.parent, until=clock() + within_s, clock=clock)
    root = ask("rev-parse", "--show-toplevel")
    if root.code != 0 or not root.text:
        return Checkout({"notes": [_without(root)]})
    if ask("check-ignore", "-q", "--", str(file)).code == 0:
        return Checkout({"notes": [f"The repository in {root.text} ignores it."]})
    facts: dict[str, Any] = {"root": root.text}
    notes: list[str] = []
    if remote := _remote(ask("config", "--get-regexp", r"^remote\..*\.url$").text):
        facts["repository"] = remote
    if above := ask("rev-parse", "--show-superproject-working-tree").text:
        notes.append(f"It is a submodule of {above}.")
    commit = ask("rev-parse", "--verify", "-q", "HEAD")
    facts["commit"] = commit.text if commit.code == 0 else None
    if commit.code == 1:
        notes.append("It has no commit yet.")
    if ask("ls-files", "--error-unmatch", "--", str(file)).code == 1:
        notes.append("The entrypoint's own file is not tracked, so that no commit and no diff holds it.")
    status = ask("status", "--porcelain=v1", "-z", "--untracked-files=normal", most=MOST_STATUS)
    facts["dirty"] = bool(status.out) if status.code == 0 else None  # None: not known
    if status.code != 0:
        notes.append(_failed("status", status))
    untracked = [_text(each[3:]) for each in status.out.split(b"\0") if each.startswith(b"?? ")]
    if untracked:
        facts["untracked"] = len(untracked)
    diff = b""
    if commit.code == 0 and facts["dirty"] is not False:
        words = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
        said = ask(*words, folder=Path(root.text), most=MOST_DIFF)
        if said.code != 0:
            notes.append(_failed("diff", said))
        if said.size > len(said.out):
            size = f"{said.size:,} bytes" + ("" if said.code == 0 else " or more")
            notes.append(f"The diff has {size}; the first {len(said.out):,} are kept.")
        if b"\nBinary files " in said.out:
            notes.append("Binary files changed; the diff does not hold what became of them.")
        if said.out or untracked:
            diff = _head(facts, untracked, notes) + said.out
    if notes:
        facts["notes"] = notes
    return Checkout(facts, diff)


def _head(facts: Mapping[str, Any], untracked: list[str], notes: list[str]) -> bytes:
    """What `git apply` passes over, in front of the diff."""
    lines = [f"{facts.get('repository', facts['root'])} at {facts['commit']}", *notes]
    if untracked:
        lines.append(f"{len(untracked):,} files or folders are not tracked, and not in this diff:")
        lines += [f"  {name!r}" for name in untracked[:MOST_UNTRACKED]]
        if len(untracked) > MOST_UNTRACKED:
            lines.append(f"  and {len(untracked) - MOST_UNTRACKED:,} more")
    return "".join(f"# {line}\n" for line in lines).encode()


def _remote(configured: str) -> str:
    """The address of origin, else of the first remote, without what one logs in with."""
    urls = [line.partition(" ") for line in configured.splitlines()]
    ordered = sorted(urls, key=lambda each: each[0] != "remote.origin.url")
    url = ordered[0][2] if ordered else ""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])[:300]


def _without(said: _Said) -> str:
    if "not a git repository" in said.err:
        return "It lies in no git repository."
    return _failed("rev-parse", said)


def _failed(what: str, said: _Said) -> str:
    first = next(iter(said.err.strip().splitlines()), f"status {said.code}")
    return f"git {what} did not say ({first[:200]})."


def _ask(*words: str, folder: Path, until: float, clock: Callable[[], float], most: int = 64 * 1024) -> _Said:
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        git = subprocess.Popen(
            [*ASKED, "-C", str(folder), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as problem:
        return _Said(None, b"", 0, f"git could not be started: {problem.strerror}")
    with git:
        try:
            out, err, size = _read(git, until=until, clock=clock, most=most)
            code = git.wait(max(0.0, until - clock()))
        except subprocess.TimeoutExpired:
            return _Said(None, out, size, "it did not finish in time")
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(git.pid, signal.SIGKILL)  # whatever it started that is left
    return _Said(code, out, size, _text(err))


def _read(
    git: subprocess.Popen[bytes], *, until: float, clock: Callable[[], float], most: int
) -> tuple[bytes, bytes, int]:
    """What it says on both streams until it closes them, and how much the first was; more than `most` is
    counted and dropped."""
    assert git.stdout is not None
    assert git.stderr is not None
    kept: dict[int, bytes] = {git.stdout.fileno(): b"", git.stderr.fileno(): b""}
    sizes = dict.fromkeys(kept, 0)
    open_ = set(kept)
    while open_ and (left_s := until - clock()) > 0:
        for stream in select.select(list(open_), [], [], left_s)[0]:
            said = os.read(stream, 1 << 16)
            if not said:
                open_.discard(stream)
            sizes[stream] += len(said)
            kept[stream] += said[: most - len(kept[stream])]
    out = git.stdout.fileno()
    return kept[out], kept[git.stderr.fileno()], sizes[out]


def _text(said: bytes) -> str:
    return said.decode(errors="backslashreplace")  # a file may have any bytes as its name
