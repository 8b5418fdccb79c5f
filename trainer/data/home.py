"""Where are text, vocabularies and compiled programs kept from one run to the next?

Under ORCH_HOME (./orch-data), which an orchestrator gives its workers. What is deleted is made again, but
for data/test-openings, the record of who opened a test split.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    return Path(os.environ.get("ORCH_HOME") or "orch-data").absolute()


def texts() -> Path:
    return home() / "data"


def programs() -> Path:
    return home() / "programs"
