"""Replace small files: whole or not at all, and on the disk when that is said. The one place where this is done.

Not here: what is in them, who may read them (client.private), records that are appended (host.journal).
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from holdfast.core.errors import StorageFailed

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def write_durably(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, mode 0600, whole or not at all; it stands over a power cut once this returns.

    For what must never go back: keys, revocations, numbers that only rise. Costs a sync of file and folder. Call it where
    no other writes ``path``. Raises StorageFailed: what was there before still is.
    """
    _replace(path, data, sync=True)


def write_whole(path: Path, data: bytes) -> None:
    """As ``write_durably``, without the sync: whoever is killed, it is whole, but a power cut may cost what was written last.

    For what is written often and made again from what lasts, or ends with the machine anyway.
    """
    _replace(path, data, sync=False)


def create_durably(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, on the disk when this returns; a file that exists is left alone. Raises StorageFailed.

    Without links or renames, so that it also works on what is plugged in; a crash may leave half a file.
    """
    try:
        _create(path, data, sync=True)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_failed(path, "created", error) from None


def remove_durably(path: Path) -> None:
    """Remove ``path``, for good when this returns; nothing there is well too. Raises StorageFailed."""
    try:
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_failed(path, "removed", error) from None


def make_folder(path: Path) -> None:
    """Have a folder at ``path``, mode 0700 if it is made here, and those above it, on the disk. Raises StorageFailed."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
            sync_folder(each.parent)
    except OSError as error:
        raise storage_failed(path, "made", error) from None


def sync_folder(path: Path) -> None:
    """Have the disk keep which names ``path`` holds. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def storage_failed(path: Path, what: str, error: OSError) -> StorageFailed:
    """Return the error for ``path``, which could not be written, read, made."""
    return StorageFailed(
        f"{path} could not be {what} ({error.strerror}); what was there before still is",
        do="make its folder writable, or free space on its disk",
        path=str(path),
    )


def _replace(path: Path, data: bytes, *, sync: bool) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.unlink(missing_ok=True)  # of a process of this number that was killed
        _create(fresh, data, sync=sync)
        os.replace(fresh, path)
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise storage_failed(path, "written", error) from None


def _create(path: Path, data: bytes, *, sync: bool) -> None:
    fd = os.open(path, _FLAGS, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
