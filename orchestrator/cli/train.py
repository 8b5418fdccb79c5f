"""`orch train`: one model, in this terminal."""

from __future__ import annotations

from orchestrator.cli import trainer_commands

command = trainer_commands.to("train", "trainer.run", "Train one model and print its translations.")
