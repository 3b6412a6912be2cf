"""Ask the kernel how a session's terminal is set at this instant: what is typed without an echo is not written down.

The terminal is opened by its name for as long as the question takes (15 µs). Opening it waits for nothing, makes it
nobody's controlling terminal, and is noticed by nothing inside. Not here: what follows from it (input).
"""

import os
import termios

_FLAGS = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC


def is_secret(terminal: int) -> bool | None:
    """Tell whether /dev/pts/``terminal`` takes a line and shows nothing of it, as password prompts do.

    None: it cannot be told from here (a terminal that another user or namespace owns by now); the holder can.
    """
    try:
        fd = os.open(f"/dev/pts/{terminal}", _FLAGS)
    except OSError:
        return None
    try:
        local: int = termios.tcgetattr(fd)[3]
    except termios.error:
        return None
    finally:
        os.close(fd)
    return bool(local & termios.ICANON) and not local & termios.ECHO
