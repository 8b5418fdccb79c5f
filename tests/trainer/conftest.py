"""Which tests of the trainer compile as people's runs do?"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

LESS = "jax_disable_most_optimizations"


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """All optimizations, most of which tests/conftest.py leaves out: for files that say that two programs
    compute the same bits. Nothing compiled otherwise is used there, nor what they compile elsewhere."""
    before = jax.config.read(LESS)
    jax.config.update(LESS, False)
    jax.clear_caches()
    yield
    jax.config.update(LESS, before)
    jax.clear_caches()
