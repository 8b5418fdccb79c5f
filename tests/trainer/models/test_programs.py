"""Does one process at a time compile a program, and does nothing that goes wrong keep another waiting?"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.models import programs
from trainer.training.clocks import Clocks

BACKEND = "/jax/core/compile/backend_compile_duration"
# Holds the lock of the file that it is given, says so, and lives until it is told to end.
HOLDER = (
    "import fcntl, sys; f = open(sys.argv[1], 'a+b'); fcntl.flock(f, 2); print('held', flush=True); input()"
)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    before = jax.config.jax_compilation_cache_dir
    programs.keep(tmp_path / "programs")
    yield Path(jax.config.jax_compilation_cache_dir or "")
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of a lock, in order; nobody waits."""
    asked: list[str] = []
    names = {fcntl.LOCK_EX: "wait", fcntl.LOCK_UN: "go on"}
    monkeypatch.setattr(programs.fcntl, "flock", lambda file, how: asked.append(names[how]))
    return asked


def test_a_program_is_compiled_once_in_a_process_and_waited_for_by_its_shapes(
    kept: Path, waits: list[str]
) -> None:
    call, compiled = programs.one_at_a_time(jax.jit(lambda x: 2 * x)), list[float]()

    def hear(event: str, duration_secs: float, **_: str | int) -> None:
        if event == BACKEND:
            compiled.append(duration_secs)

    short, long = jnp.ones(2), jnp.ones(3)
    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        assert [call(x).tolist() for x in (short, short, long)] == [[2, 2], [2, 2], [2, 2, 2]]
    finally:
        jax.monitoring.unregister_event_duration_listener(hear)
    assert len(compiled) == 2
    assert waits == ["wait", "wait"]
    assert len(list(kept.glob("*.turn"))) == 2


def test_what_was_made_before_is_not_waited_for(kept: Path, waits: list[str]) -> None:
    for _ in range(2):  # another function object is as another process
        programs.one_at_a_time(jax.jit(lambda x: 3 * x))(jnp.ones(2))
    assert waits == ["wait"]


def test_those_that_waited_load_it_side_by_side(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def made_meanwhile(file: object, how: int) -> None:
        asked.append(how)
        for each in kept.glob("*.turn"):
            each.write_bytes(programs.MADE)

    monkeypatch.setattr(programs.fcntl, "flock", made_meanwhile)
    programs.one_at_a_time(jax.jit(lambda x: 4 * x))(jnp.ones(2))
    assert asked == [fcntl.LOCK_EX, fcntl.LOCK_UN]


def test_a_program_that_another_process_compiles_is_waited_for_until_that_one_dies(kept: Path) -> None:
    call, x = programs.one_at_a_time(jax.jit(lambda x: 5 * x)), jnp.ones(2)
    call(x)
    (turn,) = kept.glob("*.turn")
    turn.write_bytes(b"")  # as it is while the program is being made
    again = programs.one_at_a_time(jax.jit(lambda x: 5 * x))
    command = [sys.executable, "-c", HOLDER, str(turn)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with turn.open("a+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.kill()
        assert again(x).tolist() == [5, 5]
    assert turn.read_bytes() == programs.MADE


@pytest.mark.parametrize("trouble", ["no folder", "no locks"])
def test_where_nothing_can_be_locked_programs_are_compiled_all_the_same(
    tmp_path: Path, kept: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "no folder":
        (tmp_path / "programs").write_text("a file stands there")
    else:

        def refused(file: object, how: int) -> None:
            raise OSError("no locks here")

        monkeypatch.setattr(programs.fcntl, "flock", refused)
    assert programs.one_at_a_time(jax.jit(lambda x: 6 * x))(jnp.ones(2)).tolist() == [6, 6]


def test_waiting_is_on_the_clock_of_compiling() -> None:
    time_s = [0.0]
    clocks = Clocks(now=lambda: time_s[0])
    with clocks.hearing_compiles(), clocks.on("train_s"):
        time_s[0] = 10.0
        jax.monitoring.record_event_duration_secs(programs.WAITED, 7.0)
    reading = clocks.reading()
    assert (reading["compile_s"], reading["train_s"]) == (7.0, 3.0)


def test_another_version_or_processor_has_a_folder_of_its_own(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "jaxlib_version", "0.0.1")
    programs.keep(tmp_path / "programs")
    newer = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(programs, "_processor", lambda: "riscv-0")
    programs.keep(tmp_path / "programs")
    assert len({str(kept), newer, jax.config.jax_compilation_cache_dir}) == 3
    assert Path(str(jax.config.jax_compilation_cache_dir)).parent == tmp_path / "programs"


@pytest.mark.parametrize("folders", [("programs", "programs"), ("of-one-host", "of-the-other")])
def test_each_process_of_a_gang_finds_what_it_compiled_before(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    first, again = (told_by_two([tmp_path / name for name in folders]) for _ in range(2))
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)
    for each in (*first, *again):
        np.testing.assert_allclose(each["told"], (rows.T @ rows).sum(axis=0))
    assert [each["found"] for each in first] == [0, 0]
    assert [each["found"] for each in again] == [each["asked"] for each in again]
    assert all(each["asked"] for each in again)


def told_by_two(folders: Sequence[Path]) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "tests.trainer.models.kept_program"]
    gang = [
        subprocess.Popen(
            [*words, str(index), coordinator, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        )
        for index, folder in enumerate(folders)
    ]
    try:
        return [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in gang]
    finally:
        for process in gang:
            process.kill()
