"""A program in a real terminal of its own, for tests: what it writes, what it is typed, how it leaves the settings."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence


class Screen:
    """``argv`` runs on the slave of a fresh PTY, in its own session. ``out`` is everything it wrote so far."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], *, rows: int = 24, cols: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self.slave)
        self.out = b""
        self.process = subprocess.Popen(
            argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *args: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def hang_up(self) -> None:
        """Close the window."""
        for fd in (self.slave, self.master):
            os.close(fd)
        self.master = self.slave = -1

    def settings(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], timeout)
        if ready:
            self.out += os.read(self.master, 65536)
        return bool(ready)

    def expect(self, pattern: bytes, timeout: float = 10.0) -> "re.Match[bytes]":
        """Wait until the output holds ``pattern``, a regular expression; forget what led up to its end."""
        until = time.monotonic() + timeout
        while not (found := re.search(pattern, self.out, re.DOTALL)):
            if not self.read(max(0.0, until - time.monotonic())):
                raise AssertionError(f"{pattern!r} is not in {self.out[-2000:]!r}")
        self.out = self.out[found.end() :]
        return found

    def ask(self, data: bytes, pattern: bytes) -> bytes:
        """Type ``data`` and return what of the output then matches ``pattern``."""
        self.type(data)
        return self.expect(pattern).group()

    def wait(self, timeout: float = 10.0) -> int:
        """Return the exit status, reading on meanwhile so that it can write its last words."""
        until = time.monotonic() + timeout
        while (status := self.process.poll()) is None:
            if time.monotonic() > until:
                raise AssertionError(f"still running; it wrote {self.out[-2000:]!r}")
            self.read(0.01)
        while self.read(0):
            pass
        return status

    def kill(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
