"""Who is this process, to others?"""

from __future__ import annotations

import getpass
import os
import socket


def whoami() -> str:
    """Who asks, or leads: told to people, and never parsed."""
    return f"{user()}@{socket.gethostname()}:{os.getpid()}"


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.geteuid())
