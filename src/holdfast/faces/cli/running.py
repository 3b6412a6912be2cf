"""`hold run`: have a session's shell run a command line, see its output as it comes, and take over its exit status."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import click

from holdfast.client import until
from holdfast.client.connection import Connection
from holdfast.client.endings import DETACHED, ENDED_FIRST, NOTHING_RAN, TIMED_OUT, UNKNOWN_STATUS
from holdfast.client.following import Following
from holdfast.client.lean import fresh_id
from holdfast.core.errors import HoldError, HostUnreachable, IncompleteLine, NothingRan
from holdfast.core.plain import Plain, rendered
from holdfast.faces.cli import following
from holdfast.faces.cli.skin import Duration, NewCommand, fail, json_option, name_argument, say_json, there

UNMARKED_QUIET_S: Final = 2.0  # after so long without output an unmarked command is taken to be over
JSON_BYTES: Final = 1 << 20  # of output in --json; more is said by its offsets


@click.command(cls=NewCommand, short_help="Run a command in a session's shell; exit with its status.")
@name_argument()
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
@click.option(
    "--timeout", type=Duration(), metavar="DURATION", help="Stop watching after this long (status 124); it runs on."
)
@click.option(
    "--patience", type=Duration(), default="0s", metavar="DURATION", help="Wait so long for the shell's prompt."
)
@click.option("--key", metavar="KEY", help="Run it once for this key, however often this is asked.")
@click.option(
    "--unmarked", is_flag=True, help="Also where the shell does not say what it runs: until it is quiet again."
)
@click.option("--plain", is_flag=True, help="Leave control sequences out.")
@json_option
def run(
    name: str, command: tuple[str, ...], timeout: float | None, patience: float, key: str | None, unmarked: bool,
    plain: bool, as_json: bool,
) -> None:  # fmt: skip
    """Have the shell in a session run CMD, print what it puts out, and exit with its status.

    One word after -- is a command line as you would type it there; several are a program and its arguments. The line is typed
    only at the shell's prompt, as one unit. Ctrl-C interrupts the command; a second one only leaves it (status 120).
    """
    if not command:
        raise click.UsageError("say what to run, after --")
    text = command[0] if len(command) == 1 else shlex.join(command)
    watched = Watched(name, text, key or fresh_id("r-"), patience=patience, unmarked=unmarked, timeout=timeout)
    out = _Json() if as_json else _Out(plain)
    with _interrupting(watched):
        status = watched.through(out)
    if as_json:
        say_json(watched.told(out.data))
    raise click.exceptions.Exit(status)


class _Out:
    """Standard output, perhaps without control sequences."""

    def __init__(self, plain: bool) -> None:
        self._plain, self.data = Plain() if plain else None, b""

    def put(self, data: bytes) -> None:
        sys.stdout.buffer.write(self._plain.feed(data)[1] if self._plain is not None else data)
        sys.stdout.buffer.flush()


class _Json(_Out):
    """What is kept for --json: the last of it."""

    def __init__(self) -> None:
        super().__init__(False)

    def put(self, data: bytes) -> None:
        self.data = (self.data + data)[-JSON_BYTES:]


class Watched:
    """One command line, run and watched over as many hosts as it takes."""

    def __init__(
        self, name: str, text: str, key: str, *, patience: float, unmarked: bool, timeout: float | None
    ) -> None:
        self.name, self._text, self._key = name, text, key
        self._patience, self._unmarked, self._timeout = patience, unmarked, timeout
        self._ran: Any = None
        self._follow: Following | None = None
        self._because = ""
        self.interrupts = 0

    def through(self, out: _Out) -> int:
        """Run it and pass its output to ``out``; return the exit status of `hold run`."""
        over_at = None
        while True:
            try:
                with following.reconnected(self.name) as (host, session):
                    if self._follow is None:
                        self._begin(host, session)
                        over_at = None if self._timeout is None else time.monotonic() + self._timeout
                    left = None if over_at is None else max(0.001, over_at - time.monotonic())
                    self._watch(host, session, out, left)
                return self._status()
            except HostUnreachable as error:
                following.pause(error)

    def _begin(self, host: Connection, session: str) -> None:
        try:
            self._ran = host.run(session, self._text, key=self._key, patience=self._patience, unmarked=self._unmarked)
        except (IncompleteLine, NothingRan) as error:
            raise fail(NOTHING_RAN, error.message, error.do) from None
        if self._ran.outcome == "unseen":
            raise fail(
                TIMED_OUT, "the line was typed, and the shell has not said what became of it",
                f"`hold view {self.name}` shows the screen",
            )  # fmt: skip
        self._follow = Following(self._ran.command, self._ran.start)

    def _watch(self, host: Connection, session: str, out: _Out, left: float | None) -> None:
        assert self._follow is not None
        command = self._ran.command
        over = until.command(command) if command else until.any(
            until.input("prompt", "line", "password"), until.quiet(UNMARKED_QUIET_S)
        )  # fmt: skip
        for part in host.follow_run(session, self._follow, over, since=self._ran.start, timeout=left):
            if hasattr(part, "data"):
                out.put(part.data)
            elif hasattr(part, "because"):
                self._because = part.because
            else:
                click.echo(f"hold: bytes {part.start} to {part.end} of the output are not kept any more", err=True)

    def _status(self) -> int:
        assert self._follow is not None
        command = self._follow.command
        if command is None:
            if self._because == "time":
                which = f"command {self._ran.command}" if self._ran.command else "it"
                more = f"; `hold wait {self.name} --command {self._ran.command}` goes on" if self._ran.command else ""
                click.echo(f"hold: {which} is not over after {self._timeout:g} s and runs on{more}", err=True)
                return TIMED_OUT
            return ENDED_FIRST if self._because == "exit" else 0
        return UNKNOWN_STATUS if command.status is None else int(command.status) & 255

    def interrupt(self) -> None:
        """Press Ctrl-C in the session."""
        with there(self.name) as (host, session):
            host.interrupt(session)

    def told(self, data: bytes) -> dict[str, Any]:
        """Return what --json prints."""
        assert self._follow is not None
        command, ran = self._follow.command, self._ran
        said = {
            "command": ran.command, "start": ran.start, "again": ran.again, "output": rendered(data), "text": self._text,
            "state": self._because or "unmarked", "status": None, "end": self._follow.position,
        }  # fmt: skip
        if command is not None:
            said |= {
                "state": command.state, "status": command.status, "text": command.text, "author": command.author,
                "cwd": command.cwd, "duration_s": command.duration_s, "end": command.end,
            }  # fmt: skip
        return said


@contextmanager
def _interrupting(watched: Watched) -> Iterator[None]:
    """Pass the first Ctrl-C to the command; a second one leaves it alone and us."""

    def pressed(number: int, frame: FrameType | None) -> None:
        watched.interrupts += 1
        if watched.interrupts > 1 or watched._ran is None:
            raise KeyboardInterrupt
        try:
            watched.interrupt()
        except HoldError as error:
            click.echo(f"hold: it was not interrupted: {error}", err=True)

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            "hold: left; it runs on" if watched._ran is not None else "hold: nothing was waited for any more", err=True
        )
        raise click.exceptions.Exit(DETACHED) from None
    finally:
        signal.signal(signal.SIGINT, before)
