"""Read and write the files of a profile, each one struct in its one encoding. Not here: what is in them (credentials, naming),
owners, modes and locks (private)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from holdfast.client import private
from holdfast.core import signed
from holdfast.core.errors import Corrupt

FORMAT: Final = 1
F = TypeVar("F", bound="File")


class File(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of what is kept; its first field is its format. Never shows its fields: most are secret."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> Any:
        return iter(())


def read(path: Path, kind: type[F]) -> F | None:
    """Return what ``path`` keeps, None if there is no such file. Raises Unsafe, Corrupt."""
    data = private.read(path)
    if data is None:
        return None
    try:
        found: F = signed.decoded(data, kind, most=private.FILE_BYTES_MAX)
    except signed.Unsigned:
        raise corrupt(path) from None
    if getattr(found, "format", None) != FORMAT:
        raise corrupt(path)
    return found


def write(path: Path, content: File) -> None:
    """Replace what ``path`` keeps, all or nothing. The caller has the profile's lock."""
    private.write(path, signed.encoded(content))


def corrupt(path: Path) -> Corrupt:
    """Return the error that says so of ``path``."""
    return Corrupt(f"{path} is damaged or of a newer version; it was left as it is", do="restore it from a backup")
