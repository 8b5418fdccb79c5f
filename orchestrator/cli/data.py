"""`orch data`: what text there is."""

from __future__ import annotations

from orchestrator.cli import passing

command = passing.to("data", "trainer.data", "Describe or prepare a corpus; list who opened its test split.")
