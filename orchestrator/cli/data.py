"""`orch data`: what text there is."""

from __future__ import annotations

from orchestrator.cli import trainer_commands

command = trainer_commands.to(
    "data", "trainer.data", "Describe or prepare a corpus; list who opened its test split."
)
