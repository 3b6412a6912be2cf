"""What all commands of `hold` share: help with the exit contract, errors said one way, durations, completion."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from holdfast.client import where
from holdfast.client.connection import Connection, plain
from holdfast.client.endings import CONTRACT, exit_code
from holdfast.core.errors import HoldError, HostUnreachable
from holdfast.faces.cli.options import Option

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def fail(status: int, what: str, do: str = "") -> click.exceptions.Exit:
    """Say `hold: what; do` on standard error; raise what is returned."""
    click.echo(f"hold: {what}; {do}" if do else f"hold: {what}", err=True)
    return click.exceptions.Exit(status)


class HoldCommand(click.Command):
    """A command whose help ends with the exit contract."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write(CONTRACT + "\n")


class NewCommand(HoldCommand):
    """A command whose words after ``--`` are a command of their own, whatever came before: never taken for the name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, rest = args, []
        if "--" in args:
            at = args.index("--")
            before, rest = args[:at], args[at + 1 :]
        left = super().parse_args(ctx, before)
        if rest and ctx.params.get("command"):
            raise click.UsageError("a session has one command; write it after --", ctx)
        ctx.params["command"] = tuple(rest) or ctx.params.get("command", ())
        return left


class HoldGroup(click.Group):
    """A group that lists its commands in the order they were defined and says errors as `hold: what; do`."""

    command_class = HoldCommand

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write(CONTRACT + "\n")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HoldError as error:
            raise fail(exit_code(error.code), str(error)) from None
        except BrokenPipeError:  # `hold ls | head`: not an error of anybody's
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise click.exceptions.Exit(0) from None


HoldGroup.group_class = HoldGroup


def session_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete session names; silently nothing if no host runs."""
    try:
        with Connection(start=False) as host:
            found = host.sessions(ended=True)
    except (HoldError, OSError):
        return []
    return [CompletionItem(s.name, help=s.state) for s in found if s.name.startswith(incomplete)]


@contextlib.contextmanager
def there(name: str) -> Iterator[tuple[Connection, str]]:
    """Yield a connection to the host of NAME or NAME@HOST, and the session's own name there."""
    session, path = where.split(name)
    with Connection(path) as host:
        yield host, session


def name_argument(required: bool = True, *, many: bool = False) -> Callable[[Any], Any]:
    """The NAME argument: a session's name or id."""
    return click.argument("names" if many else "name", metavar="NAME..." if many else "NAME" if required else "[NAME]",
                          required=required, nargs=-1 if many else 1, shell_complete=session_names)  # fmt: skip


def from_table(options: tuple[Option, ...]) -> Callable[[Any], Any]:
    """Decorate a command with the options of the shared table."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            if option.flag:
                made = click.option(*option.names, option.keyword, is_flag=True, help=option.help)
            else:
                made = click.option(
                    *option.names, option.keyword, multiple=option.many, metavar=option.metavar, help=option.help
                )
            command = made(command)
        return command

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say_json(value: Any) -> None:
    """Print ``value``, a message or plain data, as JSON."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


if TYPE_CHECKING:
    _Seconds = click.ParamType[float]
else:
    _Seconds = click.ParamType  # click 8.1 has no parameter there


class Duration(_Seconds):
    """A number with a unit, ``90s``, ``6h``, ``1d12h``; a bare number is seconds. Gives seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        try:
            return duration(str(value))
        except ValueError:
            self.fail(f"{value!r} is no duration: write 90s, 15m, 6h, 2d or 1d12h", param, ctx)


def duration(text: str) -> float:
    """Return ``text`` in seconds. Raises ValueError."""
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    total, number = 0.0, ""
    for char in text.lower().strip():
        if char in UNITS:
            total += float(number) * UNITS[char]
            number = ""
        else:
            number += char
    if number or not text.strip():
        raise ValueError(text)
    return total


def width() -> int | None:
    """The columns of the terminal that standard output is; None if it is none, where nothing is cut."""
    try:
        return os.get_terminal_size(1).columns or None if sys.stdout.isatty() else None
    except OSError:
        return None


def started_nothing(error: HostUnreachable) -> bool:
    """Tell whether no host runs here at all, as opposed to one that does not answer."""
    return "No such file" in str(error) or "refused" in str(error)
