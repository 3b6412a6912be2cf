"""Say who is at the other end of a local socket, from what the kernel vouches for."""

import functools
import pwd


@functools.lru_cache(maxsize=64)
def user_name(uid: int) -> str:
    """Return the name of ``uid``, or the number as text."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def operator_name(uid: int, pid: int) -> str:
    """Return the operator a local peer is, ``local:NAME/PID``, until operators have keys (I7)."""
    return f"local:{user_name(uid)}/{pid}"
