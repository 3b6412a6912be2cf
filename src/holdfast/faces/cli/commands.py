"""The `hold` command as click has it: what one does with sessions. Not here: the host itself (hosting)."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from holdfast import __version__
from holdfast.client import where
from holdfast.client.connection import Connection, plain
from holdfast.client.endings import DETACHED, REFUSED, exit_status
from holdfast.faces.cli import (
    approvals,
    desktop,
    fast,
    hosting,
    keys,
    log,
    mcp,
    network,
    pairing,
    people,
    policy,
    ran,
    reach,
    running,
    show,
    turns,
    waiting,
)
from holdfast.faces.cli.main import BRIEF
from holdfast.faces.cli.options import ATTACH, NEW
from holdfast.faces.cli.skin import (
    Duration,
    HoldGroup,
    NewCommand,
    fail,
    from_table,
    json_option,
    name_argument,
    say_json,
    there,
    width,
)


@click.group(
    cls=HoldGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="hold", message="%(prog)s %(version)s")
@click.option("--profile", metavar="NAME", help="Whose keys to use; default: `hold profile` says.")
@click.pass_context
def cli(ctx: click.Context, profile: str | None) -> None:
    """Run things in sessions that outlive every terminal, and come back to them."""
    if profile:
        os.environ["HOLDFAST_PROFILE"] = profile
    if ctx.invoked_subcommand is None:
        click.echo(BRIEF, nl=False)


@cli.command(cls=NewCommand, short_help="Start a session and attach to it.")
@name_argument(required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")
@from_table(NEW.options)
def new(**parameters: Any) -> None:
    """Start a session that runs CMD, by default your shell, and attach to it.

    NAME is up to 64 letters, digits, '.', '_' and '-'; without it the host chooses one.
    Closing this window never ends the session; to end it: hold kill NAME
    """
    raise click.exceptions.Exit(fast.run(fast.new, parameters))


@cli.command(short_help="Join a running session.")
@name_argument()
@from_table(ATTACH.options)
def attach(**parameters: Any) -> None:
    """Join a running session. Closing this window never ends the session; to end it: hold kill NAME

    \b
      Ctrl-\\ d  detach       Ctrl-\\ ?  help       Ctrl-\\ Ctrl-\\  type Ctrl-\\
    """
    raise click.exceptions.Exit(fast.run(fast.attach, parameters))


@cli.command(short_help="List sessions.")
@click.argument("place", required=False, metavar="[@HOST]")
@click.option("-a", "--all", "ended", is_flag=True, help="Also those that ended.")
@click.option("--everywhere", is_flag=True, help="Of every host you can reach.")
@json_option
def ls(place: str | None, ended: bool, everywhere: bool, as_json: bool) -> None:
    """List sessions: name, state, command, age, idle, attached, output produced. @HOST: those of a host elsewhere.

    Everywhere, each host says when it last proved to be there. Of one that cannot be reached only that is said: its
    sessions may be running.
    """
    if place is not None and (everywhere or not place.startswith("@")):
        raise click.UsageError("write @HOST to list the sessions of a host elsewhere")
    if everywhere:
        _ls_everywhere(ended, as_json)
        return
    with Connection(where.split(place or "")[1]) as host:
        found = host.sessions(ended=ended)
    if as_json:
        say_json(found)
    elif found:
        click.echo(show.listing(found, time.time(), width=width()))
    else:
        click.echo(
            f"no sessions{'' if ended else ' are running'}; `hold new NAME` starts one"
            + ("" if ended else ", `hold ls -a` lists those that ended"),
            err=True,
        )


def _ls_everywhere(ended: bool, as_json: bool) -> None:
    import asyncio

    from holdfast.client.everywhere import everywhere

    found, now = asyncio.run(everywhere(ended=ended)), time.time()
    if as_json:
        say_json(
            [
                {"host": each.host, "id": each.id, "profile": each.profile, "reachable": each.sessions is not None,
                 "proof_age_s": now - each.proof_at if each.sessions is not None else None,
                 "unreachable_since": each.since or None, "why": each.why, "sessions": plain(each.sessions or ())}
                for each in found
            ]
        )  # fmt: skip
        return
    there = [(each.host, each.proof_at, each.sessions) for each in found if each.sessions is not None]
    if there:
        click.echo(show.everywhere(there, now, width=width()))
    for each in found:
        if each.sessions is None:
            when = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(each.since)) if each.since else ""
            why = f": {each.why}" if each.why else ""
            click.echo(f"{show.clean(each.host)}  unreachable{when}; its sessions may be running{why}")


@cli.command(short_help="What a session is right now: processes, sockets, ...")
@name_argument()
@click.option("--watch", is_flag=True, help="Show it anew every interval, until Ctrl-C.")
@click.option("--interval", type=Duration(), default="1s", help="For --watch; default 1s.")
@json_option
def info(name: str, watch: bool, interval: float, as_json: bool) -> None:
    """Show what a session is right now: processes, files, sockets, folder, memory, straight from the kernel."""
    with there(name) as (host, name):
        while True:
            found = host.info(name)
            if as_json:
                say_json({"session": plain(found.session), "live": found.live})
            else:
                clear = "\x1b[H\x1b[2J" if watch and sys.stdout.isatty() else ""
                click.echo(clear + show.details(found.session, time.time()) + "\n" + show.live(found.live))
            if not watch:
                return
            time.sleep(max(0.1, interval))


@cli.command(short_help="Type into a session.")
@name_argument()
@click.argument("words", nargs=-1, metavar="[TEXT...]")
@click.option("--keys", is_flag=True, help="TEXT names keys: Ctrl+C Up Enter Alt+x F5.")
@click.option("--enter", is_flag=True, help="Press Enter after it.")
def send(name: str, words: tuple[str, ...], keys: bool, enter: bool) -> None:
    """Type TEXT into a session, or standard input if there is no TEXT and standard input is no terminal."""
    data = _to_type(words, keys, enter)
    with there(name) as (host, name):
        for start in range(0, len(data), 1 << 16):
            piece = data[start : start + (1 << 16)]
            done = host.type(name, piece)
            if done.outcome != "applied":
                raise fail(
                    REFUSED,
                    f"the input is {done.outcome}: {start + done.written} of {len(data)} bytes were typed",
                    "look at the screen before you repeat it",
                )


def _to_type(words: tuple[str, ...], keys: bool, enter: bool) -> bytes:
    if keys:
        from holdfast.client.keys import key_bytes

        try:
            data = b"".join(key_bytes(word) for word in words)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    elif words:
        data = " ".join(words).encode("utf-8", "surrogateescape")
    elif enter or sys.stdin.isatty():
        data = b""
    else:
        data = sys.stdin.buffer.read()
    data += b"\r" if enter else b""
    if not data:
        raise click.UsageError("there is nothing to type: give TEXT, --enter, or standard input")
    return data


@cli.command(short_help="Show the screen of a session.")
@name_argument()
@click.option("--text", "kind", flag_value="text", default="text", help="As plain text; the default.")
@click.option("--screen", "kind", flag_value="screen", help="With its colours, as the screen is.")
@click.option("--commands", "kind", flag_value="commands", help="The commands its shell ran, as `hold commands` does.")
@click.option(
    "--history",
    type=click.IntRange(0, 100_000),
    default=0,
    metavar="N",
    help="Also up to N lines above the screen (text).",
)
@json_option
def view(name: str, kind: str, history: int, as_json: bool) -> None:
    """Show the screen of a session without attaching. An ended session shows its last one."""
    with there(name) as (host, name):
        if kind == "commands":
            ran.show_all(host, name, as_json)
            return
        if kind == "screen":
            screen = host.screen(name)
            say_json(screen) if as_json else click.echo(show.painted(screen), color=True)
            return
        text = host.text(name, history)
    if as_json:
        say_json({"offset": text.offset, "lines": text.lines, "cursor": text.cursor, "title": text.title})
    else:
        click.echo("\n".join(text.lines).rstrip("\n"))


@cli.command(short_help="Print the output of a session, byte for byte.")
@name_argument()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the session ends.")
@click.option(
    "-c",
    "--bytes",
    "count",
    type=click.IntRange(0),
    default=8192,
    metavar="BYTES",
    help="Begin that many bytes before the end; default 8192.",
)
@click.option(
    "--from",
    "start",
    type=click.IntRange(-1),
    metavar="OFFSET",
    help="Begin at this offset of the output; -1: the oldest kept.",
)
def tail(name: str, follow: bool, count: int, start: int | None) -> None:
    """Print the output of a session as it was produced, byte for byte.

    What is no longer kept is said on standard error with its range, never skipped silently.
    """
    from holdfast.faces.cli import following

    out = sys.stdout.buffer
    offset = following.first(name, count, start)
    if not follow:
        for data in following.kept(name, offset):
            out.write(data)
        out.flush()
        return
    try:
        ending = following.follow(name, offset, out)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(DETACHED) from None
    raise click.exceptions.Exit(exit_status(plain(ending)))


cli.add_command(running.run)
cli.add_command(waiting.wait)


@cli.command(short_help="End sessions.")
@name_argument(many=True)
@click.option(
    "--grace", type=Duration(), default="2s", metavar="DURATION", help="Between HUP, TERM and KILL; default 2s."
)
def kill(names: tuple[str, ...], grace: float) -> None:
    """End sessions: HUP, then TERM, then KILL to the whole process tree. Their record and last screen are kept."""
    for each in names:
        with there(each) as (host, name):
            host.kill(name, grace)


@cli.command(short_help="Postpone the reaping of an idle session.")
@name_argument()
@click.argument("time_", metavar="DURATION|off", type=str)
def keep(name: str, time_: str) -> None:
    """Postpone the reaping of an idle session: hold keep build 6h; `off` takes it back."""
    seconds = 0.0 if time_ == "off" else Duration().convert(time_, None, None)
    with there(name) as (host, name):
        host.keep(name, seconds)


@cli.command(short_help="Give a session another name.")
@name_argument()
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Give a session another name. Its id stays."""
    with there(name) as (host, name):
        host.rename(name, new_name)


