"""Say who is at the other end of a local socket, from what the kernel vouches for."""

import functools
import pwd


@functools.lru_cache(maxsize=64)
def operator_name(uid: int) -> str:
    """Return the operator a local uid is, ``local:NAME``, until operators have keys."""
    try:
        return f"local:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"local:{uid}"
