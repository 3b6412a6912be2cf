"""Keep what one AI operator has open: a conversation with each host, and what its model was told of each session.

Not here: what the tools do (acts). Holds no state of a session: what the model was told is forgotten with this process, and then
it looks again before it acts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final

import holdfast as hf
from holdfast.client import ai
from holdfast.core.errors import Refused

PATIENCE_S: Final = 10.0  # without a host before a call says so
READY_S: Final = 1800.0  # between looks whether keys are to be renewed
LEAVE_S: Final = 2.0  # for letting lines be free when hanging up; what is not freed by then lapses at the host


class LookFirst(Refused):
    """An AI acts on what it has seen; of this session it has seen nothing yet."""

    code = "look-first"

    def __init__(self) -> None:
        super().__init__("you have not looked at this session yet; nothing was typed", do="call observe first")


class BadBasis(Refused):
    code = "bad-basis"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:40]!r} is no rev of this session; nothing was typed",
            do="leave basis out, or pass the rev of a result",
        )


@dataclass
class Told:
    """What the model was told of a session: control, the latest input of anybody, the command line, output up to ``offset``."""

    term: int
    input: int
    command: str
    offset: int

    @property
    def rev(self) -> str:
        """It in a word, for the model to say what a decision stands on."""
        return f"{self.term}.{self.input}.{self.command.replace(' ', '-')}"

    def at(self, rev: str) -> Told:
        """Return this as it was at ``rev``. Raises BadBasis."""
        term, _, rest = rev.partition(".")
        position, _, command = rest.partition(".")
        if not (term.isdecimal() and position.isdecimal() and len(rev) < 100):
            raise BadBasis(rev)
        return Told(int(term), int(position), command.replace("-", " "), self.offset)


class Desk:
    """``name``: of the AI operator. ``mine`` is it, once the first conversation began."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: dict[str, Told] = {}  # by session id
        self.mine: ai.Operator | None = None
        self._clients: dict[str, hf.Client] = {}
        self._touched: dict[str, hf.Session] = {}  # by session id: where this operator may have taken control
        self._ready_at = 0.0
        self._lock = asyncio.Lock()

    async def client(self, host: str = "") -> hf.Client:
        """Return the conversation with a host: this machine's, or ``host``'s by name. Raises HoldError."""
        async with self._lock:
            if time.monotonic() >= self._ready_at:
                self.mine = await asyncio.to_thread(ai.ready, self.name)
                self._ready_at = time.monotonic() + READY_S
            if host not in self._clients:
                path = f"@{host}" if host else None
                self._clients[host] = hf.connect(path, patience=PATIENCE_S, operator=self.name)
            return self._clients[host]

    async def session(self, said: str) -> hf.Session:
        """Return a handle on the session that ``said`` means: NAME, an id, or either @HOST. Raises NoSuchSession."""
        name, _, host = said.rpartition("@") if "@" in said else (said, "", "")
        session = await (await self.client(host)).attach(name)
        self._touched[session.id] = session
        return session

    def stands(self, session: hf.Session, basis: str) -> Told:
        """Have what is done with ``session`` stand on what the model was told, and return that. Raises LookFirst, BadBasis."""
        told = self.told.get(session.id)
        if told is None:
            raise LookFirst
        if basis:
            told = told.at(basis)
        session.seen.term, session.seen.input, session.seen.command = told.term, told.input, told.command
        return told

    def tell(self, session: hf.Session, offset: int | None = None) -> Told:
        """The model is told how ``session`` is, as last heard of, and its output up to ``offset`` (None: as before)."""
        control, former = session.last.control, self.told.get(session.id)
        shown = offset if offset is not None else former.offset if former is not None else session.last.output_end
        seen = (control.term, control.input, control.command) if control is not None else (0, 0, "")
        told = self.told[session.id] = Told(*seen, shown)
        return told

    async def close(self) -> None:
        """Let every line be free that this operator has control of, then hang up everywhere. Sessions run on.

        Bounded by ``LEAVE_S``: a host that does not answer lets control lapse by itself.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await asyncio.gather(*map(self._leave, self._touched.values()))
        self._touched.clear()
        for client in self._clients.values():
            with contextlib.suppress(OSError, hf.HoldError):
                await client.close()
        self._clients.clear()

    async def _leave(self, session: hf.Session) -> None:
        with contextlib.suppress(
            OSError, hf.HoldError
        ):  # gone, ended, or taken by somebody: then there is nothing to free
            control = (await session.info()).control
            if control is not None and self.mine is not None and control.holder == self.mine.id:
                await session.release()
