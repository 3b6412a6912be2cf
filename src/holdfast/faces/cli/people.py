"""`hold share`, `join`, `grants`, `revoke`, `operator`, `host enroll`: giving access and taking it back. Source: docs/sharing.md.

Not here: one's own keys (keys), reaching (network).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from holdfast.client import enrolment, joining, ledger, sharing
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store
from holdfast.client.endings import REFUSED, span
from holdfast.client.joining import Invited, Wish
from holdfast.client.ledger import Given, Terms
from holdfast.client.meeting import keys_folder
from holdfast.core import grants, identity
from holdfast.core.errors import HoldError, NoSuchSession
from holdfast.core.grants import Capability, closed
from holdfast.core.identity import Kind
from holdfast.core.invitations import is_offer
from holdfast.faces.cli import show
from holdfast.faces.cli.hosting import host
from holdfast.faces.cli.skin import Duration, HoldCommand, HoldGroup, fail, json_option, name_argument, say_json, width

WORDS = {
    1: "observe", 3: "propose", 7: "operate", 15: "manage", 16: "audit", 17: "observe and audit", 19: "propose and audit",
    23: "operate and audit", 31: "manage",
}  # fmt: skip
INVITED = ("human", "ai", "device", "service")
MEMBERS = ("join", "ai")  # how somebody got a key of their own: with a code, or made here for an AI
SERIAL_CHARS = 8  # of a serial, as it is shown


def what(capabilities: int, sessions: tuple[str, ...] | list[str]) -> str:
    """Return a right in words: `observe build`, `operate everything`; a host's is to be reached."""
    if not capabilities:
        return "be reached"
    return f"{WORDS.get(capabilities, '?')} {', '.join(map(show.clean, sessions)) if sessions else 'everything'}"


def until(at: float) -> str:
    """Return a time to come for people: local time, and how long that is from now."""
    left = at - time.time()
    text = time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    return f"{text} ({span(left)})" if left > 0 else f"{text} (over)"


def qr(text: str) -> None:
    """Draw ``text`` as a QR code, if standard output is a terminal that it fits on."""
    columns = width()
    if columns is None:
        return
    import segno

    code = segno.make(text, error="l", micro=False)
    if code.symbol_size(border=2)[0] > columns:
        click.echo(f"(its QR code needs a terminal of {code.symbol_size(border=2)[0]} columns)", err=True)
        return
    code.terminal(out=sys.stdout, border=2, compact=True)


RIGHTS = (
    ("observe", "Look. What is given if nothing is said."),
    ("propose", "Look, and offer input for approval."),
    ("operate", "Type, signal, resize."),
    ("manage", "Also end, keep, rename, forget; reads the record."),
    ("audit", "Read the record of who did what, and nothing else."),
)


def rights(command: Any) -> Any:
    """Decorate with --observe, --propose, --operate, --manage, --audit: ``right`` is the one given, or None."""
    for word, says in reversed(RIGHTS):
        command = click.option(f"--{word}", "right", flag_value=word, help=says)(command)
    return command


def capability(right: str | None) -> Capability:
    return closed(Capability[(right or "observe").upper()])


# ---- share -----------------------------------------------------------------------------------------------------------


