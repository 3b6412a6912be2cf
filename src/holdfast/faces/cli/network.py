"""`hold relay ...`, `hold host link`, `hold hosts`: reaching sessions from elsewhere. Not here: who may (people)."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import click

from holdfast.client import enrolment
from holdfast.client.connection import Connection
from holdfast.client.endings import span
from holdfast.client.meeting import Meeting, Seen
from holdfast.client.places import here
from holdfast.core.identity import host_id
from holdfast.faces.cli import show
from holdfast.faces.cli.hosting import host
from holdfast.faces.cli.skin import HoldCommand, HoldGroup, json_option, say_json, width

LISTEN = "127.0.0.1:8440"


@click.group(cls=HoldGroup)
def relay() -> None:
    """The meeting point that hosts and clients dial. It passes on what it cannot read."""


@relay.command()
@click.option("--listen", default=LISTEN, metavar="HOST:PORT", help=f"Where it listens; default {LISTEN}.")
@click.option("--name", "names", multiple=True, metavar="URL", help="An address it is dialled by. May be repeated.")
@click.option("--cert", metavar="FILE", help="Certificate chain (PEM), to speak TLS by itself.")
@click.option("--key", metavar="FILE", help="Its private key.")
@click.option("--tenant", "tenants", multiple=True, metavar="KEY", help="Serve this tenant; default: your own.")
@click.option("--open", "everybody", is_flag=True, help="Serve every tenant that comes.")
@click.option("--trust-proxy", default="", metavar="NETWORKS", help="Proxies whose X-Forwarded-For counts.")
@click.option("--state", metavar="FOLDER", help="What it remembers; default: beside the host's records.")
def up(names: tuple[str, ...], tenants: tuple[str, ...], everybody: bool, **options: Any) -> None:
    """Run a relay, in the foreground, until Ctrl-C or SIGTERM. One process: it is not highly available.

    Hosts dial it (hold host link URL), clients find them there. It needs no account and holds no session; losing it
    costs a reconnect. Behind a proxy, or on this machine alone, it may speak plainly; else give --cert and --key.
    """
    words = ["--listen", options["listen"], "--state", options["state"] or str(here().state / "relay")]
    for name in names:
        words += ["--name", name]
    for option in ("cert", "key"):
        if options[option]:
            words += [f"--{option}", options[option]]
    if options["trust_proxy"]:
        words += ["--trust-proxy", options["trust_proxy"]]
    if everybody:
        words.append("--open")
    for tenant in tenants or (() if everybody else (enrolment.own_store().tenant.hex(),)):
        words += ["--tenant", tenant]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "holdfast.relay.main", *words])


@host.command("link")
@click.argument("urls", nargs=-1, metavar="URL...")
@click.option("--name", default="", help="What the host is called elsewhere; default: the machine's name.")
@click.option("--none", "nothing", is_flag=True, help="Hang up everywhere.")
@json_option
def link(urls: tuple[str, ...], name: str, nothing: bool, as_json: bool) -> None:
    """Have this host dial relays and keep the links warm. URL is like wss://relay.example or ws://127.0.0.1:8440.

    Without URL it says how the links stand. The list is replaced by what you give; nothing ever listens on this machine.
    """
    with Connection() as connection:
        store = enrolment.own_store()
        dials = bool(urls or nothing)
        answer = enrolment.link(connection, store, urls, name=name) if dials else enrolment.identity_of(connection)
        if urls:
            answer = enrolment.linked(connection)
    if as_json:
        say_json({"host": host_id(answer.key), "name": name, "relays": answer.relays})
        return
    if not answer.relays:
        click.echo("this host dials no relay; `hold host link URL` makes it reachable from elsewhere", err=True)
    for url, state in answer.relays.items():
        click.echo(f"{url}  {state}")


@click.command(cls=HoldCommand, short_help="List the hosts you can reach through relays.")
@json_option
def hosts(as_json: bool) -> None:
    """List the hosts of your tenant: name, whether it can be reached now, and since when."""
    found = asyncio.run(_hosts())
    if as_json:
        say_json(
            [
                {"id": host_id(each.key), "name": each.name, "reachable": each.reachable, "since": each.since,
                 "relay": each.relay}
                for each in found
            ]
        )  # fmt: skip
        return
    if not found:
        click.echo("no hosts; `hold host link URL` on a machine makes its sessions reachable", err=True)
        return
    rows = [("HOST", "STATE", "SINCE", "RELAY", "ID")]
    for each in found:
        state = "reachable" if each.reachable else "unreachable"
        since = span(max(0.0, time.time() - each.since))
        rows.append((show.clean(each.name) or "-", state, since, each.relay, host_id(each.key)))
    click.echo(show.table(rows, width=width(), flexible=3))


async def _hosts() -> list[Seen]:
    store = enrolment.own_store(os.environ.get("HOLDFAST_PROFILE", ""))
    meeting = Meeting(store.name)
    try:
        return await meeting.hosts()
    finally:
        await meeting.close()
