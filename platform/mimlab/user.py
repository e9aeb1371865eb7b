"""Who uses this process."""

from __future__ import annotations

import getpass


def this_user() -> str:
    """The name of the user whom this process belongs to."""
    try:
        return getpass.getuser()
    except OSError:
        return "unknown"
