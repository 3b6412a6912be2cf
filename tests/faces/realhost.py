"""A host of our own for one test: private folders, started by the first command as for a user, gone afterwards."""

import json
from typing import Any

from holdfast.testing import HOLD, TemporaryHost, end

__all__ = ["HOLD", "RealHost", "end"]


class RealHost(TemporaryHost):
    """Use as a context manager. Nothing runs until a command needs a host."""

    def __enter__(self) -> "RealHost":
        return self

    def new(self, name: str, script: str) -> None:
        done = self.hold("new", name, "-d", "--", "sh", "-c", script)
        assert (done.returncode, done.stdout) == (0, name + "\n"), done.stderr

    def session(self, name: str) -> dict[str, Any]:
        return next(s for s in json.loads(self.hold("ls", "-a", "--json").stdout) if s["name"] == name)
