"""`hold key` and `hold profile`: one's own keys, where the root is, whose tenants one belongs to. Source: docs/sharing.md.

Not here: giving access (people). No passphrase ever stands in arguments or in the environment.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from holdfast.client import enrolment, upkeep, where
from holdfast.client.credentials import DEFAULT, Store, profiles
from holdfast.client.endings import REFUSED
from holdfast.client.meeting import keys_folder
from holdfast.core import grants, identity
from holdfast.core.identity import Kind
from holdfast.faces.cli import show
from holdfast.faces.cli.people import until, what
from holdfast.faces.cli.skin import HoldGroup, fail, json_option, say_json, width

PASSPHRASE_BYTES_MAX = 1024
ROOT_SAYS = {
    "plain": "here, readable by whoever can read your files. `hold key seal` puts it under a passphrase, "
    "`hold key export FILE` takes it off this machine",
    "sealed": "here, under a passphrase, for `hold key renew` when the issuer's time comes. `hold key export FILE` takes it "
    "off this machine",
    "away": "not here; `hold key renew --root FILE` needs it when the issuer's time comes",
}
passphrase_option = click.option(
    "--passphrase-fd", "fd", type=click.IntRange(0), metavar="N", help="Read the passphrase from this descriptor."
)


def _passphrase(fd: int | None, *, twice: bool = False) -> str:
    if fd is not None:
        with os.fdopen(fd, "rb", closefd=False) as given:
            return given.readline(PASSPHRASE_BYTES_MAX).decode("utf-8", "surrogateescape").rstrip("\r\n")
    if not sys.stdin.isatty():
        raise fail(REFUSED, "no terminal to ask for the passphrase; nothing was changed", "give --passphrase-fd N")
    import getpass

    said = getpass.getpass("passphrase: ")
    if twice and getpass.getpass("once more:  ") != said:
        raise fail(REFUSED, "the two differ; nothing was changed")
    return said


@click.group(cls=HoldGroup, invoke_without_command=True)
@json_option
@click.pass_context
def key(ctx: click.Context, as_json: bool) -> None:
    """Show your own keys, and what to do about them: who you are here, where the root is, when certificates end."""
    if ctx.invoked_subcommand is not None:
        return
    store = enrolment.own_store()
    mine, state = store.member, store.root_state
    issuer_ends = store.issued_by.not_after if store.issues else 0
    if as_json:
        say_json({"operator": identity.operator_id(mine.key), "kind": mine.kind.value, "key": mine.key.hex(),
                  "fingerprint": identity.fingerprint(mine.key), "tenant": identity.tenant_id(store.tenant),
                  "profile": store.name, "root": state if store.issues else "elsewhere",
                  "issuer_until": issuer_ends or None, "certificate_until": mine.certificate.not_after})  # fmt: skip
        return
    facts = [
        ("operator", f"{identity.operator_id(mine.key)}  {mine.kind.value} {show.clean(store.profile.operator_name)}"),
        ("fingerprint", identity.fingerprint(mine.key)),
        ("key", mine.key.hex()),
        ("tenant", identity.tenant_id(store.tenant)),
        ("profile", store.name),
    ]
    if store.issues:
        facts += [("root", ROOT_SAYS[state]), ("issuer", f"here, until {until(issuer_ends)}")]
    else:
        facts += [("issuer", "elsewhere: you are a member of somebody's tenant")]
    renewal = "never renewed" if mine.kind is Kind.GUEST else "renewed by itself"
    facts += [("certificate", f"until {until(mine.certificate.not_after)}, {renewal}")]
    for name, text in facts:
        click.echo(f"{name:<14}{text}")


@key.command()
@passphrase_option
def seal(fd: int | None) -> None:
    """Put the tenant's root key under a passphrase. Everyday work goes on without it; the issuer's renewal will ask for it."""
    store = enrolment.own_store()
    if store.root_state != "plain":
        raise fail(REFUSED, f"the root is {store.root_state} already; nothing was changed")
    store.seal_root(_passphrase(fd, twice=True), random=os.urandom)
    click.echo("sealed: the root opens with this passphrase alone; nobody can recover it", err=True)


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
def export(file: Path) -> None:
    """Move the tenant's root key, as it is here, to FILE: a stick, a vault. FILE must not exist."""
    store = enrolment.own_store()
    was = store.root_state
    store.export_root(file)
    note = "it is NOT sealed: whoever reads it is the tenant" if was == "plain" else "it opens with its passphrase"
    click.echo(f"the root is in {file} and not here any more; {note}", err=True)