@cli.command(short_help="Remove the record of ended sessions.")
@name_argument(many=True)
def forget(names: tuple[str, ...]) -> None:
    """Remove the record of ended sessions: output, journal and last screen."""
    for each in names:
        with there(each) as (host, name):
            host.forget(name)


@cli.command(short_help="Copy a running session: refused, with what stands against it.")
@name_argument()
def fork(name: str) -> None:
    """Copy a running session. No host can do that yet, so this is refused; it says what two copies would have shared.

    Nothing is begun instead: a command that ran again would repeat what it did to the world outside.
    """
    with there(name) as (host, session):
        host.fork(session)


cli.add_command(log.log)
cli.add_command(log.verify)
cli.add_command(ran.commands)
cli.add_command(approvals.approvals)
cli.add_command(approvals.approve)
cli.add_command(approvals.deny)
cli.add_command(approvals.propose)
cli.add_command(policy.policy)
for each in turns.COMMANDS:
    cli.add_command(each)
cli.add_command(reach.up)
cli.add_command(pairing.pair)
cli.add_command(people.share)
cli.add_command(people.join)
cli.add_command(people.given)
cli.add_command(people.revoke)
cli.add_command(people.operator)
cli.add_command(mcp.mcp)
cli.add_command(desktop.desktop)
cli.add_command(keys.key)
cli.add_command(keys.profile)
cli.add_command(hosting.host)
cli.add_command(network.relay)
cli.add_command(network.hosts)
cli.add_command(hosting.doctor)


