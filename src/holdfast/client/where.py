"""Read NAME@HOST: which session, and how to reach its host. Imports nothing, since the fastest paths need it.

A *path* is the path of a socket on this machine, or ``@PROFILE/HOST`` for a host elsewhere, met at the profile's relays.
"""

from __future__ import annotations

import os


def split(name: str) -> tuple[str, str | None]:
    """Return the session's own name and the path of its host; None: this user's host on this machine."""
    session, at, host = name.rpartition("@")
    if not at:
        return name, None
    return session, f"@{os.environ.get('HOLDFAST_PROFILE') or 'default'}/{host}"


def elsewhere(path: str | None) -> bool:
    """Tell whether ``path`` leads to another machine."""
    return path is not None and path.startswith("@")


def parts(path: str) -> tuple[str, str]:
    """Return profile and host of a path elsewhere."""
    profile, _, host = path[1:].partition("/")
    return profile, host
