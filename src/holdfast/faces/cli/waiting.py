"""`hold wait`: until a session ends, or something happens in it. Not here: the waiting itself, which the host does."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from holdfast.client.connection import plain
from holdfast.client.endings import ENDED_FIRST, TIMED_OUT, exit_status, told
from holdfast.client.until import KINDS, Until
from holdfast.core.errors import HostUnreachable
from holdfast.faces.cli import following
from holdfast.faces.cli.show import clean
from holdfast.faces.cli.skin import Duration, HoldCommand, json_option, name_argument, say_json

AGAIN_S: Final = 0.001  # the least time a repeated wait is given


@click.command(cls=HoldCommand, short_help="Wait until a session ends, or something happens in it.")
@name_argument()
@click.option("--exit", "until_exit", is_flag=True, help="Until it ends; what is meant if nothing else is said.")
@click.option("--input", "until_input", is_flag=True, help="Until a program wants input, of any kind.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only that kind of input. Repeatable.")
@click.option(
    "--match", "patterns", multiple=True, metavar="RE", help="Until new output matches (RE2 syntax). Repeatable."
)
@click.option("--quiet", type=Duration(), metavar="DURATION", help="Until there was no output for so long.")
@click.option(
    "--command", type=click.IntRange(1), metavar="ID", help="Until that command is over; exit with its status."
)
@click.option(
    "--since", type=click.IntRange(-1), metavar="OFFSET", help="Output is new from there on; -1: from the oldest."
)
@click.option(
    "--for",
    "--timeout",
    "timeout",
    type=Duration(),
    metavar="DURATION",
    help="Give up after this long (status 124); the session runs on.",
)
@json_option
def wait(
    name: str, until_exit: bool, until_input: bool, kinds: tuple[str, ...], patterns: tuple[str, ...],
    quiet: float | None, command: int | None, since: int | None, timeout: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Wait until a session ends and exit with its own status; or for the first of what you ask for.

    Waiting takes nothing from anybody, and giving up stops nothing. What happened first is said on standard error with
    the offset to go on from (--since). If the session ends before what you asked for happened: status 126.
    """
    until = Until(kinds or (KINDS if until_input else ()), patterns, quiet, command or 0)
    if until == Until() and since is None:
        _until_the_end(name, timeout, as_json)
    else:
        _until(name, until, since, timeout, as_json, exit_too=until_exit or until == Until())


def _until_the_end(name: str, timeout: float | None, as_json: bool) -> None:
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if until is None else max(AGAIN_S, until - time.monotonic())
        try:
            with following.reconnected(name) as (host, session):
                ending = host.wait(session, timeout=left)
            break
        except HostUnreachable as error:
            following.pause(error)
    if as_json:
        say_json(ending)
    else:
        click.echo(told(name, plain(ending)), err=True)
    raise click.exceptions.Exit(exit_status(plain(ending)))


def _until(name: str, until: Until, since: int | None, timeout: float | None, as_json: bool, *, exit_too: bool) -> None:
    over_at = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if over_at is None else max(AGAIN_S, over_at - time.monotonic())
        try:
            with following.reconnected(name) as (host, session):
                if since is None:  # said once: what comes while the host restarts is new, too
                    since = host.read(session, 0, 1).end
                got = host.wait_for(session, until, offset=since, timeout=left)
            break
        except HostUnreachable as error:
            following.pause(error)
    if as_json:
        say_json(got)
    else:
        click.echo(f"{said(name, got)} (go on with --since {got.offset})", err=True)
    raise click.exceptions.Exit(_status(got, exit_too))


def said(name: str, got: Any) -> str:
    """Return in a clause what ended a wait."""
    match got.because:
        case "match":
            return f"{name}: {clean(got.text)!r} matched"
        case "input":
            asked = f": {clean(got.prompt)}" if got.prompt else ""
            return f"{name}: {clean(got.program)} wants {_WANTS.get(got.wants, got.wants)}{asked}"
        case "quiet":
            return f"{name}: quiet"
        case "command":
            status = f"exited {got.status}" if got.status is not None else "is over, its status is not known"
            return f"{name}: command {got.command} {status}"
        case "exit":
            return told(name, plain(got.ending)) if got.ending is not None else f"{name} has ended"
        case _:
            return f"{name}: nothing of that happened in time; it runs on"


_WANTS: Final = {
    "line": "a line", "password": "a password", "keypress": "a key", "full-screen": "keys, on the whole screen",
    "prompt": "a command",
}  # fmt: skip


def _status(got: Any, exit_too: bool) -> int:
    if got.because == "time":
        return TIMED_OUT
    if got.because == "exit":
        return exit_status(plain(got.ending)) if exit_too and got.ending is not None else ENDED_FIRST
    if got.because == "command":
        return exit_status({"status": got.status})
    return 0
