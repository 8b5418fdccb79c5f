"""The orchestrator: specs, ledger, search, engine, workers, command line."""

__version__ = "0.2.0.dev0"  # the one place; the package's metadata, the API and the command line read it
