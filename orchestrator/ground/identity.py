"""Who is this process, to others?"""

from __future__ import annotations

import getpass
import os
import socket


def whoami() -> str:
    """Who asks, or leads: told to people, and never parsed."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