@cli.command(short_help="A dashboard of all your sessions.")
def ui() -> None:
    """Show every session of every host: what it shows now, who has control, what waits for you. Enter attaches.

    \b
      Enter attach   t take control   r release   p pause AI   a approvals   k end   / find   q quit
    """
    import importlib.util

    if importlib.util.find_spec("textual") is None:
        raise fail(REFUSED, "the dashboard needs a package that is not installed", "pip install 'holdfast[tui]'")
    from holdfast.faces.tui.app import main

    raise click.exceptions.Exit(main())


@cli.command(short_help="See it at work on a real build.")
@click.option("--keep", is_flag=True, help="Leave its files for a look.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def demo(keep: bool, as_json: bool) -> None:
    """Show it at work on a real build: kill the terminal, kill the host, come back, and check every byte.

    Where a Chromium or Chrome is, a page on a desk and a phone go on with it through a relay, and where `holdfast[mcp]` is,
    an AI operator does; each is named in the record. Steps that cannot be shown here are named. Nothing of yours is touched.
    """
    from holdfast.faces.demo.telling import run as tell

    raise click.exceptions.Exit(tell(json=as_json, keep=keep))


@cli.command(short_help="Make your shell complete `hold`.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete `hold`: eval "$(hold completion bash)" in its startup file."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "hold", "_HOLD_COMPLETE").source())


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status; what click has to say is said our way."""
    try:
        status = cli.main(arguments, prog_name="hold", standalone_mode=False)
    except click.UsageError as error:
        what = error.format_message().rstrip(".")
        path = error.ctx.command_path if error.ctx is not None else "hold"
        click.echo(f"hold: {what[:1].lower()}{what[1:]}; `{path} --help` tells how", err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"hold: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    return status if isinstance(status, int) else 0