@click.command(cls=HoldCommand, short_help="Let somebody look at a session, by a link.")
@name_argument()
@rights
@click.option("--for", "for_s", type=Duration(), default="1h", metavar="DURATION", help="Until when; default 1h.")
@click.option("--to", metavar="OPERATOR", help="An operator that joined, by name or id, or a public key: no link then.")
@json_option
def share(name: str, right: str | None, for_s: float, to: str | None, as_json: bool) -> None:
    """Print a link by which whoever has it may look at a session (or propose input), and nothing else, for a while.

    The secret stands after the # and goes to no server. With --to nothing secret is printed: what it prints is of use to
    that operator alone, who opens it with hold join, and gets it by itself at the next renewal.
    """
    if to is None and right not in (None, "observe", "propose"):
        raise fail(REFUSED, f"a link's guest may not {right}; nothing was given", "use --to OPERATOR")
    store, there = sharing.find(name)
    if to is None:
        made, given = sharing.share(store, there, propose=right == "propose", for_s=for_s)
        text = made.url()
    else:
        offer, given = sharing.offer(store, there, to, capabilities=capability(right), for_s=for_s)
        text = offer.text()
    serial = given.serial.hex()[:SERIAL_CHARS]
    if as_json:
        say_json({"text": text, "serial": serial, "session": there.session, "until": given.until, "to": given.name})
        return
    click.echo(text)
    if to is None:
        qr(text)
    who = f"{given.name} ({identity.operator_id(given.key)})" if to else "whoever has this link"
    click.echo(
        f"{show.clean(who)} may {what(given.capabilities, given.named)} until {until(given.until)}; "
        f"`hold revoke {serial}` takes it back",
        err=True,
    )


# ---- join ------------------------------------------------------------------------------------------------------------


def join_options(command: Any) -> Any:
    command = click.option("--as", "profile", default="", metavar="NAME", help="What to call the profile it makes.")(
        command
    )
    return click.option("--name", default="", help="What to call yourself, if the code does not say.")(command)


@click.command(cls=HoldCommand, short_help="Use a join code, a share link, or what `hold share --to` printed.")
@click.argument("text", metavar="CODE|LINK|-")
@join_options
@json_option
def join(text: str, profile: str, name: str, as_json: bool) -> None:
    """Use what somebody gave you: it becomes a profile, and this says what you may do and how.

    `-` reads it from standard input, so that it stands in no process listing and no shell history.
    """
    given = sys.stdin.read().strip() if text == "-" else text.strip()
    if "://" in given:
        _join_link(given, profile, as_json)
    elif is_offer(given):
        _join_offer(given, as_json)
    else:
        _join_code(given, profile, name, as_json)


@host.command("join", short_help="Use a join code for this machine's host.")
@click.argument("text", metavar="CODE|-")
@join_options
@json_option
def host_join(text: str, profile: str, name: str, as_json: bool) -> None:
    """The same as hold join: the code itself says that it is for a host."""
    _join_code(sys.stdin.read().strip() if text == "-" else text, profile, name, as_json)


def _join_link(url: str, profile: str, as_json: bool) -> None:
    store, it = sharing.enter(url, keys_folder(), profile=profile)
    grant = grants.read(it.grant)
    try:
        with Connection(f"@{store.name}/{store.name}") as there:
            found = next((each for each in there.sessions() if each.id == it.session), None)
            place = there.welcome.host_name
    except HoldError as error:
        click.echo(f"hold: the host does not answer now: {error.message}", err=True)
        found, place = None, identity.host_id(it.host)
    session = show.clean(found.name) if found is not None else it.session
    command = f"hold attach --observe {session}@{store.name}"
    if as_json:
        say_json({"profile": store.name, "session": it.session, "may": WORDS[int(grant.capabilities)],
                  "until": grant.not_after, "attach": command})  # fmt: skip
        return
    click.echo(
        f"you are a guest of {show.clean(place)}: you may {what(int(grant.capabilities), [session])} until "
        f"{until(grant.not_after)}. Attach with",
        err=True,
    )
    click.echo(command)


def _join_offer(text: str, as_json: bool) -> None:
    store, it, grant = sharing.accept(text, keys_folder())
    if as_json:
        say_json({"profile": store.name, "session": it.session, "may": WORDS[int(grant.capabilities)],
                  "until": grant.not_after})  # fmt: skip
        return
    may = f"you may {what(int(grant.capabilities), [it.session])} until {until(grant.not_after)}"
    if not grant.capabilities & Capability.OBSERVE:
        click.echo(f"{may}. Read it with", err=True)
        click.echo(f"hold log {it.session}@{identity.host_id(it.host)}")
        return
    observe = "" if grant.capabilities & Capability.OPERATE else "--observe "
    click.echo(f"{may}. Attach with", err=True)
    click.echo(f"hold attach {observe}{it.session}@{identity.host_id(it.host)}")


