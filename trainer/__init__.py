"""The guided trainer: reached through an entrypoint, never imported by the orchestrator's core."""
