"""An entry: the name that stands in studies and in people's code."""

from orchestrator.entrypoints.rehearsal import check, run, shape_key

__all__ = ["check", "run", "shape_key"]
