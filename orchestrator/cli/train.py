"""`orch train`: one model, in this terminal."""

from __future__ import annotations

from orchestrator.cli import passing

command = passing.to("train", "trainer.run", "Train one model, and say how it translates.")
