"""The orchestrator: specs, ledger, search, engine, workers, command line."""
