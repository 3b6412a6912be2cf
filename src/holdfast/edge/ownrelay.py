"""Keep a relay of this user's own running, as a process by itself: `hold up` wants it, the host starts it again when it died.

What is wanted lies in ``wanted.json`` in the relay's folder. Not here: the relay (relay.main), who dials it (host.relays).
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.core.errors import HoldError
from holdfast.edge.detach import detached

READY_S: Final = 15.0
STOP_S: Final = 10.0
FILE: Final = "wanted.json"
LOG: Final = "relay.log"


class RelayFailed(HoldError):
    """A relay of one's own did not start."""

    code = "relay-failed"

    def __init__(self, why: str) -> None:
        super().__init__(f"the relay did not start ({why}); sessions are not touched", do="see `hold relay up --help`")


class Wanted(NamedTuple):
    """``words``: its arguments, without folder and readiness. ``pid`` and ``began`` (clock ticks since boot) name it."""

    words: tuple[str, ...]
    url: str
    pid: int
    began: int


def wanted(folder: Path) -> Wanted | None:
    """Return what shall run with this folder, None: nothing."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        return Wanted(tuple(found["words"]), found["url"], found["pid"], found["began"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(it: Wanted) -> bool:
    """Tell whether that very process runs."""
    return it.began > 0 and _began(it.pid) == it.began


def start(folder: Path, words: Sequence[str]) -> Wanted:
    """Start a relay and return once it serves; it is wanted from then on. Raises RelayFailed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "holdfast.relay.main", *words, "--state", str(folder), "--ready-fd", str(writing)]
    with (folder / LOG).open("ab") as log:
        try:
            detached(command, output=log, pass_fds=(writing,))
        except (OSError, subprocess.CalledProcessError) as error:
            os.close(reading)
            raise RelayFailed(str(error)) from None
        finally:
            os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], READY_S)
        line = os.read(reading, 4096) if ready else b""
    finally:
        os.close(reading)
    try:
        said = json.loads(line)
    except ValueError:
        raise RelayFailed(f"the end of {folder / LOG} says why") from None
    at = list(words)
    listen = at.index("--listen") + 1
    at[listen] = f"{at[listen].rpartition(':')[0]}:{said['port']}"  # the same port again, where any was asked for
    url = str(said["url"]).removesuffix("/relay")
    it = Wanted(tuple(at), url, said["pid"], _began(said["pid"]))
    fresh = folder / f"{FILE}.{os.getpid()}"
    fresh.write_text(json.dumps({"words": it.words, "url": it.url, "pid": it.pid, "began": it.began}))
    os.replace(fresh, folder / FILE)
    return it


def stop(folder: Path) -> bool:
    """Want it no longer, and return once it is gone; tell whether it ran."""
    it = wanted(folder)
    (folder / FILE).unlink(missing_ok=True)
    if it is None or not alive(it):
        return False
    try:
        watch = os.pidfd_open(it.pid)
    except OSError:
        return False
    try:
        signal.pidfd_send_signal(watch, signal.SIGTERM)
        if not select.select([watch], [], [], STOP_S)[0]:
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            select.select([watch], [], [], STOP_S)
    except ProcessLookupError:
        pass
    finally:
        os.close(watch)
    return True


def keep(folder: Path) -> bool:
    """Start it again if it is wanted and does not run; tell whether it was. Raises RelayFailed."""
    it = wanted(folder)
    if it is None or alive(it):
        return False
    start(folder, it.words)
    return True


def _began(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0: there is none. Its number alone may be another's."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])
