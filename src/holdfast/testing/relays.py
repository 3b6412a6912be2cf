"""A relay for one test: a real process on a free port of this machine, with a state that survives it if it is killed."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

READY_S: Final = 30.0


class TemporaryRelay:
    """``url`` is its address once it is ``up``. Use as a context manager, or call ``up`` and ``close``.

    ``state``: its folder, by default one of its own that goes with it; ``arguments`` of ``python -m holdfast.relay.main``, by
    default those of a relay that takes in any tenant.
    """

    def __init__(self, state: Path | None = None, *arguments: str) -> None:
        self._own = Path(tempfile.mkdtemp(prefix="hf-relay-")) if state is None else None
        self.state, self._arguments = state or (self._own or Path()) / "state", arguments or ("--open",)
        self.process: subprocess.Popen[bytes] | None = None
        self.url, self.port = "", 0

    def __enter__(self) -> "TemporaryRelay":
        return self.up()

    def __exit__(self, *args: object) -> None:
        self.close()

    def up(self) -> "TemporaryRelay":
        """Start it and return it once it listens; after ``kill`` on the same port. Raises RuntimeError with its log."""
        reading, writing = os.pipe()
        argv = [sys.executable, "-m", "holdfast.relay.main", "--listen", f"127.0.0.1:{self.port}"]
        with (self.state.parent / "relay.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, "--state", str(self.state), "--ready-fd", str(writing), *self._arguments], pass_fds=(writing,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        os.close(writing)
        ready, _, _ = select.select([reading], [], [], READY_S)
        line = os.read(reading, 4096) if ready else b""
        os.close(reading)
        if not line:
            self.kill()
            raise RuntimeError(f"the relay did not start: {self.log()[-2000:]}")
        said = json.loads(line)
        self.url, self.port = said["url"], said["port"]
        return self

    def log(self) -> str:
        """What it wrote to its log."""
        return (self.state.parent / "relay.log").read_text()

    def events(self) -> list[dict[str, Any]]:
        """Its log, a record a line."""
        return [json.loads(line) for line in self.log().splitlines()]

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it with a signal and return its exit status. Raises RuntimeError if it was never up."""
        if self.process is None:
            raise RuntimeError("this relay was not started")
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self) -> None:
        """End it and remove its own folder. Safe to repeat."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self._own is not None:
            rmtree(self._own, ignore_errors=True)
