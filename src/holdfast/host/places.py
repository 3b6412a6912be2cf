"""Look at the machine for where this user's sockets and records live; core.places decides."""

import os
import pwd
from pathlib import Path

from holdfast.core.places import Places, places


def here() -> Places:
    """Return the places of the user this process runs as."""
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
        name, home = entry.pw_name, entry.pw_dir
    except KeyError:
        name, home = str(uid), os.environ.get("HOME", "/")
    lingers = Path("/var/lib/systemd/linger", name).exists() and Path(f"/run/user/{uid}").is_dir()
    return places(
        uid=uid,
        home=Path(home),
        lingers=lingers
        and not Path(f"/tmp/holdfast-{uid}/keeper.sock").exists(),  # sessions that run are not left behind
        runtime=os.environ.get("HOLDFAST_RUNTIME_DIR"),
        state=os.environ.get("HOLDFAST_STATE_DIR"),
        config=os.environ.get("HOLDFAST_CONFIG"),
    )
