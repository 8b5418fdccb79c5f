"""An entry: the name that stands in studies and in people's code."""

from orchestrator.entrypoints.population import check, fits, inherit, learns, run, shape_key

__all__ = ["check", "fits", "inherit", "learns", "run", "shape_key"]
