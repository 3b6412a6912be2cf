"""A client that types numbered lines and follows a session's output, and what must be true of both in the end."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

import holdfast as hf
from holdfast.core.errors import InputUnknown


@dataclass
class Followed:
    """What one client of the SDK saw and did. ``stream`` is contiguous, or a gap is listed."""

    stream: bytearray = field(default_factory=bytearray)
    gaps: list[hf.Gap] = field(default_factory=list)
    applied: list[bytes] = field(default_factory=list)
    unknown: list[bytes] = field(default_factory=list)
    grew: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, session: hf.Session) -> None:
        """Take in output until cancelled. Raises AssertionError for a byte missing, repeated or out of place."""
        async for event in session.events():
            if isinstance(event, hf.Gap):
                self.gaps.append(event)
                self.stream += bytes(event.lost)
            elif isinstance(event, hf.Output):
                assert event.offset == len(self.stream), (event.offset, len(self.stream))
                self.stream += event.data
            async with self.grew:
                self.grew.notify_all()

    @contextlib.asynccontextmanager
    async def following(self, session: hf.Session) -> AsyncIterator[None]:
        """Follow from the first byte for as long as the block lasts. Raises what following raised."""
        session._offset = 0
        task = asyncio.create_task(self.follow(session))
        try:
            yield
        finally:
            task.cancel()
            found = await asyncio.gather(task, return_exceptions=True)
        if isinstance(found[0], Exception):
            raise found[0]

    async def saw(self, marker: bytes, *, after: int = 0, within_s: float = 30) -> None:
        """Return once ``marker`` was seen behind byte ``after``."""
        async with asyncio.timeout(within_s), self.grew:
            await self.grew.wait_for(lambda: marker in self.stream[after:])

    async def type(self, session: hf.Session, every_s: float) -> None:
        """Type a numbered line every so often, until cancelled. One by one: each is answered before the next."""
        for number in count(1):
            await self.say(session, b"k%d" % number)
            await asyncio.sleep(every_s)

    async def say(self, session: hf.Session, line: bytes) -> None:
        try:
            await session.send(line + b"\r")
        except InputUnknown:
            self.unknown.append(line)
        else:
            self.applied.append(line)

    def is_right(self, kept: bytes, typed: bytes) -> None:
        """Hold it against what the host ``kept`` and what the program read (``typed``)."""
        assert not self.gaps
        assert len(kept) >= len(self.stream)
        same = hashlib.sha256(kept[: len(self.stream)]).digest() == hashlib.sha256(self.stream).digest()
        assert same, "the stream is not the session's output"
        arrived = [line for line in typed.split(b"\r") if re.fullmatch(rb"k\d+", line)]
        assert len(arrived) == len(set(arrived)), "a line was typed twice"
        assert set(self.applied) <= set(arrived), "a line was acknowledged and did not arrive"
        assert set(arrived) <= set(self.applied) | set(self.unknown)
        assert arrived == sorted(arrived, key=lambda line: int(line[1:])), "lines arrived in another order"
