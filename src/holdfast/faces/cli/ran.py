"""`hold commands`: what a session's shell ran, by whom, how it ended. Not here: running something there."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import click

from holdfast.client.connection import Connection, plain
from holdfast.client.endings import span
from holdfast.core.errors import HostUnreachable
from holdfast.faces.cli import following, show
from holdfast.faces.cli.skin import HoldCommand, json_option, name_argument, say_json, there, width

HEAD: Final = ("ID", "WHO", "STATUS", "TOOK", "COMMAND")
UNMARKED: Final = (
    "no commands are known here: its shell does not mark them (`hold new` of bash, zsh or fish does, unless "
    "--no-integration was given); `hold log` tells who typed"
)
PAGE: Final = 256


def who(command: Any) -> str:
    """Return who submitted ``command``, and who else typed on its line."""
    author = (show.clean(command.author) or "unknown").partition("/")[0]
    if command.on_behalf_of:
        author += f" for {show.clean(command.on_behalf_of)}"
    others = [show.clean(each).partition("/")[0] for each in command.others]
    return author + ("?" if command.typeahead else "") + "".join(f" +{each}" for each in dict.fromkeys(others))


def row(command: Any, now: float) -> tuple[str, ...]:
    """Return the line of ``command``: id, who, status, duration, text."""
    running = command.state == "running"
    status = command.state if command.state != "done" else "?" if command.status is None else str(command.status)
    took = now - command.started_at if running and command.started_at else command.duration_s
    text = show.clean(command.text.replace("\n", " ; ")) if command.source != "unknown" else "(not known)"
    return (str(command.id), who(command), status, "-" if took is None else span(max(0.0, took)), text)


def listing(commands: tuple[Any, ...], now: float) -> str:
    """Return the table of `hold commands`."""
    return show.table([HEAD, *(row(each, now) for each in commands)], width=width(), flexible=4)


def every(host: Connection, name: str, after: int) -> tuple[tuple[Any, ...], Any]:
    """Return all commands with ids above ``after`` that are kept, and what the shell does."""
    found: list[Any] = []
    while True:
        got = host.commands(name, after=found[-1].id if found else after, limit=PAGE)
        found += got.commands
        if not got.commands or found[-1].id >= got.last:
            return tuple(found), got.prompt


@click.command(cls=HoldCommand, short_help="What a session's shell ran, by whom, and how it ended.")
@name_argument()
@click.option("-n", "count", type=click.IntRange(1, PAGE), metavar="N", help="Only the last N.")
@click.option("-f", "--follow", is_flag=True, help="Go on with each as it starts and ends, until the session ends.")
@json_option
def commands(name: str, count: int | None, follow: bool, as_json: bool) -> None:
    """List the commands that the shell of a session ran: id, who submitted it, exit status, how long it took, its text.

    WHO ends in ? where it was typed ahead, so that the author is only the likeliest one; +NAME typed on that line too.
    With --json and --follow each line is one command as it stands then.
    """
    if follow:
        _follow(name, as_json)
        return
    with there(name) as (host, session):
        show_all(host, session, as_json, count)


def show_all(host: Connection, session: str, as_json: bool, count: int | None = None) -> None:
    """Print the commands of ``session``, or the last ``count`` of them."""
    if count is None:
        found, prompt = every(host, session, 0)
    else:
        got = host.commands(session, limit=count, newest=True)
        found, prompt = got.commands, got.prompt
    if as_json:
        say_json({"commands": found, "prompt": prompt})
    elif found:
        click.echo(listing(found, time.time()))
    else:
        click.echo("nothing was run yet" if prompt.marked else UNMARKED, err=True)


def _follow(name: str, as_json: bool) -> None:
    seen: dict[int, str] = {}
    while True:
        try:
            with following.reconnected(name) as (host, session):
                for part in host.follow_commands(session):
                    if not hasattr(part, "commands"):
                        return
                    for command in part.commands:
                        if seen.get(command.id) != command.state:
                            seen[command.id] = command.state
                            _say(command, as_json)
        except HostUnreachable as error:
            following.pause(error)


def _say(command: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plain(command), ensure_ascii=False))
    else:
        click.echo("  ".join(row(command, time.time())))
