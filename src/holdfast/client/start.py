"""Start the host daemon where none runs, as tmux starts its server. Two clients that start at once start one host.

Not here: what the daemon does with its life, nor how a service manager would start it (faces/cli/install).
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO, Final

from holdfast.client.dial import Unreachable, dial
from holdfast.client.places import here
from holdfast.core.places import SOCKET_PATH_MAX, Places
from holdfast.edge.detach import detached

READY_S: Final = 15.0  # a host that adopts hundreds of sessions on a loaded machine is up in 3
LOG_TAIL: Final = 400  # bytes of the daemon's log that travel in the error

# What describes the terminal or the session we happen to be started from is no business of a daemon.
_NOT_INHERITED: Final = frozenset({"HOLDFAST_SESSION", "COLUMNS", "LINES", "PYTHONSTARTUP"})


def private_folder(path: Path) -> None:
    """Create ``path`` for this user alone, or check that it is. Raises Unreachable: what others can write is a trap."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise Unreachable(str(path), f"its folder cannot be made: {error.strerror}") from None
    if not path.is_dir() or path.is_symlink() or found.st_uid != os.getuid():
        raise Unreachable(str(path), "its folder is not yours alone; choose another with HOLDFAST_RUNTIME_DIR")
    if found.st_mode & 0o077:
        path.chmod(0o700)


def has_holders() -> bool:
    """Tell whether holders have sockets here: sessions that a host should be looking after."""
    try:
        return any(name.suffix == ".sock" for name in here().holders.iterdir())
    except OSError:
        return False


def start_host() -> bool:
    """Return once a host listens: True if this call started it, False if another was quicker.

    Raises Unreachable with the end of the daemon's log if it does not come up within ``READY_S``.
    """
    places = here()
    if len(os.fsencode(places.host_socket)) > SOCKET_PATH_MAX:
        raise Unreachable(
            str(places.host_socket),
            f"a socket's path has {SOCKET_PATH_MAX} bytes at most; choose a shorter HOLDFAST_RUNTIME_DIR",
        )
    private_folder(places.runtime)
    lock = os.open(places.runtime / "start.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _locked(lock, places)
        try:
            dial(str(places.host_socket)).close()
            return False
        except Unreachable as error:
            if not error.absent:
                raise
        _launch(places)
        return True
    finally:
        os.close(lock)


def start_in_background() -> subprocess.Popen[bytes]:
    """Have another process start the host, so that the caller's loop need not wait. The caller reaps it: ``poll``."""
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast.client.start"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _locked(lock: int, places: Places) -> None:
    """Take the lock. Polled, because a bounded flock exists only through signals; contention lasts one host start."""
    until = time.monotonic() + READY_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Unreachable(
                    str(places.host_socket), "another program has been starting it for too long"
                ) from None
            time.sleep(0.01)


def _launch(places: Places) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    log = _open_log(places)
    ready, told = os.pipe()
    command = [sys.executable, "-m", "holdfast.host.daemon", "--ready-fd", str(told)]
    began = log.tell() if log else 0
    try:
        detached(command, output=log or subprocess.DEVNULL, pass_fds=(told,), env=environment)
    except (OSError, subprocess.CalledProcessError) as error:
        os.close(ready)
        raise Unreachable(str(places.host_socket), f"the host could not be started: {error}") from None
    finally:
        os.close(told)
        if log:
            log.close()
    try:
        _await_ready(ready, places, began)
    finally:
        os.close(ready)


def _open_log(places: Places) -> BinaryIO | None:
    """Return the log opened for appending, or None: a state folder that cannot be written must not stop the host."""
    try:
        places.host_log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = places.host_log.open("ab")
        log.seek(0, os.SEEK_END)
        return log
    except OSError:
        return None


def _await_ready(ready: int, places: Places, began: int) -> None:
    """Wait until the daemon writes to, or closes, the pipe; whichever it does, the socket then decides."""
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    if not poll.poll(READY_S * 1000):
        raise Unreachable(
            str(places.host_socket),
            f"the host was started and is not ready after {READY_S:.0f} s; see {places.host_log}",
        )
    os.read(ready, 64)
    try:
        dial(str(places.host_socket)).close()
    except Unreachable:
        raise Unreachable(
            str(places.host_socket), f"the host was started and ended at once: {_said(places, began)}"
        ) from None


def _said(places: Places, began: int) -> str:
    try:
        with places.host_log.open("rb") as log:
            log.seek(max(began, places.host_log.stat().st_size - LOG_TAIL))
            said = log.read().decode("utf-8", "replace").strip()
    except OSError:
        said = ""
    return said.rpartition("\n")[2] or f"it said nothing; see {places.host_log}"


if __name__ == "__main__":
    try:
        start_host()
    except Unreachable as failed:
        sys.exit(f"hold: {failed}")
