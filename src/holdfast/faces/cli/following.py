"""Read a session's output over as many hosts as it takes: a restart of the host is a pause, the offset carries on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import click

from holdfast.client.connection import Connection
from holdfast.core.errors import HostUnreachable
from holdfast.faces.cli.skin import there

PATIENCE_S: Final = 30.0  # without a host before `tail -f` and `wait` give up
_lost: list[float] = []  # since when no host answers, while none does


@contextlib.contextmanager
def reconnected(name: str) -> Iterator[tuple[Connection, str]]:
    """Yield a connection to the host of ``name`` and the session's own name; a host here is started if none runs."""
    with there(name) as (host, session):
        _lost.clear()
        yield host, session


def pause(error: HostUnreachable) -> None:
    """Wait a little before the next try. Raises ``error`` after ``PATIENCE_S`` of them."""
    now = time.monotonic()
    if not _lost:
        _lost.append(now)
    if now - _lost[0] > PATIENCE_S:
        raise error
    time.sleep(0.05)


def first(name: str, count: int, start: int | None) -> int:
    """Return the offset to begin at: ``start``, else ``count`` bytes before the end."""
    with there(name) as (host, session):
        found = host.read(session, -1 if start is None else start, 1)
    if start is None:
        return max(0, found.end - count)
    return found.offset if start < 0 else start


def kept(name: str, offset: int) -> Iterator[bytes]:
    """Yield the output from ``offset`` to what is the end now."""
    end = None
    with there(name) as (host, session):
        while end is None or offset < end:
            got = host.read(session, offset, 1 << 18)
            end = got.end if end is None else end
            if got.offset > offset:
                _gap(offset, got.offset, got.why)
            if not got.data:
                return
            yield got.data[: max(0, end - got.offset)]
            offset = got.offset + len(got.data)


def follow(name: str, offset: int, out: BinaryIO) -> Any:
    """Write the output from ``offset`` on to ``out`` as it comes; return the Ending once the session is over."""
    while True:
        try:
            with reconnected(name) as (host, session):
                for part in host.stream(session, offset):
                    ending, offset = _part(part, offset, out)
                    if ending is not None:
                        return ending
        except HostUnreachable as error:
            pause(error)


def _part(part: Any, offset: int, out: BinaryIO) -> tuple[Any, int]:
    """Return the Ending, if ``part`` is the end, and the offset after ``part``."""
    if hasattr(part, "data"):
        out.write(part.data)
        out.flush()
        return None, part.offset + len(part.data)
    if hasattr(part, "start"):
        _gap(part.start, part.end, part.why)
        return None, part.end
    if part.ending is None:
        raise HostUnreachable("its socket", f"the host ended the stream: {part.cause}")
    return part.ending, offset


def _gap(start: int, end: int, why: str) -> None:
    click.echo(
        f"hold: bytes {start} to {end} of the output are not kept any more ({why or 'evicted'})",
        err=True,
    )
