"""A host for one test: folders, sockets, keys and daemon of its own, everything that it started gone afterwards."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from holdfast import sync
from holdfast.client.connection import Connection
from holdfast.client.sdk import Client
from holdfast.client.sdk import connect as connect_async
from holdfast.core.errors import HoldError
from holdfast.host.cgroups import Groups

HOLD: Final = (sys.executable, "-m", "holdfast.faces.cli.main")
READY_S: Final = 30.0  # for a host to serve, on a machine with much to do
COMMAND_S: Final = 60.0
LET_GO_S: Final = 5.0  # for the kernel to let go of what was killed


class TemporaryHost:
    """A machine of its own, as far as Holdfast sees. Use as a context manager; nothing runs until ``start``, or until a
    command of ``hold`` needs a host.

    ``env`` is the environment in which programs find this host and no other; ``chosen`` makes it this process's own.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hf-"))  # short: a socket's path has 107 bytes at most
        (self.folder / "home").mkdir()
        self.env = {
            **os.environ,
            "HOME": str(self.folder / "home"),  # nobody's dotfiles, and no history of what is typed in a test
            "HOLDFAST_RUNTIME_DIR": str(self.folder / "r"),
            "HOLDFAST_STATE_DIR": str(self.folder / "s"),
            "HOLDFAST_CONFIG": str(self.folder / "host.toml"),  # and the policy beside it: need not exist
        }
        self.env.pop("HOLDFAST_SESSION", None)
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        """Where the host listens: what ``connect`` of the SDK takes as ``path``."""
        return str(self.folder / "r" / "host.sock")

    def __enter__(self) -> "TemporaryHost":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    # ---- the daemon ----

    def start(self) -> int:
        """Start the daemon, unless it runs, and return its pid once it serves. Raises RuntimeError with its log."""
        if self._daemon is not None and self._daemon.poll() is None:
            return self._daemon.pid
        reading, writing = os.pipe()
        self._daemon = subprocess.Popen(
            [sys.executable, "-m", "holdfast.host.daemon", "--ready-fd", str(writing)], env=self.env,
            pass_fds=[writing], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writing)
        try:
            ready, _, _ = select.select([reading], [], [], READY_S)
            if not ready or os.read(reading, 1) != b"\n":
                raise RuntimeError(f"the host did not start: {self.log()[-2000:] or 'it has no log'}")
        finally:
            os.close(reading)
        return self._daemon.pid

    def kill(self) -> None:
        """Kill the daemon as a crash would; sessions run on, and ``start`` brings the next one. Raises RuntimeError if
        ``start`` did not start it."""
        if self._daemon is None:
            raise RuntimeError("this host was not started by `start`; `hold` keeps its pid: status()['pid']")
        self._daemon.kill()
        self._daemon.wait()

    def log(self) -> str:
        """What the daemon wrote; empty if it wrote nothing."""
        try:
            return (self.folder / "s" / "host.log").read_text()
        except OSError:
            return ""

    # ---- using it ----

    def connect(self, **options: Any) -> sync.Client:
        """Return a blocking client of this host, for ``with``. ``options`` as for ``holdfast.sync.connect``."""
        return sync.connect(self.socket, start=False, **options)

    def connect_async(self, **options: Any) -> Client:
        """Return an asynchronous client of this host, for ``async with``."""
        return connect_async(self.socket, start=False, **options)

    def hold(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the `hold` command as on this machine, and return what it said."""
        return subprocess.run(
            [*HOLD, *arguments], env=self.env, capture_output=True, text=True, timeout=COMMAND_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """Return what `hold host status` says; ``running`` tells whether a host answers. Starts nothing."""
        found: dict[str, Any] = json.loads(self.hold("host", "status", "--json").stdout)
        return found

    def link(self, *relays: str, name: str = "box") -> dict[str, str]:
        """Make the host a member of a tenant of its own and have it dial these relays: from then on ``@name`` leads to it,
        for programs that have this host's environment. Return how each link stands. Raises RuntimeError."""
        done = self.hold("host", "link", "--json", "--name", name, *relays)
        if done.returncode:
            raise RuntimeError(f"the host was not linked: {done.stderr}")
        states: dict[str, str] = json.loads(done.stdout)["relays"]
        return states

    @contextlib.contextmanager
    def chosen(self) -> Iterator[None]:
        """Have this process, and what it starts, mean this host when it says none: by the environment, for so long."""
        changed = {name: value for name, value in self.env.items() if os.environ.get(name) != value}
        gone = {name: os.environ[name] for name in os.environ.keys() - self.env.keys()}
        former = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        for name in gone:
            del os.environ[name]
        try:
            yield
        finally:
            for name, value in former.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
            os.environ.update(gone)

    # ---- leaving nothing ----

    def processes(self) -> Iterator[int]:
        """Yield the processes that have this host's folder in their arguments or environment: whatever it started."""
        mark = str(self.folder).encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                zombie = b") Z " in (folder / "stat").read_bytes()
            except OSError:
                continue
            if mark in words and not zombie and int(folder.name) != os.getpid():
                yield int(folder.name)

    def close(self) -> None:
        """End every session and process of this host and remove its folder. Safe to repeat."""
        self._stop()
        if self._daemon is not None:
            if self._daemon.poll() is None:
                self._daemon.kill()
            self._daemon.wait()
        while ours := list(self.processes()):  # keeper, and holders that wait for a host to collect a status
            for pid in ours:
                end(pid)
        sweep(self.folder / "s")
        rmtree(self.folder, ignore_errors=True)

    def _stop(self) -> None:
        """Stop the daemon as a user would, so that it clears up what it alone can."""
        try:
            with Connection(self.socket, start=False) as host:
                pid = host.status().pid
                for session in host.sessions():
                    with contextlib.suppress(HoldError):
                        host.kill(session.id, 0.1)
                host.stop_host()
        except HoldError:
            return  # none runs
        _gone(pid)


def _gone(pid: int) -> None:
    """Return once the process is gone, or it takes too long."""
    try:
        watch = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([watch], [], [], LET_GO_S)
    finally:
        os.close(watch)


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


def sweep(state: Path, within_s: float = LET_GO_S) -> None:
    """Remove the control groups of the hosts that had ``state``, once the kernel has let go of what was killed."""
    groups = Groups.find(str(state))
    deadline = time.monotonic() + within_s
    groups.sweep()
    while groups.sessions() and time.monotonic() < deadline:
        time.sleep(0.01)  # the kernel tells nobody when a group is empty of the dead
        groups.sweep()
    groups.sweep()