def _say_number(number: str) -> None:
    click.echo(f"the other machine shows a number, too; if it is {number[:3]} {number[3:]}, say yes there", err=True)


def _join_code(text: str, profile: str, name: str, as_json: bool) -> None:
    done = joining.join(text, keys_folder(), profile=profile, name=name, numbered=_say_number)
    place = done.store.name
    may = [what(int(grant.capabilities), sorted(grant.sessions)) for grant in done.grants]
    if as_json:
        say_json({"profile": place, "kind": done.kind.value, "name": done.name, "host": done.host, "may": may,
                  "until": done.until, "machine": done.machine,
                  "id": identity.operator_id(done.store.operator.key)})  # fmt: skip
        return
    if done.machine:
        click.echo(
            f"this machine's host is a member of the tenant of {show.clean(done.host)} until {until(done.until)}: those who "
            f"may reach it find it as {show.clean(done.name) or 'this machine'}",
            err=True,
        )
        return
    click.echo(
        f"you are {done.kind.value} {show.clean(done.name) or '(no name)'} at {show.clean(done.host)} until "
        f"{until(done.until)}; you may {'; '.join(may) or 'do nothing yet'}",
        err=True,
    )
    click.echo(f"hold ls @{place}")


# ---- what was given --------------------------------------------------------------------------------------------------


def _state(each: Given, store: Store, now: float) -> str:
    if each.revoked(store.revocations()):
        return "revoked"
    return "over" if each.until <= now else "live"