@key.command()
@click.option("--root", type=click.Path(path_type=Path), metavar="FILE", help="An exported root.")
@passphrase_option
def renew(root: Path | None, fd: int | None) -> None:
    """Renew now what ends soon: issuer (needs the root), own certificates, this machine's host, a membership elsewhere."""
    store = enrolment.own_store()
    if store.issues:
        ends_soon = store.issued_by.not_after - time.time() < 30 * identity.DAY_S
        opened = None
        if ends_soon and (root is not None or store.root_state == "sealed"):
            opened = store.open_root(_passphrase(fd) if store.root_state == "sealed" else "", path=root)
        for each in store.renewed(now=int(time.time()), random=os.urandom, root=opened):
            click.echo(f"{each} renewed", err=True)
    for text in upkeep.one(store):
        click.echo(text, err=True)
    click.echo(f"certificate until {until(store.member.certificate.not_after)}", err=True)


# ---- profiles --------------------------------------------------------------------------------------------------------


@click.group(cls=HoldGroup, invoke_without_command=True)
@click.pass_context
def profile(ctx: click.Context) -> None:
    """Whose tenants you belong to: your own (default), and one for each code or link that you joined with."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(listing)


@profile.command("ls")
@json_option
def listing(as_json: bool = False) -> None:
    """List profiles: what you are there, where it leads, until when; * marks the one that was chosen."""
    folder, chosen = keys_folder(), where.chosen()
    found = [Store(folder, name) for name in profiles(folder)]
    if as_json:
        say_json([{"name": each.name, "chosen": each.name == chosen, "kind": each.member.kind.value,
                   "id": identity.operator_id(each.member.key), "tenant": identity.tenant_id(each.tenant),
                   "relays": each.profile.relays, "until": each.member.certificate.not_after} for each in found])  # fmt: skip
        return
    if not found:
        click.echo("no profiles yet; `hold up` makes your own, `hold join` one of somebody's tenant", err=True)
        return
    rows = [("", "PROFILE", "KIND", "UNTIL", "RELAYS")]
    for each in found:
        rows.append(("*" if each.name == (chosen or DEFAULT) else "", each.name, each.member.kind.value,
                     until(each.member.certificate.not_after), " ".join(each.profile.relays) or "-"))  # fmt: skip
    click.echo(show.table(rows, width=width(), flexible=4))


@profile.command("use")
@click.argument("name")
def choose(name: str) -> None:
    """Use this profile from now on, where --profile and HOLDFAST_PROFILE say nothing else; `default` is your own again."""
    folder = keys_folder()
    if name == DEFAULT:
        (folder / where.CHOSEN).unlink(missing_ok=True)
        return
    Store(folder, name)
    (folder / where.CHOSEN).write_text(name)


@profile.command("show")
@click.argument("name", required=False)
@json_option
def describe(name: str | None, as_json: bool) -> None:
    """Show one profile: who you are there, what you may do, which hosts it knows."""
    store = Store(keys_folder(), name or where.chosen() or DEFAULT)
    now = int(time.time())
    held = [grants.read(chain) for chain in store.grant_chains(now=now)]
    may = [f"{what(int(each.capabilities), sorted(each.sessions))} until {until(each.not_after)}" for each in held]
    hosts = [identity.host_id(each.key) for each in store.hosts()]
    mine = store.member
    if as_json:
        say_json({"name": store.name, "kind": mine.kind.value, "id": identity.operator_id(mine.key), "may": may,
                  "hosts": hosts, "relays": store.profile.relays, "until": mine.certificate.not_after})  # fmt: skip
        return
    for left, text in (
        ("profile", store.name), ("operator", f"{identity.operator_id(mine.key)}  {mine.kind.value}"),
        ("tenant", identity.tenant_id(store.tenant)), ("until", until(mine.certificate.not_after)),
        *(("may", text) for text in may or ["nothing"]), *(("relay", url) for url in store.profile.relays),
        *(("host", text) for text in hosts),
    ):  # fmt: skip
        click.echo(f"{left:<14}{text}")


@profile.command("forget")
@click.argument("name")
def drop(name: str) -> None:
    """Remove a profile with its keys. What it may do elsewhere ends only when it is revoked there, or by its time."""
    if name == DEFAULT:
        raise fail(REFUSED, "your own tenant's keys were left alone", "move the folder away by hand if you mean it")
    store = Store(keys_folder(), name)
    store.remove()
    if where.chosen() == name:
        (keys_folder() / where.CHOSEN).unlink(missing_ok=True)
