"""`hold who` and the commands that change who may type: take, give, release, pause-ai, private. Source: docs/operators.md."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from holdfast.client.connection import Connection
from holdfast.client.control import acting, here
from holdfast.client.endings import span
from holdfast.client.names import names
from holdfast.faces.cli import show
from holdfast.faces.cli.skin import HoldCommand, json_option, name_argument, say_json, there, width

COLOURS = {"human": "green", "ai": "magenta", "device": "cyan", "service": "cyan", "guest": "yellow"}
WHO = ("WHO", "KIND", "FOR", "WITH", "VIEW", "HERE", "ACTED", "")


def coloured(text: str, kind: str) -> str:
    """Return ``text`` in the colour of that kind of operator, if the reader is a terminal."""
    return click.style(text, fg=COLOURS.get(kind)) if sys.stdout.isatty() else text


class Words:
    """Operators as people know them: by the name they were given, where this machine has it."""

    def __init__(self) -> None:
        self._names = names(me="you")

    def of(self, operator: str) -> str:
        return show.clean(self._names.get(operator, operator)) if operator else "-"


def state_line(session: str, control: Any, words: Words, now: float) -> str:
    """Return in one line who has control of ``session``."""
    since = f" since {span(max(0.0, now - control.since))}" if control.since else ""
    if control.holder:
        for_whom = f" for {words.of(control.on_behalf_of)}" if control.on_behalf_of else ""
        who = coloured(words.of(control.holder), control.kind)
        said = f"{who} ({control.kind}{for_whom}) has control{since}"
    else:
        said = "nobody has control: whoever types first"
    if control.state in ("paused", "private"):
        said += f"; {words.of(control.by)} " + (
            "paused AI operators" if control.state == "paused" else "made it private: only people see it and act"
        )
    return f"{session}: {said} (term {control.term})"


@click.command(cls=HoldCommand, short_help="Who is attached, and who has control.")
@name_argument()
@json_option
def who(name: str, as_json: bool) -> None:
    """Show who is attached to a session, who has control of it, and who asks for it."""
    with there(name) as (host, session):
        found = here(host, session)
    if as_json:
        say_json(found)
        return
    now, words = time.time(), Words()
    click.echo(state_line(session, found.control, words, now))
    for each in found.asked:
        why = f": {show.clean(each.why)}" if each.why else ""
        click.echo(f"{coloured(words.of(each.operator), each.kind)} asked for control {span(now - each.at)} ago{why}")
        click.echo(f"  hold give {session} {each.operator}", err=True)
    if found.attached:
        rows = [WHO, *(_row(each, found.control, words, now) for each in found.attached)]
        lines = show.table(rows, width=width(), flexible=0).splitlines()
        for line, kind in zip(lines, ["", *(each.kind for each in found.attached)], strict=True):
            click.echo(coloured(line, kind))


def _row(each: Any, control: Any, words: Words, now: float) -> tuple[str, ...]:
    marks = [mark for mark, there in (
        ("has control", each.operator == control.holder and not each.observe), ("looks only", each.observe),
    ) if there]  # fmt: skip
    return (
        words.of(each.operator), each.kind, words.of(each.on_behalf_of), show.clean(each.face) or "-", each.view,
        span(max(0.0, now - each.since)), span(each.acted_s), ", ".join(marks),
    )  # fmt: skip


def _done(host: Connection, session: str, act: str, as_json: bool, **more: str) -> None:
    done = acting(host, session, act, **more)
    if as_json:
        say_json(done)
        return
    click.echo(state_line(session, done.control, Words(), time.time()))
    if done.dropped:
        click.echo(f"  {done.dropped} inputs that waited were dropped", err=True)
    if done.flushed:
        said = f"at least {done.flushed} bytes that no program had read were thrown away" if done.flushed > 0 else (
            "its holder is of an older version: what the terminal already had was not thrown away"
        )  # fmt: skip
        click.echo(f"  {said}", err=True)
    if done.cleared:
        click.echo("  a half-typed line was cleared", err=True)
    if done.signalled:
        click.echo(f"  signalled: {' '.join(map(str, done.signalled))}", err=True)


_why = click.option("--why", default="", metavar="TEXT", help="Shown to everybody who is attached.")


@click.command(cls=HoldCommand, short_help="Take control of a session from whoever has it.")
@name_argument()
@click.option("--interrupt", "job", flag_value="interrupt", help="Interrupt the foreground job as well (SIGINT).")
@click.option("--stop", "job", flag_value="stop", help="Stop the foreground job as well; `fg` continues it.")
@_why
@json_option
def take(name: str, job: str | None, why: str, as_json: bool) -> None:
    """Take control: from an AI at any time, from a person too, and everybody sees it.

    When it returns, nothing of what the former holder typed reaches a program any more: what waited is dropped, what no program
    had read is thrown away, a half-typed line is cleared. The foreground job runs on unless you say otherwise.
    Control lapses when nothing of yours is attached and you do nothing for a minute.
    """
    with there(name) as (host, session):
        _done(host, session, "take", as_json, why=why, job=job or "leave")


@click.command(cls=HoldCommand, short_help="Give control to somebody who is attached or asked.")
@name_argument()
@click.argument("operator")
@_why
@json_option
def give(name: str, operator: str, why: str, as_json: bool) -> None:
    """Give control to OPERATOR: an id or the beginning of one, as `hold who` shows them, a name you gave, or a kind like ai."""
    known = {called: one for one, called in names(me="you").items()}
    with there(name) as (host, session):
        _done(host, session, "give", as_json, to=known.get(operator, operator), why=why)


def _simple(command: str, act: str, short: str, text: str) -> click.Command:
    def run(name: str, as_json: bool) -> None:
        with there(name) as (host, session):
            _done(host, session, act, as_json)

    run.__doc__ = text
    made: click.Command = click.command(command, cls=HoldCommand, short_help=short)(name_argument()(json_option(run)))
    return made


release = _simple("release", "release", "Let go of control.", "Let the line be free: whoever types next may.")
pause_ai = _simple(
    "pause-ai", "pause", "Keep AI operators from acting.",
    "Keep every operator that is no person from acting in a session. They go on watching.",
)  # fmt: skip
resume_ai = _simple("resume-ai", "resume", "Let AI operators act again.", "End `hold pause-ai`.")
private = _simple(
    "private", "private", "Let only people see a session and act in it.",
    "Keep every operator that is no person from seeing a session and from acting in it, as for a password.",
)  # fmt: skip
public = _simple("public", "public", "End `hold private`.", "End `hold private`: what comes from now on is seen again.")

COMMANDS = (who, take, give, release, pause_ai, resume_ai, private, public)
