"""`hold pair`: make a browser or phone of yours your own, by a code and a number that both screens show.

Not here: codes for others (people), how the number comes about (client.pairing).
"""

from __future__ import annotations

import sys
import time

import click

from holdfast.client import enrolment, pairing
from holdfast.client.connection import Connection
from holdfast.client.endings import REFUSED, span
from holdfast.client.joining import Invited, Wish
from holdfast.core.grants import Capability, closed
from holdfast.core.identity import Kind
from holdfast.faces.cli import show
from holdfast.faces.cli.people import qr, until
from holdfast.faces.cli.skin import Duration, HoldCommand, fail, json_option, say_json


@click.command(cls=HoldCommand, short_help="Make a phone or browser of yours your own.")
@click.argument("name", required=False, default="")
@click.option("--observe", "right", flag_value="observe", help="It may only look.")
@click.option("--operate", "right", flag_value="operate", help="It may type, but end nothing.")
@click.option("--for", "for_s", type=Duration(), default="30d", metavar="DURATION", help="How long; default 30d.")
@click.option("--away", type=Duration(), default="14d", metavar="DURATION",
              help="How long it may be offline at a time; default 14d, at most 30d.")  # fmt: skip
@click.option("--code-for", type=Duration(), default="10m", metavar="DURATION", help="Life of the code; default 10m.")
@json_option
def pair(name: str, right: str | None, for_s: float, away: float, code_for: float, as_json: bool) -> None:
    """Print a web address for a phone or browser of yours, wait until it is opened there, and let it in once you say that
    both screens show the same number.

    It then acts as you, with a key of its own that `hold operator ls` shows and `hold revoke` takes back. Without a terminal
    the answer, yes or the number, is read from standard input.
    """
    store = enrolment.own_store()
    kind = Kind.HUMAN if store.issues else Kind.DEVICE  # only where certificates are made can somebody be made a person
    wish = Wish(name, kind, int(closed(Capability[(right or "manage").upper()])), for_s=int(for_s), life_s=int(away),
                code_s=int(code_for))  # fmt: skip
    with Connection() as host:
        made = pairing.begin(host, store, wish)
        _show(made, as_json)
        asking = pairing.wait(host, made)
        shown = f"{asking.number[:3]} {asking.number[3:]}"
        if as_json:
            say_json({"asks": asking.name, "number": asking.number})
        else:
            click.echo(
                f"{show.clean(asking.name) or 'a device'} asks to join. Its number must be\n\n    {shown}\n", err=True
            )
            click.echo("Does the other screen show this number? [y/N] ", err=True, nl=False)
        sys.stdout.flush()
        said = sys.stdin.readline().strip().lower().replace(" ", "")
        yes = said in ("y", "yes", asking.number)
        pairing.decide(host, store, made, asking, yes=yes)
    if not yes:
        raise fail(REFUSED, "it was not let in, and the code is used up", "`hold pair` gives a new one")
    click.echo(f"{show.clean(asking.name) or 'the device'} is yours until {until(made.terms.until)}", err=True)


def _show(made: Invited, as_json: bool) -> None:
    url = f"{pairing.page(made.code.relays[0])}#{made.code.text()}"
    if as_json:
        say_json({"page": url, "code": made.code.text(), "code_until": made.terms.not_after})
        sys.stdout.flush()
        return
    click.echo(url)
    qr(url)
    left = span(made.terms.not_after - time.time())
    click.echo(f"open it on the device, once, within {left}; {advice(made.code.relays[0])}", err=True)


def advice(relay: str) -> str:
    """Return in words what a browser needs to open the page of this relay."""
    host = relay.partition("://")[2].partition("/")[0].rpartition(":")[0].strip("[]")
    if relay.startswith("wss://"):
        return "a current Chrome, Edge, Firefox or Safari will do"
    if host in ("localhost", "127.0.0.1", "::1"):
        return "as it stands only a browser on this machine reaches it"
    return "this address is not https, and browsers keep keys for no other page: give the relay --cert and --key, or a proxy"
