"""Remember when this user's certificates have to be looked at next: one file's time, read in microseconds by every command.

Not here: what is done then (client.upkeep). Imports next to nothing: the fastest paths need it.
"""

import os
import time

FILE = ".upkeep"  # in the folder of the profiles; its modification time is when it is due
FIRST_S = 3600.0  # after it is missed for the first time: what was made just now lives longer
SOON_S = 600.0
CLAIM_S = 120.0  # whoever finds it due has so long to do it before others try


def claimed(keys: str) -> bool:
    """Tell whether upkeep of the profiles in ``keys`` is due, and nobody else was told so lately."""
    path, now = f"{keys}/{FILE}", time.time()
    try:
        if os.stat(path).st_mtime > now:
            return False
        settle(keys, now + CLAIM_S)
        return True
    except OSError:
        if os.path.isdir(keys):
            settle(keys, now + FIRST_S)
        return False


def sooner(keys: str) -> None:
    """Note that upkeep has something to do now, unless it comes within ``SOON_S`` anyway, or just failed and is tried again."""
    try:
        late = os.stat(f"{keys}/{FILE}").st_mtime > time.time() + SOON_S
    except OSError:
        late = True
    if late:
        settle(keys, time.time())


def settle(keys: str, at: float) -> None:
    """Note that it is due next ``at``, Unix seconds. What cannot be written is tried again by the next command."""
    path = f"{keys}/{FILE}"
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path, (at, at))
    except OSError:
        pass
