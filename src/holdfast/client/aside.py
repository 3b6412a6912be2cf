"""Have certificates that end soon renewed by a process aside, once in a few hours. Imports next to nothing."""

from __future__ import annotations

import os
import sys

from holdfast.client import places
from holdfast.edge import due


def keep_up() -> None:
    """Start client.upkeep if it is due; nobody waits for it. Not from inside a session, whose programs manage nothing."""
    if "HOLDFAST_SESSION" in os.environ or not due.claimed(places.keys()):
        return
    from holdfast.edge.detach import detached

    try:
        detached([sys.executable, "-m", "holdfast.client.upkeep"])
    except OSError:
        pass
