"""`hold mcp`: serve AI hosts, tell them how to start that, and say what the AI operator may. Source: docs/mcp.md.

Not here: the server (faces/mcp), the operator's keys (client.ai). The server's package is loaded when it serves and not before.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

import click

from holdfast.client import ai
from holdfast.client.connection import Connection
from holdfast.client.endings import REFUSED
from holdfast.client.meeting import acting_folder
from holdfast.core.errors import NoSuchSession
from holdfast.faces.cli.people import capability, rights, until, what
from holdfast.faces.cli.skin import Duration, HoldCommand, HoldGroup, fail, json_option, say_json
from holdfast.faces.mcp import install as installing

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def as_option(command: click.Command) -> click.Command:
    return click.option("--as", "name", default=ai.NAME, metavar="OPERATOR", show_default=True,
                        help="Which AI operator it is; each AI host may have its own.")(command)  # fmt: skip


@click.group(cls=HoldGroup, invoke_without_command=True, short_help="Let an AI use sessions, over MCP.")
@as_option  # type: ignore[arg-type]
@click.option(
    "--http", metavar="HOST:PORT", help="Serve over HTTP on this machine instead of standard input and output."
)
@click.option("--token-file", type=click.Path(path_type=Path), help="With --http: where the token is kept.")
@click.pass_context
def mcp(ctx: click.Context, name: str, http: str | None, token_file: Path | None) -> None:
    """Serve the AI host that starts this: eight tools, as an AI operator of your own, on your behalf.

    It sees and does what that operator may (hold mcp allow), asks where your policy says so (hold approvals), and stops when
    you take over. Everything it does is on record as its doing. AI hosts are told with hold mcp install.
    """
    if ctx.invoked_subcommand is not None:
        return
    if importlib.util.find_spec("mcp") is None:
        raise fail(REFUSED, "MCP needs a package that is not installed", "pip install 'holdfast[mcp]'")
    from holdfast.faces.mcp import serve

    if http is None:
        asyncio.run(serve.on_stdio(name))
        return
    host, _, port = http.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if host not in LOOPBACK or not port.isdecimal():
        raise click.UsageError(f"--http takes an address of this machine alone, like 127.0.0.1:8450; not {http}")
    place = token_file or acting_folder() / f"{name}.token"
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(serve.on_http(name, host, int(port), place))


@mcp.command(cls=HoldCommand, short_help="Write an AI host's configuration.")
@click.argument("host", type=click.Choice(sorted(installing.HOSTS)))
@click.option("--print", "only_print", is_flag=True, help="Print what would stand in its file.")
@click.option("--as", "name", metavar="OPERATOR", help="Which AI operator it is; default: the AI host's own name.")
def install(host: str, only_print: bool, name: str | None) -> None:
    """Put `hold mcp` into the configuration of an AI host. What else stands there is kept; nothing is started."""
    how = installing.start(name or host, os.environ)
    if only_print:
        click.echo(installing.text(host, how), nl=False)
        return
    path, changed = installing.write(host, how, home=Path.home(), here=Path.cwd())
    click.echo(f"{'wrote' if changed else 'nothing to change in'} {path}; {installing.HOSTS[host].after}", err=True)


@mcp.command(cls=HoldCommand, short_help="Say what the AI operator may.")
@as_option
@rights
@click.option("--session", "sessions", multiple=True, metavar="NAME", help="Only in this session. May be repeated.")
@click.option("--for", "for_s", type=Duration(), default="30d", metavar="DURATION",
              help="It ends when it was not used for so long; default 30d.")  # fmt: skip
@json_option
def allow(name: str, right: str | None, sessions: tuple[str, ...], for_s: float, as_json: bool) -> None:
    """Make the AI operator anew, with this right (default: operate, everywhere); what it had before is taken back.

    Without this, the first hold mcp makes one that may operate every session, and manage none.
    """
    if right == "manage":
        raise fail(REFUSED, "an AI may not end, rename or share sessions; nothing was given", "use --operate")
    ids: list[str] = []
    with Connection() as host:
        running = host.sessions()
    for each in sessions:
        found = next((session for session in running if each in (session.id, session.name)), None)
        if found is None:
            raise NoSuchSession(each)
        ids.append(found.id)
    limits = ai.Limits(capability(right or "operate"), tuple(ids), sessions, int(for_s))
    _say(ai.allow(name, limits), as_json)


@mcp.command("who", cls=HoldCommand, short_help="Show the AI operator, and what it may.")
@as_option  # type: ignore[arg-type]
@json_option
def who(name: str, as_json: bool) -> None:
    """Show who the AI operator is and what it may; it is made if there is none yet."""
    _say(ai.ready(name), as_json)


@mcp.command(cls=HoldCommand, short_help="Take back all that the AI operator may.")
@as_option  # type: ignore[arg-type]
def forget(name: str) -> None:
    """Revoke the AI operator's key, everywhere, and remove it. What it started runs on."""
    ai.forget(name)
    click.echo(f"{name}: taken back", err=True)


def _say(it: ai.Operator, as_json: bool) -> None:
    may = what(it.capabilities, it.named)
    if as_json:
        say_json({"name": it.name, "id": it.id, "on_behalf_of": it.person, "may": may, "until": it.until})
        return
    click.echo(f"{it.name} ({it.id}) acts for {it.person} and may {may} until {until(it.until)}", err=True)
    if sys.stdout.isatty():
        click.echo("every AI host may have its own: hold mcp install HOST", err=True)
