"""A screen of its own (Xvfb) and the window on it: real keys and clicks (xdotool), and what the engine shows (DevTools)."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from holdfast.faces.demo.chromium import Page
from tests.faces.realhost import HOLD, RealHost
from tests.web.desk import OPENED

NEEDED = ("Xvfb", "xdotool")
_PORT = re.compile(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/")


def missing() -> str:
    """What of the programs is not installed; empty: nothing."""
    return ", ".join(name for name in NEEDED if shutil.which(name) is None)


class Display:
    """A screen of 1400 x 900; ``with`` ends it."""

    def __enter__(self) -> "Display":
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x900x24", "-nolisten", "tcp"], pass_fds=[writing],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writing)
        with open(reading) as told:
            self.name = ":" + told.readline().strip()
        return self

    def __exit__(self, *args: object) -> None:
        self._process.terminate()
        self._process.wait()

    def do(self, *words: str) -> str:
        """Press, type or click: xdotool(1)."""
        done = subprocess.run(
            ["xdotool", *words], env=os.environ | {"DISPLAY": self.name}, capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout


class Window:
    """The window of ``host``, as `hold desktop` opens it."""

    def __init__(self, host: RealHost, display: Display) -> None:
        self.host, self.display = host, display
        self._opened = 0  # windows so far
        self._env = host.env | {
            "DISPLAY": display.name,
            "QT_QPA_PLATFORM": "xcb",
            "QTWEBENGINE_REMOTE_DEBUGGING": f"127.0.0.1:{_free_port()}",  # the engine takes no 0
            "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox" if os.geteuid() == 0 else "",
            "QTWEBENGINE_DISABLE_SANDBOX": "1" if os.geteuid() == 0 else "0",
            "TMPDIR": str(host.folder),
        }
        self._log = host.folder / "s" / "desktop" / "window.log"

    def hold(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*HOLD, *words], env=self._env, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL
        )

    def open(self, *words: str) -> None:
        """`hold desktop`, which works."""
        self._opened += not self.pid
        done = self.hold("desktop", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), f"{done.stderr}\n{self.said()}"

    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The process that has the window; 0: none."""
        for pid in self.host.processes():
            if b"holdfast.faces.desktop.main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return 0

    def page(self) -> Page:
        """What is in it, over the engine's own protocol."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.05)  # the engine tells nobody when it listens, and when it has a page
            if len(ports := _PORT.findall(self.said())) < self._opened:
                continue
            port = ports[-1]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                pages = [each for each in json.loads(answer.read()) if each["type"] == "page"]
            if pages:
                return Page(None, pages[0]["webSocketDebuggerUrl"])
        raise AssertionError(self.said())

    def into_terminal(self, page: Page) -> None:
        """Click into the terminal, on the screen itself."""
        box = page.run(
            f"(() => {{ const b = document.querySelector({json.dumps(OPENED + ' .xterm-screen')}).getBoundingClientRect();"
            " return [window.screenX + b.x + b.width / 2, window.screenY + b.y + b.height / 2]; })()"
        )
        self.display.do("mousemove", str(int(box[0])), str(int(box[1])), "click", "1")

    def kill(self) -> None:
        """As a crash would end it."""
        watch = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(watch, signal.SIGKILL)
        os.close(watch)
        deadline = time.monotonic() + 20
        while self.pid or any(b"QtWebEngine" in _words(pid) for pid in self.host.processes()):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        """Close it as its user does: by the last word of its menu."""
        found = self.display.do("search", "--onlyvisible", "--name", "^Holdfast").split()[-1]
        said = self.display.do("getwindowgeometry", "--shell", found)
        left, top = (int(re.findall(rf"{name}=(-?\d+)", said)[0]) for name in "XY")
        self.display.do("mousemove", str(left + 20), str(top + 8), "click", "1")
        self.display.do("key", "Up")
        self.display.do("key", "Return")
        deadline = time.monotonic() + 20
        while self.pid:
            assert time.monotonic() < deadline, "it does not close"
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
