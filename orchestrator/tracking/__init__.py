"""How does a study get into MLflow? `mirror` while it runs, `sync` for what is left, `attach` for files.

The ledger is the truth; MLflow is written and never read back for anything but what it holds already.
Importing this loads no MLflow, which takes seconds: only `store.py` does, when the first run is written.
"""

from __future__ import annotations

from orchestrator.tracking.background import Mirror, NoMirror, mirror
from orchestrator.tracking.destination import Destination, destination
from orchestrator.tracking.pages import run_page
from orchestrator.tracking.sync import attach, lag, sync

__all__ = ["Destination", "Mirror", "NoMirror", "attach", "destination", "lag", "mirror", "run_page", "sync"]
