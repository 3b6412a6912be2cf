"""`hold approvals`, `approve`, `deny`, `propose`: what waits for a person, shown as it is, and decided. Not here: the policy."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from holdfast.client import where
from holdfast.client.connection import Connection, plain
from holdfast.client.endings import DETACHED, REFUSED, span
from holdfast.core.visible import visible
from holdfast.faces.cli.show import clean
from holdfast.faces.cli.skin import Duration, HoldCommand, fail, json_option, name_argument, say_json, there, width

HASH = 12  # hexadecimal digits of a digest that are shown
HASH_MIN = 8  # and at least so many must be given to decide by them


@click.command(cls=HoldCommand, short_help="What waits for your approval.")
@name_argument(required=False)
@click.option("-a", "--all", "settled", is_flag=True, help="Also what was decided lately, and how.")
@click.option("-f", "--follow", is_flag=True, help="Show it anew whenever something is proposed or decided (one NAME).")
@json_option
def approvals(name: str | None, settled: bool, follow: bool, as_json: bool) -> None:
    """Show what waits for a person's approval: exactly the bytes, who proposes them and for whom, where, since when.

    Without NAME: of every session here, or with @HOST of those there. Decide with `hold approve` or `hold deny`.
    """
    if follow:
        _follow(name, settled, as_json)
        return
    with _listed(name or "", settled) as found:
        if as_json:
            say_json([jsonable(each) for each in found])
        elif found:
            click.echo("\n".join(told(each, time.time()) for each in found))
        else:
            click.echo("nothing waits for approval", err=True)


@contextlib.contextmanager
def _listed(name: str, settled: bool) -> Iterator[list[Any]]:
    count = 50 if settled else 0
    session, path = where.split(name)
    with Connection(path) as host:
        names = [session] if session else [each.id for each in host.sessions()]
        yield sorted((one for each in names for one in host.proposals(each, count)), key=lambda one: one.at)


def _follow(name: str | None, settled: bool, as_json: bool) -> None:
    if not name or name.startswith("@"):
        raise click.UsageError("name the session whose proposals to follow")
    before: list[Any] | None = None
    try:
        with there(name) as (host, session), Connection(host.path) as again:
            for _ in host.follow_proposals(session):
                found = list(again.proposals(session, 50 if settled else 0))
                if found == before:
                    continue
                before = found
                if as_json:
                    say_json([jsonable(each) for each in found])
                    continue
                clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
                text = "\n".join(told(each, time.time()) for each in found) or "nothing waits for approval"
                click.echo(clear + text)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(DETACHED) from None


@click.command(cls=HoldCommand, short_help="Approve what an operator proposes.")
@name_argument()
@click.argument("proposal", type=click.IntRange(1), metavar="ID")
@click.option(
    "--hash", "digest", metavar="HASH", help=f"The hash you saw, {HASH_MIN} digits or more: then nothing is asked."
)
@click.option(
    "--this-session", is_flag=True, help="The same again needs no approval, from this operator in this session."
)
@click.option("--prefix", metavar="WORDS", help="Nor does any command that begins with these words.")
@click.option("--for", "for_s", type=Duration(), default="1h", metavar="DURATION", help="For so long; default 1h.")
@click.option("--why", default="", metavar="TEXT", help="Told to the operator, and kept.")
@json_option
def approve(
    name: str, proposal: int, digest: str | None, this_session: bool, prefix: str | None, for_s: float, why: str, as_json: bool
) -> None:  # fmt: skip
    """Approve a proposal: the host types exactly what is shown, if the session still is as it was then.

    At a terminal it is shown and you are asked; elsewhere --hash says what you saw. Nobody approves their own.
    """
    if this_session and prefix:
        raise click.UsageError("an approval reaches to the session or to a prefix, not both")
    widen = "session" if this_session else "prefix" if prefix else ""
    words = tuple(prefix.split()) if prefix else ()
    done = _decided(name, proposal, digest, "approve", why=why, widen=widen, words=words, for_s=for_s)
    _say(done, as_json)
    if done.state == "stale":
        raise fail(
            REFUSED, f"proposal {done.id} is stale and nothing was typed: {done.answer}", "it has to be proposed again"
        )


@click.command(cls=HoldCommand, short_help="Deny what an operator proposes.")
@name_argument()
@click.argument("proposal", type=click.IntRange(1), metavar="ID")
@click.option(
    "--hash", "digest", metavar="HASH", help=f"The hash you saw, {HASH_MIN} digits or more: then nothing is asked."
)
@click.option("--why", default="", metavar="TEXT", help="Told to the operator, and kept.")
@json_option
def deny(name: str, proposal: int, digest: str | None, why: str, as_json: bool) -> None:
    """Deny a proposal: nothing of it was typed, and nothing will be."""
    _say(_decided(name, proposal, digest, "deny", why=why), as_json)


def _decided(name: str, number: int, digest: str | None, verdict: str, **more: Any) -> Any:
    with there(name) as (host, session):
        found = next((each for each in host.proposals(session, 256) if each.id == number), None)
        if found is None:
            raise fail(REFUSED, f"there is no proposal {number} in {name}", f"`hold approvals {name}` lists what waits")
        if digest is not None:
            _compare(found, digest)
        elif not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise fail(
                REFUSED, f"proposal {number} was left as it is: nobody is here to look at it",
                f"look at it (`hold approvals {name}`) and give the hash it shows with --hash",
            )  # fmt: skip
        else:
            click.echo(told(found, time.time()))
            if not click.confirm(f"{verdict} it?", default=False):
                raise fail(REFUSED, "nothing was decided")
        return host.decide(session, found, verdict, **more)


def _compare(found: Any, digest: str) -> None:
    given = digest.lower()
    if len(given) < HASH_MIN or set(given) - set("0123456789abcdef"):
        raise click.UsageError(f"a hash is {HASH_MIN} or more hexadecimal digits")
    if not found.digest.hex().startswith(given):
        raise fail(
            REFUSED, f"proposal {found.id} has the hash {found.digest.hex()[:HASH]}, not {digest}: it is not what you saw",
            "look at it again before you decide",
        )  # fmt: skip


@click.command(cls=HoldCommand, short_help="Propose a command, for a person to approve.")
@name_argument()
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
@click.option("--why", default="", metavar="TEXT", help="Shown to whoever decides.")
@click.option("--wait", "wait_", is_flag=True, help="Wait for the decision; status 122 unless it was done.")
@click.option(
    "--for", "for_s", type=Duration(), metavar="DURATION", help="With --wait: give up after so long (status 124)."
)
@click.option("--withdraw", type=click.IntRange(1), metavar="ID", help="Take a proposal of yours back instead.")
@json_option
def propose(
    name: str, words: tuple[str, ...], why: str, wait_: bool, for_s: float | None, withdraw: int | None, as_json: bool
) -> None:
    """Propose a command line: it waits until a person approves or denies it, and the host types it then.

    One word is taken as a whole command line, several as a program and its words.
    """
    if bool(words) is bool(withdraw):
        raise click.UsageError("give a command after --, or --withdraw ID")
    with there(name) as (host, session):
        if withdraw:
            _say(host.withdraw(session, withdraw), as_json)
            return
        line = words[0] if len(words) == 1 else shlex.join(words)
        made = host.propose(session, line.encode("utf-8", "surrogateescape"), why)
        if wait_:
            made = host.decided(session, made.id, timeout=for_s)
    _say(made, as_json)
    if wait_ and made.state != "executed":
        raise click.exceptions.Exit(REFUSED)


def _say(done: Any, as_json: bool) -> None:
    if as_json:
        say_json(jsonable(done))
        return
    more = {
        "proposed": f" as {done.digest.hex()[:HASH]}; `hold approve {done.name} {done.id}` by a person does it",
        "executed": f": {done.outcome}" + (f", {done.written} bytes" if done.written else ""),
    }.get(done.state, f" by {done.by}" if done.by else "")
    click.echo(f"proposal {done.id} in {clean(done.name)} is {done.state}{more}", err=True)


def jsonable(each: Any) -> Any:
    """Return a proposal as JSON has it: the digest in hexadecimal, the bytes as text and exactly."""
    return plain(each) | {"digest": each.digest.hex(), "data_hex": each.data.hex(), "shown": visible(each.data)}


def told(each: Any, now: float) -> str:
    """Return a proposal in a few lines, every byte of it visible."""
    who = f"{each.kind} {clean(each.operator)}" + (f" for {clean(each.on_behalf_of)}" if each.on_behalf_of else "")
    age = span(max(0.0, now - each.at))
    if each.state == "proposed":
        when = f"{age} ago, expires in {span(max(0.0, each.until - now))}"
    else:
        when = f"{each.state} {f'by {clean(each.by)} ' if each.by else ''}after {span(max(0.0, each.settled_at - each.at))}"
    what = {
        "signal": f"signal {each.signal}{' to the whole tree' if each.tree else ''}",
        "resize": f"size {each.size[0]}x{each.size[1]}",
    }.get(each.verb) or visible(each.data)
    lines = [f"{each.id}  {clean(each.name)}  {who}  {when}", *_wrapped(f"{each.verb}: ", what)]
    place = f"in {clean(each.cwd)}; " if each.cwd else ""
    ground = "the session is as it was then" if each.holds else "THE SESSION MOVED ON SINCE: approving types nothing"
    lines.append(f"    {place}{ground if each.state == 'proposed' else clean(each.answer or each.outcome)}")
    if each.rule:
        lines.append(f"    asked because of {clean(each.rule)}: {clean(each.reason)}")
    if each.why:
        lines.append(f'    it says: "{clean(each.why)}"')
    lines.append(f"    hash {each.digest.hex()[:HASH]}")
    return "\n".join(lines)


def _wrapped(head: str, text: str) -> list[str]:
    """Cut ``text`` into lines that fit, so that a terminal does not do it and nothing scrolls out sideways."""
    room = max(20, (width() or 100) - 4 - len(head))
    pieces = [text[at : at + room] for at in range(0, len(text), room)] or [""]
    return [f"    {head if not at else ' ' * len(head)}{piece}" for at, piece in enumerate(pieces)]
