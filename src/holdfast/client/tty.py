"""The user's own terminal: raw mode, its size, writing without waiting, and giving it back as it was found.

Not here: what is written to it (terminal). A terminal is given back whatever happens: `restore` may be called twice and
from a signal's aftermath, and never raises.
"""

from __future__ import annotations

import errno
import os
import termios

# Everything a session can leave behind, taken back. CAN ends a control string that was cut in half. Leaving the
# alternate screen is separate: a terminal that is not on it would move its cursor.
RESTORE = (
    b"\x18\x1b[?2026l"  # no string under way, no synchronised update
    b"\x1b[=0u"  # kitty keyboard of this screen
    b"%s"
    b"\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    b"\x1b[?1004l\x1b[?2004l\x1b[?2031l\x1b[?2048l"  # focus, paste, colour scheme and size reports
    b"\x1b[?1l\x1b>\x1b[>4m\x1b[<99u\x1b[=0u"  # cursor keys, keypad, modifyOtherKeys, kitty keyboard
    b"\x1b[4l\x1b[20l\x1b[?5l\x1b[?7h"  # insert, newline, reverse; wrap
    b"\x1b7\x1b[?6l\x1b[?69l\x1b[r\x1b8"  # origin, margins, scroll region: each moves the cursor home
    b"\x1b(B\x0f\x1b]8;;\x1b\\\x1b[0m\x1b[0 q\x1b[?25h"  # charset, link, colours, cursor's shape, cursor
)
LEAVE_ORIGIN = b"\x1b[?6l\x1b[999;1H"  # the cursor that was put back above brought its origin mode with it
LEAVE_ALTERNATE = b"\x1b[?1049l"
_ALTERNATE = (b"\x1b[?1049", b"\x1b[?1047", b"\x1b[?47")
_CARRY = 12  # longest of the above with what may follow


class Alternate:
    """Follow whether the output left the terminal on its alternate screen."""

    def __init__(self) -> None:
        self.on = False
        self.origin = False  # origin mode was on at some time
        self._carry = b""

    def wrote(self, data: bytes) -> None:
        """Look through ``data``: one memory search for each of the three ways (5 GB/s), no work per byte of ours."""
        text = self._carry + data[:_CARRY] if self._carry else b""
        for piece in (text, data):
            if b"[?" not in piece:  # nearly always: one search instead of three
                continue
            self.origin = self.origin or b"\x1b[?6h" in piece
            at, found = max((piece.rfind(way), way) for way in _ALTERNATE)
            if at >= 0 and piece[at + len(found) : at + len(found) + 1] in (b"h", b"l", b";"):
                end = at + len(found)
                while end < len(piece) and piece[end] in b"0123456789;":
                    end += 1
                if end < len(piece) and piece[end] in b"hl":
                    self.on = piece[end] == 0x68
        self._carry = data[-_CARRY:]


class Tty:
    """The terminal on two descriptors. Output goes through an own, non-blocking description of it where it has one: a
    non-blocking flag on the shared one would be the shell's problem after we are gone."""

    def __init__(self, read_fd: int = 0, write_fd: int = 1) -> None:
        """Raises OSError if either is no terminal."""
        self.read_fd, self.write_fd = read_fd, write_fd
        self.saved = termios.tcgetattr(read_fd)
        self.alternate = Alternate()
        self.used = False  # whether anything was written that has to be taken back
        name = os.ttyname(write_fd)
        try:
            self.out_fd = os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            self.patient = False
        except OSError:  # after su the terminal is another user's: the inherited descriptor is all there is
            self.out_fd, self.patient = write_fd, True

    def raw(self) -> None:
        """Pass every key as it is. Ctrl-Z, Ctrl-C and Ctrl-S are the session's."""
        mode = [*self.saved[:6], list(self.saved[6])]
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
            | termios.ICRNL | termios.IXON
        )  # fmt: skip
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self.read_fd, termios.TCSANOW, mode)

    def size(self) -> tuple[int, int]:
        """Return (rows, columns); 24 by 80 for a terminal that does not know."""
        try:
            columns, rows = os.get_terminal_size(self.write_fd)
        except OSError:
            return 24, 80
        return rows or 24, columns or 80

    def write(self, data: bytes | memoryview) -> int:
        """Return how many bytes of ``data`` the terminal took now. Raises OSError when it is gone."""
        if self.patient:
            data = data[:1024]  # writable by poll means room for a little; more would block the loop
        try:
            return os.write(self.out_fd, data)
        except BlockingIOError:
            return 0

    def restore(self) -> None:
        """Give the terminal back: modes of its screen, then its line settings. Never raises, never waits long."""
        if self.used:
            self.used = False
            below = (
                b"\r\x1b[J" if self.alternate.on else b"\r\n\x1b[J"
            )  # our last line, and the shell's prompt, come below
            origin = LEAVE_ORIGIN if self.alternate.origin else b""
            self._last_words(RESTORE % (LEAVE_ALTERNATE if self.alternate.on else b"") + origin + below)
        try:
            termios.tcsetattr(self.read_fd, termios.TCSANOW, self.saved)
        except (OSError, termios.error):
            pass  # it is gone: nobody is left to mind
        if not self.patient:
            try:
                os.close(self.out_fd)
            except OSError:
                pass
            self.out_fd, self.patient = self.write_fd, True

    def _last_words(self, data: bytes) -> None:
        from select import POLLOUT, poll

        ready = poll()
        ready.register(self.out_fd, POLLOUT)
        while data:
            try:
                if not ready.poll(500):  # a terminal that is stopped for good cannot keep us
                    return
                data = data[self.write(data) :]
            except OSError as error:
                if error.errno != errno.EINTR:
                    return
