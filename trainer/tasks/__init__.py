"""Which rows, of an input and a target, does a task bring? No JAX."""
