"""Read NAME@HOST: which session, and how to reach its host. Imports next to nothing: the fastest paths need it.

A *path* is the path of a socket on this machine, or ``@PROFILE/HOST`` for a host elsewhere, met at the profile's relays. With
no profile in it, whichever of the user's profiles knows that host is meant (which).
"""

from __future__ import annotations

import os

from holdfast.client import places

ACTING = "+"  # before the name of an operator that acts for this user (client.acting): ``@+NAME/HOST``
CHOSEN = ".profile"  # in the folder of the profiles: the one that `hold profile use` chose


def chosen() -> str:
    """Return the profile that was chosen, by HOLDFAST_PROFILE or `hold profile use`; empty: none in particular."""
    if name := os.environ.get("HOLDFAST_PROFILE"):
        return name
    try:
        with open(f"{places.keys()}/{CHOSEN}") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""


def split(name: str, profile: str | None = None) -> tuple[str, str | None]:
    """Return the session's own name and the path of its host; None: this user's host on this machine."""
    session, at, host = name.rpartition("@")
    if not at:
        return name, None
    return session, f"@{profile or chosen()}/{host}"


def elsewhere(path: str | None) -> bool:
    """Tell whether ``path`` leads to another machine."""
    return path is not None and path.startswith("@")


def parts(path: str) -> tuple[str, str]:
    """Return profile (empty: any) and host of a path elsewhere."""
    profile, _, host = path[1:].partition("/")
    return profile, host
