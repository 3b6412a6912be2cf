"""`hold host ...` and `hold doctor`: the daemon's life and what this machine allows. Not here: sessions (commands)."""

from __future__ import annotations

import os
import select
import time

import click

from holdfast import __version__
from holdfast.client.connection import Connection, plain
from holdfast.client.dial import Unreachable
from holdfast.client.endings import REFUSED, UNREACHABLE, span
from holdfast.client.places import here
from holdfast.core.errors import HostUnreachable
from holdfast.faces.cli.skin import HoldCommand, HoldGroup, fail, json_option, say_json

STOP_S = 10.0  # for the daemon to be gone once it said it stops


@click.group(cls=HoldGroup)
def host() -> None:
    """The daemon that looks after sessions. It starts by itself; stopping it does not stop sessions."""


def _start() -> bool:
    from holdfast.client.start import start_host

    try:
        return start_host()
    except Unreachable as error:
        raise HostUnreachable(error.where, error.why) from None


def _stop(*, replace: bool) -> tuple[int, int]:
    """Stop the daemon, wait until its process is gone, and return (its pid, how many sessions it left running)."""
    with Connection(start=False) as link:
        status = link.status()
        running = len(link.sessions())
        try:
            watch = os.pidfd_open(status.pid)
        except OSError:
            watch = -1
        link.stop_host(replace=replace)
    if watch >= 0:
        gone, _, _ = select.select([watch], [], [], STOP_S)
        os.close(watch)
        if not gone:
            raise fail(
                REFUSED,
                f"the host (pid {status.pid}) said it stops and still runs after {STOP_S:.0f} s",
                f"see {here().host_log}",
            )
    return status.pid, running


@host.command()
def up() -> None:
    """Start the host if none runs. It adopts the sessions that run."""
    started = _start()
    with Connection(start=False) as link:
        status = link.status()
    click.echo(
        f"{'started' if started else 'runs already'}: pid {status.pid}, generation {status.generation}, "
        f"{status.sessions} sessions",
        err=True,
    )


@host.command()
def down() -> None:
    """Stop the host. Sessions run on without it; the next `hold` command starts it again."""
    pid, running = _stop(replace=False)
    click.echo(f"stopped: pid {pid}; {running} sessions run on", err=True)


@host.command("accept-rollback")
def accept_rollback() -> None:
    """Go on from a state that was restored from an older copy on purpose: relays witness it from now on.

    Until then `hold host status` says that a relay saw more, and whoever attaches through it is told.
    """
    with Connection() as link:
        link.accept_rollback()
    click.echo("what this host has now is what relays witness from here on", err=True)


@host.command()
@click.option(
    "--all", "everything", is_flag=True, help="Upgrade keeper and holders too, in place, as the same processes."
)
def restart(everything: bool) -> None:
    """Replace the host by the installed version. Sessions run on, attached terminals come back by themselves."""
    try:
        pid, running = _stop(replace=True)
    except HostUnreachable:
        pid, running = 0, 0
    _start()
    with Connection(start=False) as link:
        status = link.status()
    click.echo(
        f"restarted: pid {pid or 'none'} -> {status.pid}, generation {status.generation}; {running} sessions ran on",
        err=True,
    )
    if everything:
        with Connection(start=False) as link:
            upgraded = link.upgrade_host()
        click.echo(f"upgraded in place: keeper {upgraded.keeper_pid} and {upgraded.holders} holders", err=True)
        for name, why in upgraded.failed.items():
            click.echo(f"not upgraded: {name}: {why}", err=True)


@host.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether the host runs, where, since when, and what it says about this machine. Starts nothing."""
    try:
        with Connection(start=False) as link:
            found, welcome = link.status(), link.welcome
    except HostUnreachable as error:
        if as_json:
            say_json(
                {
                    "running": False,
                    "pid": None,
                    "why": str(error),
                    "runtime": str(here().runtime),
                    "state": str(here().state),
                }
            )
            raise click.exceptions.Exit(UNREACHABLE) from None
        raise
    if as_json:
        say_json({"running": True, "host": welcome.host, "name": welcome.host_name, **plain(found)})
        return
    up_for = span(max(0.0, time.time() - found.started_at))
    views = ", ".join(map(str, found.view_pids)) or "none"
    click.echo(
        f"host      pid {found.pid}, {found.software}, generation {found.generation}, up {up_for}\n"
        f"sessions  {found.sessions}\nkeeper    pid {found.keeper_pid}\nviews     pid {views}\n"
        f"runtime   {found.runtime}\nstate     {found.state}\nlog       {here().host_log}"
    )
    for note in found.notes:
        click.echo(f"note      {note}")


@host.command()
@click.option("--print", "only_print", is_flag=True, help="Print the unit instead of writing it.")
@click.option("--force", is_flag=True, help="Replace a unit that was changed by hand.")
def install(only_print: bool, force: bool) -> None:
    """Write a systemd user unit for the host. Enables and starts nothing; says how to."""
    from holdfast.faces.cli import unit

    text = unit.text()
    if only_print:
        click.echo(text, nl=False)
        return
    path = unit.path()
    if path.exists() and path.read_text() != text and not force:
        raise fail(
            REFUSED,
            f"{path} exists and differs from what would be written; it was left alone",
            "compare with `hold host install --print`, then use --force",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    click.echo(f"wrote {path}; nothing was enabled or started")
    for line in unit.next_steps():
        click.echo(line)


@click.command(cls=HoldCommand)
@json_option
def doctor(as_json: bool) -> None:
    """Check what this machine allows, with what to do about it. Starts nothing. Status 122: something is broken."""
    from holdfast.faces.cli import checks

    found = checks.all_of()
    if as_json:
        say_json({"version": __version__, "checks": [check.__dict__ for check in found]})
    else:
        for check in found:
            colour = {"ok": "green", "warn": "yellow", "fail": "red"}[check.verdict]
            click.echo(f"{click.style(f'{check.verdict:<5}', fg=colour)} {check.name:<15} {check.found}")
            if check.do:
                click.echo(f"{'':<22}-> {check.do}")
    if any(check.verdict == "fail" for check in found):
        raise click.exceptions.Exit(REFUSED)
