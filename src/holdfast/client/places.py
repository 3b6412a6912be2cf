"""Look at this machine for core.places: uid, home, lingering, and what the environment chose. Decides nothing itself.

``socket_path``, ``folder`` and ``keys`` repeat the rule of core.places.places for the fast paths, which cannot afford its
imports (dataclasses and pathlib: 15 ms); tests/client/test_places.py holds the two against each other.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from holdfast.core.places import Places


def lingers(uid: int) -> bool:
    """Tell whether systemd keeps the runtime folder of ``uid`` after logout."""
    name = _user(uid)
    return bool(name) and os.path.exists(f"/var/lib/systemd/linger/{name}")


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's numeric user
        return ""


def home() -> str:
    """The home folder of the user, whatever HOME one shell has: host and clients must mean the same records."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's numeric user
        return os.environ.get("HOME", "/")


def _settled(uid: int) -> bool:
    """Whether /run/user is the place: the user lingers, and no keeper was started elsewhere before that was so."""
    if not (lingers(uid) and os.path.isdir(f"/run/user/{uid}")):
        return False
    return not os.path.exists(f"/tmp/holdfast-{uid}/keeper.sock")


def folder() -> str:
    """The runtime folder of this user, as core.places has it."""
    if chosen := os.environ.get("HOLDFAST_RUNTIME_DIR"):
        return chosen
    uid = os.getuid()
    return f"/run/user/{uid}/holdfast" if _settled(uid) else f"/tmp/holdfast-{uid}"


def socket_path() -> str:
    """Where the host of this user listens, as core.places has it."""
    return folder() + "/host.sock"


def keys() -> str:
    """The folder of this user's profiles, as core.places has it."""
    return (os.environ.get("HOLDFAST_STATE_DIR") or home() + "/.local/state/holdfast") + "/keys"


def here() -> Places:
    """Return the places of the user who runs this program."""
    from pathlib import Path

    from holdfast.core.places import places

    uid = os.getuid()
    return places(
        uid=uid,
        home=Path(home()),
        lingers=_settled(uid),
        runtime=os.environ.get("HOLDFAST_RUNTIME_DIR"),
        state=os.environ.get("HOLDFAST_STATE_DIR"),
        config=os.environ.get("HOLDFAST_CONFIG"),
    )
