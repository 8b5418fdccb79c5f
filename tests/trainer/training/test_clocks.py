"""Is every second on exactly one clock, and does an attempt know its own from those before it?"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import DataConfig, TrainConfig
from trainer.protocol import COUNTS, SECONDS, Place
from trainer.training import assembly
from trainer.training.clocks import Clocks, peak_memory_bytes


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def seconds(clocks: Clocks) -> dict[str, float]:
    return {name: number for name, number in clocks.reading().items() if name in SECONDS}


def test_seconds_go_to_the_clock_that_is_on_and_then_to_the_one_before() -> None:
    now = Now()
    clocks = Clocks(now=now)
    now.s += 1
    with clocks.on("train_s"):
        now.s += 10
        with clocks.on("eval_s"):
            now.s += 100
        now.s += 20
    now.s += 2
    assert seconds(clocks) == {"train_s": 30, "eval_s": 100, "compile_s": 0, "other_s": 3}
    now.s += 5
    assert clocks.reading()["other_s"] == 8


def test_an_error_leaves_the_clock_that_it_came_from() -> None:
    now = Now()
    clocks = Clocks(now=now)

    def fail() -> None:
        now.s += 4
        raise RuntimeError

    with pytest.raises(RuntimeError), clocks.on("eval_s"):
        fail()
    now.s += 3
    assert seconds(clocks) == {"train_s": 0, "eval_s": 4, "compile_s": 0, "other_s": 3}


@given(st.lists(st.tuples(st.sampled_from((*SECONDS, "compiled")), st.integers(0, 9), st.integers(0, 30))))
def test_all_clocks_together_are_the_seconds_that_passed(
    spans: list[tuple[str, int, int]],
) -> None:
    now = Now()
    clocks = Clocks(now=now)
    for name, before, after in spans:
        now.s += before
        if name == "compiled":
            clocks.compiled(after)  # also longer than what it can have taken
        else:
            with clocks.on(name):
                now.s += after
                clocks.compiled(after / 2)
    read = seconds(clocks)
    assert sum(read.values()) == pytest.approx(now.s - 100)
    assert min(read.values()) >= 0


def test_compiling_within_compiling_counts_once() -> None:
    now = Now()
    clocks = Clocks(now=now)
    with clocks.on("train_s"):
        now.s += 10
        clocks.compiled(2)  # 108 to 110, a part of what ends at 111
        now.s += 1
        clocks.compiled(6)  # 105 to 111
        now.s += 4
        clocks.compiled(1)  # 114 to 115
    assert seconds(clocks) == {"train_s": 8, "eval_s": 0, "compile_s": 7, "other_s": 0}


def test_what_jax_compiles_is_heard_and_only_while_asked() -> None:
    def new_program() -> None:
        jax.jit(lambda x: jnp.sin(x) + 1)(jnp.ones(3)).block_until_ready()

    clocks = Clocks()
    with clocks.hearing_compiles(), clocks.on("eval_s"):
        new_program()
    heard = clocks.reading()
    assert heard["compile_s"] > 0
    assert heard["train_s"] == 0
    with clocks.on("train_s"):
        new_program()
    assert clocks.reading()["compile_s"] == heard["compile_s"]


def test_seconds_without_a_core_are_no_training() -> None:
    now, cpu = Now(), Now()
    clocks = Clocks(now=now)
    now.s += 2  # before it counts cores, all seconds stand on the clock that is on
    clocks.without_waits(cpu)
    with clocks.on("train_s"):
        now.s, cpu.s = now.s + 10, cpu.s + 4
    with clocks.on("eval_s"):
        now.s, cpu.s = now.s + 5, cpu.s + 20  # several threads: nothing shows a wait
    assert seconds(clocks) == {"train_s": 4, "eval_s": 5, "compile_s": 0, "other_s": 8}


def test_compiling_keeps_its_seconds_when_the_process_waited_for_a_core() -> None:
    now, cpu = Now(), Now()
    clocks = Clocks(now=now)
    clocks.without_waits(cpu)
    with clocks.on("train_s"):
        now.s, cpu.s = now.s + 10, cpu.s + 5
        clocks.compiled(4)
    assert seconds(clocks) == {"train_s": 3, "eval_s": 0, "compile_s": 4, "other_s": 3}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the text of both runs is kept, once it is made."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize(
    ("gang", "waits_apart"), [(Place(), True), (Place(process_count=2, coordinator="x:1"), False)]
)
def test_a_run_alone_on_cores_tells_waits_apart_and_one_of_a_gang_does_not(
    gang: Place, waits_apart: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a gang, waiting for the others is part of a step."""
    monkeypatch.setattr(assembly.mesh, "start_distributed", lambda place: None)
    monkeypatch.setenv("ORCH_HOME", str(home))
    now = Now()
    clocks = Clocks(now=now)
    config = TrainConfig(steps=1, data=DataConfig(pairs=600, level="phrases"))
    with assembly.opened(config, gang, clocks), clocks.on("train_s"):
        now.s += 1e6  # hardly any CPU time is spent meanwhile
    assert (clocks.reading()["train_s"] < 1e4) == waits_apart


def test_counts_are_counted_and_names_are_checked() -> None:
    clocks = Clocks()
    clocks.count(steps=3, tokens=70)
    clocks.count(steps=2, flops=1e9)
    assert {name: clocks.reading()[name] for name in COUNTS} == {"steps": 5, "tokens": 70, "flops": 1e9}
    with pytest.raises(ValueError) as refused:
        clocks.count(epochs=1)
    assert str(refused.value) == "Nothing counts 'epochs'. Allowed: steps, tokens, flops."
    with pytest.raises(ValueError) as refused, clocks.on("wall_s"):
        pass
    assert str(refused.value) == "There is no clock 'wall_s'. Allowed: train_s, eval_s, compile_s, other_s."


def test_an_attempts_own_totals_start_anew_and_the_sum_goes_on() -> None:
    ends = []
    saved: dict[str, float] = {}
    for attempt in range(3):
        now = Now()
        clocks = Clocks(now=now)
        clocks.from_checkpoint(saved)
        with clocks.on("train_s"):
            now.s += 10 + attempt
        clocks.count(steps=100)
        saved = clocks.to_checkpoint()
        ends.append((clocks.reading()["train_s"], saved["train_s"], saved["steps"]))
    assert ends == [(10, 10, 100), (11, 21, 200), (12, 33, 300)]
    assert clocks.earlier["train_s"] == 21


def test_peak_memory_is_what_the_process_has_held() -> None:
    held = bytearray(b"1") * 60_000_000
    assert peak_memory_bytes() > len(held)
