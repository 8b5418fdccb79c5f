"""Is what a method needs installed? Asked before a study exists, since Optuna would find out too late."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.ground.errors import MissingPackage

HINTS = (("torch", " (a CPU build is enough)"),)


def missing_packages(method: str, *packages: str) -> list[str]:
    """A sentence for each package that cannot be found; nothing is imported."""
    return [
        f"Method {method!r} needs {name}, which is not installed. "
        f"Install it with `pip install {name}`{dict(HINTS).get(name, '')}, or choose method 'random'."
        for name in packages
        if find_spec(name) is None
    ]


def require(method: str, *packages: str) -> None:
    """Raise MissingPackage with those sentences, instead of an ImportError from somewhere deep."""
    if problems := missing_packages(method, *packages):
        raise MissingPackage("\n".join(problems))
