"""A host of our own for one test: private folders, started by the first command as for a user, gone afterwards."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

from tests.host.talk import sweep

HOLD = (sys.executable, "-m", "holdfast.faces.cli.main")


class RealHost:
    """Use as a context manager. Nothing runs until a command needs a host."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hf-"))
        self.env = {
            **os.environ,
            "HOLDFAST_RUNTIME_DIR": str(self.folder / "r"),
            "HOLDFAST_STATE_DIR": str(self.folder / "s"),
        }
        self.env.pop("HOLDFAST_SESSION", None)

    @property
    def socket(self) -> str:
        return str(self.folder / "r" / "host.sock")

    def __enter__(self) -> "RealHost":
        return self

    def __exit__(self, *args: object) -> None:
        if self.status()["running"]:
            for session in json.loads(self.hold("ls", "--json").stdout):
                self.hold("kill", "--grace", "0.1s", session["id"])
            self.hold("host", "down")
        while ours := list(self.processes()):  # keeper, and holders that wait for a host to collect a status
            for pid in ours:
                end(pid)
        sweep(self.folder / "s")
        rmtree(self.folder)

    def processes(self) -> Iterator[int]:
        """The processes that were started with this folder in their arguments or their environment."""
        mark = str(self.folder).encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                zombie = b") Z " in (folder / "stat").read_bytes()
            except OSError:
                continue
            if mark in words and not zombie and int(folder.name) != os.getpid():
                yield int(folder.name)

    def hold(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*HOLD, *arguments], env=self.env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    def new(self, name: str, script: str) -> None:
        done = self.hold("new", name, "-d", "--", "sh", "-c", script)
        assert (done.returncode, done.stdout) == (0, name + "\n"), done.stderr

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.hold("host", "status", "--json").stdout)
        return found

    def session(self, name: str) -> dict[str, Any]:
        return next(s for s in json.loads(self.hold("ls", "-a", "--json").stdout) if s["name"] == name)


def end(pid: int) -> None:
    """Kill ``pid`` and return once it is gone."""
    try:
        watch = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(watch, signal.SIGKILL)
        select.select([watch], [], [], 10)
    except ProcessLookupError:
        pass
    finally:
        os.close(watch)
