"""What was found? Reads ledgers, never writes one; sees nothing of the studies' presets."""
