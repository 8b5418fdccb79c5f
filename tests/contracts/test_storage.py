"""Does every storage of ours keep the contract?"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.runs.folders import Storage
from orchestrator.testing.storages import Opener, StorageContract


class TestMounted(StorageContract):
    """A folder that all hosts mount at the same path."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return lambda: Storage(tmp_path / "runs")
