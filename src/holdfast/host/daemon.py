"""The process around the host: places, lock, log, readiness, signals. Run as ``python -m holdfast.host.daemon``.

``kill -9`` of it at any instant loses nothing: sessions live in their holders, and the next start adopts them.
"""

import argparse
import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from holdfast.core.errors import HoldError
from holdfast.core.places import SOCKET_PATH_MAX, Places
from holdfast.host.config import load
from holdfast.host.host import HEAL_S, Host
from holdfast.host.places import here
from holdfast.host.promptly import run_promptly
from holdfast.host.server import Connection, Listener

log = logging.getLogger("holdfast.host")

LOG_BYTES: Final = 4 << 20
BUSY: Final = 75  # exit status when another host of this user runs (EX_TEMPFAIL)


class Unsafe(HoldError):
    """A folder that must be ours alone is somebody else's, or open to others."""

    code = "unsafe-folder"


def make_private(folder: Path) -> None:
    """Make ``folder`` and see that it is ours and 0700. Raises Unsafe; nothing is used that another user could swap."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or folder.is_symlink():
        raise Unsafe(f"{folder} belongs to uid {found.st_uid}, not to you; nothing was started",
                     do="remove it, or choose another with HOLDFAST_RUNTIME_DIR")  # fmt: skip
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def prepare(places: Places) -> None:
    """Make the folders. Raises Unsafe, or HoldError for a path too long to hold a socket."""
    longest = places.holders / ("s-" + "x" * 26 + ".sock.1234567")
    if len(os.fsencode(longest)) > SOCKET_PATH_MAX:
        raise Unsafe(f"{places.runtime} is too long: a socket's path holds {SOCKET_PATH_MAX} bytes; nothing was started",
                     do="set HOLDFAST_RUNTIME_DIR to a shorter path")  # fmt: skip
    for folder in (places.runtime, places.holders, places.state, places.sessions):
        make_private(folder)


def lock(places: Places) -> int | None:
    """Return the descriptor that makes this the only host of these places, or None if there is one already."""
    fd = os.open(places.runtime / "host.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


async def run(places: Places, ready_fd: int) -> None:
    """Be the host until somebody asks it to stop."""
    loop = asyncio.get_running_loop()
    host = Host(places, load(places.config))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.stop_asked.set)
    await host.start()
    connections: set[Connection] = set()

    def serve() -> Connection:
        connection = Connection(host, connections.discard)
        connections.add(connection)
        return connection

    listener = Listener(places.host_socket, serve)
    await listener.open()
    log.info(
        "generation %d of %s, pid %d, %d sessions adopted", host.generation, host.id, os.getpid(), len(host.running())
    )
    if ready_fd >= 0:
        os.write(ready_fd, b"\n")
        os.close(ready_fd)
    run_promptly(0)
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)  # a full collection in the middle of a keystroke is seen as a hiccup
    sys.setswitchinterval(
        0.0005
    )  # the loop takes the interpreter back from archiver and syncer within half a millisecond
    loop.add_signal_handler(signal.SIGUSR1, lambda: host.spawn(_heal(host, listener), "heal"))
    while not host.stop_asked.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(host.stop_asked.wait(), HEAL_S)
        if not host.stop_asked.is_set():
            await _heal(host, listener)
    listener.close()
    for connection in list(connections):
        connection.dismiss("host-stopping")
    await asyncio.sleep(0)  # let what was said go out
    await host.stop()
    log.info("stopped; %d sessions run on", len(host.running()))


async def _heal(host: Host, listener: Listener) -> None:
    try:
        if await listener.heal():
            log.warning("the host's socket was gone; it is back")
        await host.heal()
    except (HoldError, OSError) as error:
        log.warning("not mended yet: %s", error)
    except Exception:  # whatever it is, no session may lose its host to housekeeping
        log.exception("housekeeping failed")


def main() -> int:
    """Start the host; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="holdfast-host", description="The Holdfast host daemon. `hold host up` starts it."
    )
    parser.add_argument(
        "--ready-fd", type=int, default=-1, help="a descriptor that is written to and closed when it serves"
    )
    asked = parser.parse_args()
    places = here()
    try:
        os.umask(0o077)
        prepare(places)
        handler = RotatingFileHandler(places.host_log, maxBytes=LOG_BYTES, backupCount=1)
        logging.basicConfig(
            level=logging.INFO, handlers=[handler], format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        held = lock(places)
        if held is None:
            print("holdfast: a host of this user runs already; this one was not started", file=sys.stderr)
            return BUSY
        asyncio.run(run(places, asked.ready_fd))
    except (HoldError, OSError) as error:
        log.error("%s", error)
        print(f"holdfast: the host could not start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
