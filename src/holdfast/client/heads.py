"""Remember the newest journal head seen of each session, so that a host that was set back is noticed (I8).

One text file, ``heads``, beside the profiles: a line a session, the latest last. Cheap enough for the fastest paths: no
imports to speak of. Not here: asking hosts and relays, and what is said to the user (witnessing).
"""

from __future__ import annotations

import os

from holdfast.client import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "heads"
SESSIONS_MAX = 1024  # the longest unseen are forgotten
LINE_MAX = 256


class Head:
    """Record ``position`` of ``session`` had the hash ``head``."""

    def __init__(self, session: str, position: int, head: bytes) -> None:
        self.session, self.position, self.head = session, position, head


def why_not(kept: Head, *, head: bytes, first: int, end: int) -> str:
    """Return in words how a journal that has records ``first`` to ``end``, and ``head`` at the position of ``kept``, is not
    the one that was seen; empty: it may be."""
    if end < kept.position:
        return f"its record ends at {end}, and you have seen record {kept.position}"
    if kept.position >= first and head != kept.head:
        return f"its record {kept.position} is not the one you have seen"
    return ""


def of_cursor(cursor: str) -> Head | None:
    """Return the head that a cursor carries; None if it carries none."""
    parts = cursor.split(":")
    try:
        found = Head(parts[1], int(parts[4]), bytes.fromhex(parts[5]))
    except (IndexError, ValueError):
        return None
    return found if len(parts) == 6 and parts[0] == "c1" and found.position > 0 else None


def known(session: str) -> Head | None:
    """Return the newest head that was seen of ``session``, an id; None if none is remembered."""
    return next((each for each in _read() if each.session == session), None)


def note(seen: Head, *, back: bool = False) -> None:
    """Remember a head unless a later one is known; ``back``: also then, the user has been told. Never fails: a file that
    cannot be written costs a notice later."""
    if not seen.session.isascii() or " " in seen.session or len(seen.session) > 64:
        return
    kept = list(_read())
    former = next((each for each in kept if each.session == seen.session), None)
    if former is not None and former.position >= seen.position and not back:
        return
    kept = [*(each for each in kept[1 - SESSIONS_MAX :] if each is not former), seen]
    text = "".join(f"{each.session} {each.position} {each.head.hex()}\n" for each in kept)
    path = _path()
    fresh = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        os.replace(fresh, path)
    except OSError:
        pass


def _path() -> str:
    return f"{os.path.dirname(places.keys())}/{FILE}"


def _read() -> Iterator[Head]:
    try:
        with open(_path(), encoding="ascii") as file:
            lines = file.readlines()
    except (OSError, ValueError):
        return
    for line in lines[-SESSIONS_MAX:]:
        try:
            session, position, head = line[:LINE_MAX].split()
            yield Head(session, int(position), bytes.fromhex(head))
        except ValueError:
            continue
