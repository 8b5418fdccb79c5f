"""Which extras does a command need? Asked before it does anything."""

from __future__ import annotations

import click

from orchestrator.ground import extras


def require(*names: str) -> None:
    """MissingPackage in the name of the command that is being obeyed, unless these extras are installed."""
    extras.require(f"`{click.get_current_context().command_path}`", *names)
