"""A blocking conversation with one host, typed: for command lines and scripts that ask one thing and go.

Not here: the attach loop (terminal), what lasts (sdk). Every call raises the errors of core.errors.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from holdfast.client import dial, following, where
from holdfast.client.lean import fresh_id
from holdfast.client.places import socket_path
from holdfast.client.until import Until
from holdfast.core.errors import HostUnreachable, Timeout, WrongVersion, revived
from holdfast.wire import messages as wire
from holdfast.wire.framing import client_inbox, framed

A = TypeVar("A", bound=wire.Message)
RECEIVE: Final = 1 << 18  # bytes taken from the socket at once
PRESS_S: Final = 2.0  # for a key to be taken
ANSWER_S: Final = 30.0  # for one answer, where a call does not say otherwise


def error_of(message: wire.Failed) -> Exception:
    """Return the error a ``Failed`` reports, of its own type."""
    return revived(message.code, message.message, message.do, message.details)


class Connection:
    """One greeted connection to this user's host. Use as a context manager."""

    def __init__(self, path: str | None = None, *, start: bool = True, face: str = "cli") -> None:
        """Connect; start the host if none listens and ``start``. Raises HostUnreachable, WrongVersion."""
        self.path = path or socket_path()
        start = start and not where.elsewhere(self.path)
        try:
            self._socket = dial.reach(self.path, start=start)
        except dial.Unreachable as error:
            raise HostUnreachable(error.where, error.why) from None
        self._inbox = client_inbox()
        self._waiting: list[wire.ToClient] = []
        self._ref = 0
        self._send(wire.Hello(wire.PROTOCOL, fresh_id(), face, os.environ.get("HOLDFAST_SESSION", "")))
        self.welcome = self._await(wire.Welcome, 0, ANSWER_S)
        if self.welcome.version != wire.PROTOCOL:
            raise WrongVersion(self.welcome.version, wire.PROTOCOL)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    # ---- asking ----

    def ref(self) -> int:
        """Return the number for the next request."""
        self._ref += 1
        return self._ref

    def ask(self, request: wire.Message, answer: type[A], *, timeout: float | None = ANSWER_S) -> A:
        """Send ``request`` and return its answer. ``timeout`` in seconds, None: as long as it takes.

        Raises the error the host answers with, Timeout, HostUnreachable if it hangs up.
        """
        self._send(request)
        return self._await(answer, request.ref, timeout)  # type: ignore[attr-defined]

    def _send(self, message: wire.Message) -> None:
        try:
            self._socket.settimeout(ANSWER_S)
            self._socket.sendall(framed(message))
        except OSError as error:
            raise HostUnreachable(self.path, error.strerror or str(error)) from None

    def _await(self, answer: type[A], ref: int, timeout: float | None) -> A:
        for message in self._heard(timeout):
            if isinstance(message, wire.Failed) and message.ref in (0, ref):
                raise error_of(message)
            if isinstance(message, answer) and getattr(message, "ref", 0) == ref:
                return message
        raise HostUnreachable(self.path, "it hung up before it answered")

    def _heard(self, timeout: float | None) -> Iterator[wire.ToClient]:
        """Yield what the host says until it hangs up. Raises Timeout when it is silent for ``timeout`` seconds."""
        self._socket.settimeout(timeout)
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if isinstance(message, wire.Ping):
                    self._send(wire.Pong(message.mark))
                    self._socket.settimeout(timeout)
                else:
                    yield message
            try:
                data = self._socket.recv(RECEIVE)
            except TimeoutError:
                raise Timeout(
                    f"the host did not answer within {timeout:.3g} s; nothing was undone",
                    do="`hold host status` tells how it is",
                ) from None
            except OSError as error:
                raise HostUnreachable(self.path, error.strerror or str(error)) from None
            if not data:
                return
            self._waiting.extend(self._inbox.receive(data))

    # ---- what there is to ask ----

    def sessions(self, *, ended: bool = False) -> tuple[wire.SessionInfo, ...]:
        return self.ask(wire.List(self.ref(), ended), wire.Listing).sessions

    def info(self, session: str) -> wire.Tuple:
        return self.ask(wire.Info(self.ref(), session), wire.Tuple)

    def status(self) -> wire.Status:
        return self.ask(wire.HostStatus(self.ref()), wire.Status)

    def stop_host(self, *, replace: bool = False) -> None:
        """Have the daemon stop and return once it has hung up; sessions run on."""
        self._send(wire.HostStop(self.ref(), replace))
        try:
            for message in self._heard(ANSWER_S):
                if isinstance(message, wire.Failed):
                    raise error_of(message)
        except HostUnreachable:
            pass  # that is what was asked for

    def accept_rollback(self) -> None:
        """Have the host go on from a state that was restored from an older copy. Raises Forbidden but for its own user."""
        self.ask(wire.AcceptRollback(self.ref()), wire.Done)

    def upgrade_host(self) -> wire.Upgraded:
        """Put the host's version of the code under keeper and holders, in place."""
        return self.ask(wire.HostUpgrade(self.ref()), wire.Upgraded)

    def text(self, session: str, history: int = 0) -> wire.Text:
        return self.ask(wire.GetText(self.ref(), session, history), wire.Text)

    def screen(self, session: str) -> wire.Rows:
        return self.ask(wire.GetScreen(self.ref(), session), wire.ScreenState).screen

    def read(self, session: str, offset: int, size: int = 65536) -> wire.OutputRange:
        return self.ask(wire.ReadOutput(self.ref(), session, offset, size), wire.OutputRange)

    def type(self, session: str, data: bytes) -> wire.Typed:
        """Type ``data`` as the first input of this connection. At most once: it is not sent again."""
        return self.ask(wire.Input(self.ref(), session, self._ref, data), wire.Typed)

    def kill(self, session: str, grace_s: float) -> wire.Ending:
        return self.ask(wire.Kill(self.ref(), session, grace_s), wire.Ended, timeout=ANSWER_S + 3 * grace_s).ending

    def keep(self, session: str, for_s: float) -> None:
        self.ask(wire.Keep(self.ref(), session, for_s), wire.Done)

    def rename(self, session: str, name: str) -> None:
        self.ask(wire.Rename(self.ref(), session, name), wire.Done)

    def forget(self, session: str) -> None:
        self.ask(wire.Forget(self.ref(), session), wire.Done)

    def fork(self, session: str) -> None:
        """Ask for a copy of the running execution. Raises NotSupported: no host makes one yet."""
        self.ask(wire.Fork(self.ref(), session), wire.Done)

    def wait(self, session: str, *, timeout: float | None = None) -> wire.Ending:
        """Return how the session ended, once it has. Raises Timeout."""
        try:
            return self.ask(wire.WaitEnd(self.ref(), session), wire.Ended, timeout=timeout).ending
        except Timeout:
            raise Timeout(
                f"session {session!r} has not ended within {timeout:.3g} s; it runs on",
                do="wait again, or `hold attach` to it",
            ) from None

    def wait_for(self, session: str, until: Until, *, offset: int, timeout: float | None) -> wire.Waited:
        """Return what of ``until`` happened first, output being new from ``offset`` on; ``time`` after ``timeout`` seconds."""
        ask = wire.WaitFor(
            self.ref(), session, until.inputs, until.patterns, until.quiet_s, until.command_id, timeout, offset
        )
        return self.ask(ask, wire.Waited, timeout=None if timeout is None else timeout + ANSWER_S)

    def commands(self, session: str, *, after: int = 0, limit: int = 256, newest: bool = False) -> wire.Commands:
        """Return commands with ids above ``after``, oldest first; ``newest``: of those the last."""
        return self.ask(wire.ListCommands(self.ref(), session, after, limit, newest), wire.Commands)

    def follow_commands(self, session: str) -> Iterator[wire.Shell | wire.Detached]:
        """Yield the latest commands and what the shell does, then each change, until the session ends.

        Raises HostUnreachable when the host hangs up: asked again, it says how all is then.
        """
        credit = 1 << 20
        self._send(wire.Attach(self.ref(), self._ref, session, "commands", None, None, True, credit))
        number = self._ref
        for message in self._heard(None):
            if isinstance(message, wire.Failed) and message.ref in (0, number):
                raise error_of(message)
            if isinstance(message, wire.Shell | wire.Detached) and message.attachment == number:
                yield message
                if isinstance(message, wire.Detached):
                    return
                self._send(wire.Credit(number, message.cost))
                self._socket.settimeout(None)
        raise HostUnreachable(self.path, "it hung up")

    def propose(self, session: str, data: bytes, why: str = "", *, verb: str = "run") -> wire.ProposalInfo:
        """Have ``data`` held until a person decides. As the first proposal of this connection: it is not sent again."""
        ask = wire.Propose(self.ref(), session, self._ref, verb, data, why=why)
        return self.ask(ask, wire.Proposed).proposal

    def proposals(self, session: str, settled: int = 0) -> tuple[wire.ProposalInfo, ...]:
        """Return what waits for a decision, oldest first; before that the ``settled`` latest that were decided."""
        return self.ask(wire.Proposals(self.ref(), session, settled), wire.Pending).proposals

    def decide(
        self, session: str, proposal: wire.ProposalInfo, verdict: str, *, why: str = "", widen: str = "",
        words: tuple[str, ...] = (), for_s: float = 3600.0,
    ) -> wire.ProposalInfo:  # fmt: skip
        """Approve or deny exactly ``proposal``; return it as it is then."""
        ask = wire.Decide(self.ref(), session, proposal.id, proposal.digest, verdict, why, widen, words, for_s)
        return self.ask(ask, wire.Decided).proposal

    def withdraw(self, session: str, proposal: int) -> wire.ProposalInfo:
        """Take back a proposal of one's own."""
        return self.ask(wire.Withdraw(self.ref(), session, proposal), wire.Decided).proposal

    def decided(self, session: str, proposal: int, *, timeout: float | None = None) -> wire.ProposalInfo:
        """Return a proposal once nothing more can happen to it. Raises Timeout."""
        return self.ask(wire.AwaitDecision(self.ref(), session, proposal), wire.Decided, timeout=timeout).proposal

    def follow_proposals(self, session: str) -> Iterator[bool]:
        """Yield whenever something is proposed or decided, the first time at once, until the session ends.

        Raises HostUnreachable when the host hangs up.
        """
        self._send(wire.Attach(self.ref(), self._ref, session, "events", None, None, True, 1 << 20))
        number = self._ref
        for message in self._heard(None):
            if isinstance(message, wire.Failed) and message.ref in (0, number):
                raise error_of(message)
            if isinstance(message, wire.Attached) and message.attachment == number:
                yield True
            if isinstance(message, wire.Event) and message.kind in ("proposal", "decision"):
                yield True
            if isinstance(message, wire.Detached) and message.attachment == number:
                return
        raise HostUnreachable(self.path, "it hung up")

    def interrupt(self, session: str) -> None:
        """Press Ctrl-C; where the terminal takes no more keys, send SIGINT to the foreground job."""
        try:
            self.ask(wire.Input(self.ref(), session, self._ref, b"\x03"), wire.Typed, timeout=PRESS_S)
        except Timeout:
            self.ask(wire.Signal(self.ref(), session, signal.SIGINT), wire.Done)

    def run(self, session: str, text: str, *, key: str, patience: float, unmarked: bool) -> wire.Ran:
        """Have the session's shell run ``text``; return once it took it. See ``wire.Run``."""
        ask = wire.Run(self.ref(), session, text, key, patience, unmarked)
        return self.ask(ask, wire.Ran, timeout=patience + ANSWER_S)

    def follow_run(
        self, session: str, follow: following.Following, until: Until, *, since: int, timeout: float | None
    ) -> Iterator[wire.Output | wire.Gap | wire.Waited]:
        """Yield the output of what ``run`` began, as it comes, and nothing that is not its own, until ``follow`` is over;
        in between what ended the waiting for it, which began at output ``since``.

        Raises HostUnreachable when the host hangs up: the caller knows its offset and may ask again.
        """
        wait = wire.WaitFor(
            self.ref(), session, until.inputs, until.patterns, until.quiet_s, until.command_id, timeout, since
        )
        self._send(wait)
        number, credit, follow.asked = self.ref(), 1 << 20, 0
        self._send(wire.Attach(number, number, session, "stream", None, follow.position, True, credit))
        for message in self._heard(None):
            if isinstance(message, wire.Failed) and message.ref in (0, number, wait.ref, follow.asked):
                raise error_of(message)
            if isinstance(message, wire.Waited):
                yield from follow.waited(message.because, message.offset)
                yield message
            else:
                if isinstance(message, wire.Output):
                    self._send(wire.Credit(number, len(message.data)))
                yield from follow.heard(message)
            if follow.over:
                return
            if follow.asks:
                follow.asked = self.ref()
                self._send(wire.ListCommands(follow.asked, session, until.command_id - 1, 1))
            self._socket.settimeout(None)
        raise HostUnreachable(self.path, "it hung up")

    def stream(self, session: str, offset: int | None) -> Iterator[wire.Output | wire.Gap | wire.Detached]:
        """Yield the output from ``offset`` (None: now, -1: the oldest kept), each byte once, until the session ends.

        Raises HostUnreachable when the host hangs up: the caller knows its offset and may ask again.
        """
        credit = 1 << 20
        self._send(wire.Attach(self.ref(), self._ref, session, "stream", None, offset, True, credit))
        number, taken = self._ref, 0
        for message in self._heard(None):
            if isinstance(message, wire.Failed) and message.ref in (0, number):
                raise error_of(message)
            if isinstance(message, wire.Output | wire.Gap | wire.Detached) and message.attachment == number:
                yield message
                if isinstance(message, wire.Detached):
                    return
                taken += len(message.data) if isinstance(message, wire.Output) else 0
                if taken >= credit // 4:
                    self._send(wire.Credit(number, taken))
                    self._socket.settimeout(None)
                    taken = 0
        raise HostUnreachable(self.path, "it hung up")


def plain(value: Any) -> Any:
    """Return a message, or anything made of them, as plain data for JSON: fields by name, bytes as text."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__ if name != "ref"}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
