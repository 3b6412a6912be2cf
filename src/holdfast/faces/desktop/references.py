"""What a desktop window is told to open, and what it remembers: names and ids, nothing of a session itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.client.connection import Connection
from holdfast.client.sdk import connect
from holdfast.core.errors import NoSuchSession, Refused

SCHEME: Final = "holdfast:"
_ID: Final = re.compile(r"s-[a-z2-7]{26}")
_PLACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")


class Remembered(NamedTuple):
    """Where the window stood, in pixels of the screen, and the id of the session it showed; empty: the list."""

    width: int = 1200
    height: int = 800
    x: int | None = None
    y: int | None = None
    session: str = ""


def of_link(text: str) -> str:
    """Return the reference in ``text``: an id, NAME, NAME@HOST, or one of these as a link ``holdfast:...``; empty: the list
    of sessions. Links come from anywhere: raises Refused for whatever else is in one."""
    found = text.strip()
    if found.lower().startswith(SCHEME):
        found = found[len(SCHEME) :].lstrip("/").rstrip("/")
    if found and not _PLACE.fullmatch(found):
        raise Refused(
            f"{text[:80]!r} names no session; nothing was opened", do="it is NAME, NAME@HOST, or holdfast:NAME@HOST"
        )
    return found


def session_of(reference: str) -> str:
    """Return the id of the session that a reference means; empty: none. Raises NoSuchSession, and what reaching a host does."""
    if not reference or _ID.fullmatch(reference):
        return reference
    name, _, host = reference.partition("@")
    if host:
        ids = asyncio.run(_names(host))
    else:
        with Connection() as here:
            ids = {each.name: each.id for each in here.sessions()}
    if name not in ids:
        raise NoSuchSession(reference)
    return ids[name]


async def _names(host: str) -> dict[str, str]:
    async with connect(f"@{host}") as client:
        return {each.name: each.id for each in await client.sessions()}


def address(page: str, session: str) -> str:
    """Return where the page shows ``session``; empty: the list."""
    return f"{page}#/{session}"


def session_in(url: str | None) -> str:
    """Return the id of the session that an address of the page shows; empty: none."""
    found = _ID.search((url or "").partition("#")[2])
    return found.group() if found else ""


def recalled(path: Path) -> Remembered:
    """Return what was remembered; what is damaged or strange is forgotten."""
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        size = [int(kept[name]) for name in ("width", "height")]
        place = [None if kept[name] is None else int(kept[name]) for name in ("x", "y")]
        session = str(kept["session"])
    except (OSError, ValueError, KeyError, TypeError):
        return Remembered()
    if not all(200 <= each <= 16384 for each in size) or not all(
        each is None or -16384 < each < 16384 for each in place
    ):
        return Remembered()
    return Remembered(size[0], size[1], place[0], place[1], session if _ID.fullmatch(session) else "")


def remember(path: Path, it: Remembered) -> None:
    """Keep ``it`` for the next window. Raises OSError."""
    fresh = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        json.dump(it._asdict(), file)
    os.replace(fresh, path)
