"""What does a ledger prove? Tables, tests, verdicts, as values."""
