"""Say on the desktop that something happened in a session: all that the page in the window may ask of this machine.

The page comes from a relay: it chooses one of four sentences and names a session, so often and no more. Not here: when (the
page's face/watching.js).
"""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
import time
from collections import deque
from typing import Final

from holdfast.faces.cli.show import clean

TITLE: Final = "Holdfast"
SAID: Final = {
    "command": "{} is done: a command has ended.",
    "input": "{} waits for input.",
    "approval": "{}: something waits for your approval.",
    "control": "{}: somebody took control.",
}
NAME_MAX: Final = 60  # characters of a session's name
AT_ONCE: Final = 6
REFILL_S: Final = 20.0
SHOW_S: Final = 5.0  # for a desktop that does not answer
_MAC: Final = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"


class Teller:
    """Keeps count of what was said."""

    def __init__(self) -> None:
        self._told: deque[float] = deque(maxlen=AT_ONCE)

    def tell(self, why: str, name: str) -> bool:
        """Show the sentence for ``why`` about the session ``name``; False if that is not shown. On any thread."""
        now = time.monotonic()
        full = len(self._told) == AT_ONCE and now - self._told[0] < REFILL_S
        if not isinstance(name, str) or why not in SAID or full:
            return False
        command = program()
        if command is None:
            return False
        self._told.append(now)
        text = SAID[why].format(html.escape(clean(name)[:NAME_MAX]) or "A session")  # some desktops read markup
        try:
            done = subprocess.run(
                [*command, TITLE, text], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=SHOW_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def program() -> list[str] | None:
    """Return what shows a title and a text on this desktop, None if there is nothing."""
    if sys.platform == "darwin":
        return ["osascript", "-e", _MAC]
    found = shutil.which("notify-send")
    return [found, "--app-name", TITLE, "--"] if found else None
