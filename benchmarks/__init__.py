"""Every claim about speed, one script each. `python -m benchmarks` runs them all."""
