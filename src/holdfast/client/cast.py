"""Write a session's output as asciicast v2, with as much timing as was kept. Source: docs/journal.md, "Asciicast".

Not here: where the points in time come from (the host: ``read-times``), the output itself.
"""

from __future__ import annotations

import codecs
import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.client.connection import Connection
from holdfast.client.record import _output as kept_output
from holdfast.core.errors import StorageFailed
from holdfast.wire import messages as wire

PAGE: Final = 4096


class Written(NamedTuple):
    """``points``: how many points in time the output was laid out by."""

    bytes: int
    points: int


def write(host: Connection, session: str, path: Path) -> Written:
    """Write what is kept of the output to ``path``. Raises StorageFailed."""
    info = host.info(session).session
    times = list(_times(host, session))
    pieces = list(kept_output(host, info.id))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            for line in lines(info, times, pieces):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StorageFailed(
            f"{path} could not be written ({error.strerror}); nothing was exported",
            do="choose another file, or free space on its disk",
            path=str(path),
        ) from None
    return Written(sum(len(data) for _, data in pieces), len(times))


def _times(host: Connection, session: str) -> Iterator[tuple[int, float]]:
    at = -1
    while True:
        got = host.ask(wire.ReadTimes(host.ref(), session, at), wire.Times)
        yield from ((offset, ns / 1e9) for offset, ns in got.points)
        if len(got.points) < 2 or got.points[-1][0] <= at:
            return
        at = got.points[-1][0]


def lines(
    info: wire.SessionInfo, times: list[tuple[int, float]], pieces: list[tuple[int, bytes]]
) -> Iterator[dict[str, Any] | list[Any]]:
    """Yield the header and the events. ``times``: (offset, Unix time): output up to that offset was there by then."""
    offsets = [offset for offset, _ in times]
    began = info.created_at
    yield {
        "version": 2, "width": info.size.cols, "height": info.size.rows, "timestamp": int(began), "title": info.name,
        "env": {"TERM": "xterm-256color"},
    }  # fmt: skip
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = 0.0
    for offset, data in pieces:
        at = offset
        while at < offset + len(data):
            index = bisect_right(offsets, at)
            upto = min(offsets[index] if index < len(offsets) else offset + len(data), offset + len(data))
            if index < len(times):
                last = max(last, times[index][1] - began)
            if text := decoder.decode(data[at - offset : upto - offset]):
                yield [round(last, 6), "o", text]
            at = upto
