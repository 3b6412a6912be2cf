"""Keep small files that are nobody else's: whole or not at all, kept over a power cut, never readable by others.

Not here: what is in them (credentials), how they are written (edge.files). Nothing that is too open is mended silently:
what others could read is known to them, and its owner has to hear of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from holdfast.core.errors import HoldError, Timeout
from holdfast.edge.files import create_durably as create
from holdfast.edge.files import remove_durably as remove
from holdfast.edge.files import storage_failed, sync_folder
from holdfast.edge.files import write_durably as write

__all__ = ["Unsafe", "create", "folder", "locked", "read", "remove", "sync_folder", "write"]

FILE_BYTES_MAX: Final = 8 << 20
LOCK_S: Final = 5.0  # writers hold it for milliseconds
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


class Unsafe(HoldError):
    """A file or folder that should be this user's alone is not. ``details``: ``path``, ``reason`` (kind, owner, mode)."""

    code = "unsafe-file"

    def __init__(self, path: Path, reason: str, why: str, *, do: str) -> None:
        super().__init__(f"{path} {why}; nothing was read from it or written", do=do, path=str(path), reason=reason)


def folder(path: Path) -> None:
    """Make ``path`` a folder of this user alone, mode 0700, or check that it is. Raises Unsafe, StorageFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            pass
        found = path.lstat()
    except OSError as error:
        raise storage_failed(path, "made", error) from None
    if not stat.S_ISDIR(found.st_mode):
        raise Unsafe(path, "kind", "is not a folder", do="move it away")
    _check(path, found, 0o700)


def read(path: Path) -> bytes | None:
    """Return the content of ``path``, None if there is no such file. Raises Unsafe, StorageFailed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise Unsafe(path, "kind", "is a link", do="put the file itself there") from None
        raise storage_failed(path, "read", error) from None
    try:
        found = os.fstat(fd)  # of what was opened, not of what the name means by now
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
            raise Unsafe(path, "kind", "is not a file of ours", do="move it away")
        _check(path, found, 0o600)
        data = b""
        while len(data) <= FILE_BYTES_MAX and (more := os.read(fd, 1 << 16)):
            data += more
        return data
    except OSError as error:
        raise storage_failed(path, "read", error) from None
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one who holds ``path`` locked. Raises Timeout after ``LOCK_S``, StorageFailed.

    Polled, since a bounded flock exists only through signals.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    except OSError as error:
        raise storage_failed(path, "locked", error) from None
    try:
        until = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Timeout(
                        f"another program has held {path} for {LOCK_S:.0f} s; nothing was changed", do="try again"
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _check(path: Path, found: os.stat_result, mode: int) -> None:
    if found.st_uid != os.geteuid():
        raise Unsafe(path, "owner", "belongs to another user", do="move it away, or run this as its owner")
    if found.st_mode & 0o077:
        raise Unsafe(
            path, "mode", f"can be reached by others (mode {stat.S_IMODE(found.st_mode):o})",
            do=f"`chmod {mode:o} {path}`; if others may have read it, revoke the keys in it",
        )  # fmt: skip
