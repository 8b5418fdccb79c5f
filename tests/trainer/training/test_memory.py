"""Does what a compilation needed go back to the machine?"""

from __future__ import annotations

import jax
import pytest

from trainer.training import memory


def test_memory_is_given_back_after_each_large_compilation_and_only_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[int] = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: given.append)
    memory.give_back_after_compiling.cache_clear()
    memory.give_back_after_compiling()
    memory.give_back_after_compiling()  # once a process
    memory.give_back_after_compiling.cache_clear()
    compiled = "/jax/core/compile/backend_compile_duration"
    jax.monitoring.record_event_duration_secs(compiled, memory.LEAST_S)
    jax.monitoring.record_event_duration_secs(compiled, memory.LEAST_S / 2)
    jax.monitoring.record_event_duration_secs("/jax/core/compile/jaxpr_trace_duration", 10.0)
    assert given == [0]


def test_where_the_c_library_has_no_such_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory._malloc_trim() is None