@click.command("grants", cls=HoldCommand, short_help="List what was given to whom.")
@name_argument(required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Also what is over or was taken back.")
@json_option
def given(name: str | None, everything: bool, as_json: bool) -> None:
    """List what you gave: to whom, what, until when; of one session if you name it. Then what you hold from others."""
    store, now = enrolment.own_store(), time.time()
    account = ledger.read(store)
    shown = [
        each for each in account.given
        if (name is None or name in each.named or name in each.sessions)
        and (everything or _state(each, store, now) == "live")
    ]  # fmt: skip
    held = () if store.issues or name else [grants.read(chain) for chain in store.grant_chains(now=int(now))]
    if as_json:
        say_json([_plain(each, store, now) for each in shown])
        return
    rows = [("SERIAL", "TO", "KIND", "HOW", "MAY", "UNTIL", "STATE")]
    for each in shown:
        kind = "host" if each.host else each.kind.value
        rows.append((each.serial.hex()[:SERIAL_CHARS], show.clean(each.name) or "-", kind, each.how,
                     what(each.capabilities, each.named), until(each.until), _state(each, store, now)))  # fmt: skip
    for code in account.invitations.values():
        if code.not_after > now and (name is None or name in code.named):
            kind = "host" if code.machine else code.kind.value
            rows.append((code.digest.hex()[:SERIAL_CHARS], show.clean(code.name) or "-", kind, "code",
                         what(code.capabilities, code.named), until(code.not_after), "not used yet"))  # fmt: skip
    for grant in held:
        rows.append((grant.serials[-1].hex()[:SERIAL_CHARS], "you", "-", "held",
                     what(int(grant.capabilities), sorted(grant.sessions)), until(grant.not_after), "live"))  # fmt: skip
    if len(rows) == 1:
        click.echo(
            "nothing was given; `hold share NAME` gives a link, `hold operator add NAME` lets somebody join", err=True
        )
        return
    click.echo(show.table(rows, width=width(), flexible=4))


def _plain(each: Given, store: Store, now: float) -> dict[str, Any]:
    return {
        "serial": each.serial.hex()[:SERIAL_CHARS], "name": each.name, "kind": each.kind.value, "how": each.how,
        "id": identity.operator_id(each.key), "may": WORDS.get(each.capabilities, "?"), "sessions": each.sessions,
        "until": each.until, "state": _state(each, store, now), "host": identity.host_id(each.host) if each.host else "",
    }  # fmt: skip


@click.command(cls=HoldCommand, short_help="Take back what was given.")
@click.argument("names", nargs=-1, required=True, metavar="SERIAL|OPERATOR|NAME...")
@json_option
def revoke(names: tuple[str, ...], as_json: bool) -> None:
    """Take back one thing by its serial, all that an operator has by its name or id, or all that was given on a session.

    Who is attached by it is cut off within a second, and what waited to be typed is dropped.
    """
    _revoke(names, as_json, lambda each: True)


def _revoke(names: tuple[str, ...], as_json: bool, fits: Callable[[Given], bool]) -> None:
    store = enrolment.own_store()
    gone: dict[bytes, Given] = {}
    codes: dict[bytes, Terms] = {}
    for name in names:
        found, open_codes = sharing.named(store, name)
        gone |= {each.serial: each for each in found if fits(each)}
        codes |= {each.digest: each for each in open_codes}
    if not gone and not codes:
        raise sharing.NothingSuch(names[0])
    done = sharing.revoke(store, list(gone.values()), list(codes.values()))
    if as_json:
        say_json({"revoked": [each.serial.hex()[:SERIAL_CHARS] for each in done.given], "codes": done.invitations,
                  "told": done.told})  # fmt: skip
        return
    for each in done.given:
        click.echo(f"taken back: {show.clean(each.name)}: {what(each.capabilities, each.named)}", err=True)
    if done.invitations:
        click.echo(f"taken back: {done.invitations} join codes that nobody used", err=True)
    if done.given and not done.told:
        click.echo(
            "hold: no host and no relay could be told; it ends with the certificates, at the latest in a day of their renewal",
            err=True,
        )


# ---- operators -------------------------------------------------------------------------------------------------------


@click.group(cls=HoldGroup)
def operator() -> None:
    """Who may do what here: people, AIs, devices and services that joined your tenant."""


def _sessions(link: Connection, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = link.sessions()
    found = []
    for name in names:
        info = next((each for each in known if name in (each.id, each.name)), None)
        if info is None:
            raise NoSuchSession(name)
        found.append((info.id, info.name))
    return tuple(pair[0] for pair in found), tuple(pair[1] for pair in found)


def _say_code(made: Invited, as_json: bool, gives: str) -> None:
    text = made.code.text()
    if as_json:
        say_json({"code": text, "serial": made.terms.digest.hex()[:SERIAL_CHARS], "code_until": made.terms.not_after,
                  "until": made.terms.until})  # fmt: skip
        return
    click.echo(text)
    qr(text)
    click.echo(
        f"{gives} until {until(made.terms.until)}. On the other machine: hold join CODE, once, within "
        f"{span(made.terms.not_after - made.terms.at)}; `hold revoke {made.terms.digest.hex()[:SERIAL_CHARS]}` closes it",
        err=True,
    )


@operator.command(short_help="Let an operator join: prints a join code.")
@click.argument("name")
@click.option("--kind", type=click.Choice(INVITED), required=True, help="What it is, for good.")
@rights
@click.option("--session", "sessions", multiple=True, metavar="NAME", help="Only in this session. May be repeated.")
@click.option("--for", "for_s", type=Duration(), default="30d", metavar="DURATION", help="How long; default 30d.")
@click.option("--away", type=Duration(), default="24h", metavar="DURATION",
              help="How long it may be offline at a time: the life of each certificate; default 24h, at most 30d.")  # fmt: skip
@click.option("--on-behalf-of", type=click.Choice(["me"]), default="me", help="Whom an AI or device acts for: you.")
@click.option("--code-for", type=Duration(), default="1h", metavar="DURATION", help="Life of the code; default 1h.")
@json_option
def add(name: str, kind: str, right: str | None, sessions: tuple[str, ...], for_s: float, away: float, on_behalf_of: str,
        code_for: float, as_json: bool) -> None:  # fmt: skip
    """Print a join code by which an operator becomes a member, once: hold join CODE on the other machine.

    Without a right it may observe. An AI or device acts on behalf of you, and never has more than you have.
    """
    store = enrolment.own_store()
    with Connection() as link:
        ids, named = _sessions(link, sessions)
        wish = Wish(name, Kind(kind), int(capability(right)), ids, named, int(for_s), int(away), False, int(code_for))
        made = joining.invite(link, store, wish)
    _say_code(made, as_json, f"{kind} {name} may {what(made.terms.capabilities, named)}")


@operator.command("ls")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that are over or revoked.")
@json_option
def operators(everything: bool, as_json: bool) -> None:
    """List who joined: name, kind, id, what they may, until when."""
    store, now = enrolment.own_store(), time.time()
    shown = [
        each for each in ledger.read(store).given
        if each.how in MEMBERS and (everything or _state(each, store, now) == "live")
    ]  # fmt: skip
    if as_json:
        say_json([_plain(each, store, now) for each in shown])
        return
    mine = store.member
    rows = [("NAME", "KIND", "MAY", "UNTIL", "STATE", "ID")]
    rows.append((f"{show.clean(store.profile.operator_name) or '-'} (you)", mine.kind.value,
                 "manage everything" if store.issues else "-", until(mine.certificate.not_after), "live",
                 identity.operator_id(mine.key)))  # fmt: skip
    for each in shown:
        id_ = identity.host_id(each.host) if each.host else identity.operator_id(each.key)
        rows.append((show.clean(each.name) or "-", "host" if each.host else each.kind.value,
                     what(each.capabilities, each.named), until(each.until),
                     _state(each, store, now), id_))  # fmt: skip
    click.echo(show.table(rows, width=width(), flexible=2))


@operator.command("revoke")
@click.argument("names", nargs=-1, required=True, metavar="ID|NAME...")
@json_option
def operator_revoke(names: tuple[str, ...], as_json: bool) -> None:
    """End a membership: it may nothing any more, anywhere, and what it shared ends with it. What it started runs on."""
    _revoke(names, as_json, lambda each: each.how in MEMBERS)


# ---- hosts -----------------------------------------------------------------------------------------------------------


@host.command(short_help="Let another machine's host join: prints a join code.")
@click.option("--name", default="", help="What it is called; default: what that machine calls itself.")
@click.option("--for", "for_s", type=Duration(), default="366d", metavar="DURATION", help="How long; default 366d.")
@click.option("--code-for", type=Duration(), default="1h", metavar="DURATION", help="Life of the code; default 1h.")
@json_option
def enroll(name: str, for_s: float, code_for: float, as_json: bool) -> None:
    """Print a join code by which another machine's host becomes a member of your tenant, once: hold join CODE there.

    Its sessions are then reached as NAME@HOST by whoever may. Its owner keeps the last word over that machine.
    """
    store = enrolment.own_store()
    with Connection() as link:
        wish = Wish(
            name, Kind.SERVICE, for_s=int(for_s), life_s=identity.MEMBER_S_MAX, machine=True, code_s=int(code_for)
        )
        made = joining.invite(link, store, wish)
    _say_code(made, as_json, f"host {name or '(by its own name)'} may be reached")


@host.command()
def leave() -> None:
    """Give up this host's membership and its relays: nobody reaches it from elsewhere any more. Sessions run on."""
    with Connection() as link:
        enrolment.leave(link)
    click.echo("left; `hold host link URL` or `hold join CODE` makes it a member again", err=True)
