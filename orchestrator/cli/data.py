"""`orch data`: what text there is."""

from __future__ import annotations

from orchestrator.cli import passing

command = passing.to("data", "trainer.data", "Describe a corpus, and who opened its test split.")
