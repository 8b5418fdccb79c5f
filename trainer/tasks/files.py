"""How does a user's own file become a task: a TSV, JSON lines, or a folder with a file for each split?"""

from __future__ import annotations

from pathlib import Path

from trainer.config import DataConfig
from trainer.data import files
from trainer.data.sources import Source
from trainer.tasks.contract import task


def from_config(config: DataConfig, home: Path) -> Source:
    """The rows at `data.path`; DataError names the line that is wrong."""
    given = files.read(config.path, pair=files.TASK)
    return task(f"task {Path(config.path).name}", given, most=config.pairs)
