"""`hold up`: make this machine reachable with one command. Not here: running relays for others, linking by hand (network).

A relay of one's own runs as a process by itself and is started again by the host when it dies (edge.ownrelay).
"""

from __future__ import annotations

import ipaddress
import time

import click

from holdfast.client import enrolment, joining, pairing, serving
from holdfast.client.connection import Connection
from holdfast.client.endings import REFUSED, span
from holdfast.client.joining import Wish
from holdfast.core.grants import Capability, closed
from holdfast.core.identity import Kind, host_id
from holdfast.faces.cli.people import qr
from holdfast.faces.cli.skin import HoldCommand, fail, json_option, say_json

LISTEN = "127.0.0.1:8440"


@click.command(cls=HoldCommand, short_help="Make this machine reachable: host, relay and link in one.")
@click.option("--listen", metavar="HOST:PORT", help=f"Where the relay listens; default {LISTEN}: this machine alone.")
@click.option("--name", "names", multiple=True, metavar="URL", help="The address others dial it by: wss://box.example.")
@click.option("--cert", metavar="FILE", help="Certificate chain (PEM), to speak TLS by itself.")
@click.option("--key", metavar="FILE", help="Its private key.")
@click.option("--no-code", is_flag=True, help="Print no join code for a device of yours.")
@click.option("--stop", is_flag=True, help="Stop the relay and hang up on it. Sessions run on.")
@json_option
def up(listen: str | None, names: tuple[str, ...], cert: str | None, key: str | None, no_code: bool, stop: bool,
       as_json: bool) -> None:  # fmt: skip
    """Run host and relay, link them, and print the address, with a web page and a join code for one device of yours.

    Once is enough: both run on, the host starts the relay again if it dies, and saying it again changes nothing. Without
    --listen only this machine itself can reach the relay: for others give an address of the network and, unless a proxy in
    front speaks TLS, --cert and --key. What is said is sealed end to end either way.
    """
    if stop:
        _stop()
        return
    if (cert is None) != (key is None):
        raise fail(
            2, "a certificate without its key, or the reverse; nothing was started", "give both --cert and --key"
        )
    store = enrolment.own_store()
    if not store.issues:
        raise fail(REFUSED, f"profile {store.name!r} is of somebody else's tenant; nothing was started",
                   "leave --profile out: a relay of yours serves your own tenant")  # fmt: skip
    chosen = listen or names or cert
    it, started, former = serving.serve(
        serving.words(listen or LISTEN, names, cert, key) if chosen else None, LISTEN, store
    )
    with Connection() as host:
        who = serving.link(host, store, it, former)
        state = who.relays.get(it.url, "not linked")
        code = None
        if not no_code:
            wish = Wish("device", Kind.DEVICE, int(closed(Capability.OPERATE)))
            code = joining.invite(host, store, wish)
        name = host.welcome.host_name
    if as_json:
        say_json({"url": it.url, "pid": it.pid, "started": started, "host": host_id(who.key), "name": name,
                  "link": state, "reach": reach(it.url), "page": pairing.page(it.url),
                  "code": code.code.text() if code else None})  # fmt: skip
        return
    click.echo(f"relay   {it.url}  pid {it.pid}, {'started' if started else 'runs already'}; {reach(it.url)}")
    click.echo(f"host    {name}  {host_id(who.key)}, link {state}")
    if code is not None:
        text = code.code.text()
        address = f"{pairing.page(it.url)}#{text}"
        click.echo(f"page    {address}")
        qr(address)
        click.echo(f"code    {text}")
        click.echo(
            f"on a device of yours: open the page, or hold join CODE, once, within "
            f"{span(code.terms.not_after - time.time())}; it may then operate everything here, on behalf of you. `hold pair` "
            f"makes a phone or browser as good as this terminal, `hold share NAME` gives a look at one session",
            err=True,
        )


def reach(url: str) -> str:
    """Return in words who can reach a relay at ``url``, and what those on the way can see."""
    scheme, _, rest = url.partition("://")
    name = rest.partition("/")[0].rpartition(":")[0].strip("[]") or rest
    try:
        local = ipaddress.ip_address(name).is_loopback
    except ValueError:
        local = name == "localhost"
    if local:
        return "this machine alone can reach it: for others `hold up --listen 0.0.0.0:8440`"
    if scheme == "ws":
        return "not TLS: those on the way see who meets whom and when, not what is said"
    return "TLS"


def _stop() -> None:
    it, ran = serving.stop()
    if it is None:
        click.echo("no relay of yours is wanted here", err=True)
        return
    with Connection() as host:
        serving.unlink(host, it)
    click.echo(f"{'stopped' if ran else 'was gone'}: {it.url}; sessions run on", err=True)
