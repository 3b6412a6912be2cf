"""`hold log` and `hold verify`: who did what in a session, and whether a record of it holds. Source: docs/journal.md.

Not here: what a record means (core.telling), what is checked (core.evidence).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from holdfast.client import record as reading
from holdfast.client.connection import Connection, plain
from holdfast.client.endings import REFUSED
from holdfast.client.names import names
from holdfast.core.evidence import Report
from holdfast.core.journal import Kind, Record, decoded
from holdfast.core.telling import Told, told
from holdfast.faces.cli import show
from holdfast.faces.cli.skin import Duration, HoldCommand, fail, json_option, name_argument, say_json, there

QUIET = frozenset(
    {Kind.CARRIED, Kind.OUTPUT, Kind.CHECKPOINT}
)  # about the record itself: shown when asked for by --kind
BROKEN = 1  # exit status of a record that does not hold


@click.command(cls=HoldCommand, short_help="Who did what in a session.")
@name_argument()
@click.option("--who", metavar="X", help="Only what this operator did, or was done for it: name, id, or part of it.")
@click.option("--command", "command", type=click.IntRange(1), metavar="N", help="Only command N and what submitted it.")
@click.option("--since", type=Duration(), metavar="DURATION", help="Only what happened so long ago or later.")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only records of this kind: input, attach, ... (repeatable)"
)
@click.option("-n", "last", type=click.IntRange(1), metavar="N", help="Only the last N.")
@click.option("--at", type=click.IntRange(1), metavar="POSITION", help="One record, everything it says.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the session ends.")
@click.option(
    "--export", "export", type=click.Path(path_type=Path), metavar="FILE", help="Write all of it, with what proves it."
)
@click.option("--output", "output", is_flag=True, help="With --export: the output too, checked against its digests.")
@click.option("--asciicast", type=click.Path(path_type=Path), metavar="FILE", help="Write the output as asciicast v2.")
@click.option("--accept", is_flag=True, help="Go on from the record that the host has, though another was seen.")
@json_option
def log(
    name: str, who: str | None, command: int | None, since: float | None, kinds: tuple[str, ...], last: int | None,
    at: int | None, follow: bool, export: Path | None, output: bool, asciicast: Path | None, accept: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show who did what in a session: position, time, author, how the author is known, what.

    \b
      signed  the operator's own key signed it; `hold verify` checks that
      local   an operator at the session's own machine: the host vouches for it
      host    the host itself
    What was typed without an echo is (not shown), and nothing of it is kept.
    """
    with there(name) as (host, session):
        if accept:
            _accept(host, session)
        elif export is not None:
            _export(host, session, export, output=output, as_json=as_json)
        elif asciicast is not None:
            from holdfast.client import cast

            _said(as_json, {"file": str(asciicast), **cast.write(host, session, asciicast)._asdict()},
                  "{bytes} bytes of output, {points} points in time, written to {file}")  # fmt: skip
        elif at is not None:
            _one(host, session, at, as_json=as_json)
        else:
            wanted = Wanted(who, command, since, kinds)
            _show(host, session, wanted, last=last, follow=follow, as_json=as_json)


class Wanted:
    """What is to be shown. ``commands``: positions of inputs that submitted the command asked for."""

    def __init__(self, who: str | None, command: int | None, since: float | None, kinds: tuple[str, ...]) -> None:
        self.who, self.command, self.kinds = who, command, kinds
        self.begins = time.time() - since if since is not None else 0.0
        self.inputs: set[int] = set()

    def learn(self, record: Record) -> None:
        """Take note of which input submitted the command."""
        if record.kind == Kind.COMMAND and record.body.get("id") == self.command:
            self.inputs.add(record.body.get("position", 0))

    def __call__(self, record: Record, said: Told) -> bool:
        quiet = record.kind in QUIET and self.command is None
        if record.kind not in self.kinds if self.kinds else quiet:
            return False
        if said.at < self.begins or not self._of(record, said):
            return False
        if self.command is None:
            return True
        return record.position in self.inputs or (record.kind == Kind.COMMAND and record.body.get("id") == self.command)

    def _of(self, record: Record, said: Told) -> bool:
        authors = (said.who, record.operator, str(record.body.get("author", "")) if record.kind == Kind.COMMAND else "")
        return self.who is None or any(self.who in author for author in authors)


def _show(host: Connection, session: str, wanted: Wanted, *, last: int | None, follow: bool, as_json: bool) -> None:
    known, end = names(), 0
    records = [decoded(data) for data in reading.raw(host, session)]
    for record in records:
        wanted.learn(record)
        end = record.position
    chosen = [(record, said) for record in records if wanted(record, said := told(record, known))]
    chosen = chosen[-last:] if last else chosen
    if as_json and not follow:
        say_json([_plain(record, said) for record, said in chosen])
        return
    for record, said in chosen:
        _say(record, said, as_json=as_json)
    if not follow:
        return
    try:
        for record in reading.follow(host, session, end + 1):
            wanted.learn(record)
            if wanted(record, said := told(record, known)):
                _say(record, said, as_json=as_json)
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def _plain(record: Record, said: Told) -> dict[str, Any]:
    return {
        "position": said.position, "at": said.at, "who": said.who, "operator": record.operator, "kind": record.kind,
        "what": said.what, "proof": said.proof, "on_behalf_of": record.body.get("on_behalf_of", ""),
        "generation": record.generation, "epoch": record.epoch, "incarnation": record.incarnation,
        "body": plain(record.body),
    }  # fmt: skip


def _say(record: Record, said: Told, *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(_plain(record, said), ensure_ascii=False))
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(said.at))
    click.echo(f"{said.position:>6}  {when}  {said.proof:<6}  {said.who}  {said.what}")


def _one(host: Connection, session: str, at: int, *, as_json: bool) -> None:
    data = next(reading.raw(host, session, at), None)
    record = decoded(data) if data is not None else None
    if record is None or record.position != at:
        raise fail(
            REFUSED,
            f"there is no record {at} of {show.clean(session)}, or it is not kept any more",
            "hold log shows what is",
        )
    said = told(record, names())
    if as_json:
        say_json(_plain(record, said) | {"body": plain(record.body), "key": record.key.hex()})
        return
    _say(record, said, as_json=False)
    click.echo(f"        epoch {record.epoch}, incarnation {record.incarnation}, host generation {record.generation}")
    for key, value in record.body.items():
        click.echo(f"        {show.clean(str(key))}: {_value(value)}")
    if record.signature:
        click.echo(f"        signed by the key {record.key.hex()}")


def _value(value: Any) -> str:
    from holdfast.core.telling import text

    return text(value, 2000)


def _accept(host: Connection, session: str) -> None:
    got = reading.accept(host, session)
    click.echo(f"the record that ends at {got} is what later ones are compared with from now on", err=True)


# ---- the record as evidence ------------------------------------------------------------------------------------------


def _export(host: Connection, session: str, path: Path, *, output: bool, as_json: bool) -> None:
    done = reading.export(host, session, path, output=output)
    _said(
        as_json,
        {"file": str(path), **done._asdict()},
        "{records} records ({first} to {last}), {output} bytes of output, are in {file}; `hold verify {file}` checks it",
    )


def _said(as_json: bool, what: dict[str, Any], line: str) -> None:
    if as_json:
        say_json(what)
    else:
        click.echo(line.format(**what), err=True)


@click.command(cls=HoldCommand, short_help="Check an exported record, offline.")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Check a file that `hold log NAME --export FILE` wrote, without any host: nothing in it was altered, left out or moved,
    each signature is of the operator it names, what was signed is what is recorded, the host's checkpoints hold.

    Exits with 1 if it does not hold, and names the first record that does not.
    """
    done = reading.check(file)
    report = done.report
    if as_json:
        say_json({"holds": report.finding is None, "session": done.heading.session, "name": done.heading.name,
                  "tenant": done.tenant, **plain(_fields(report))})  # fmt: skip
    else:
        for line in _report(done):
            click.echo(line)
    if report.finding is not None:
        raise click.exceptions.Exit(BROKEN)


def _fields(report: Report) -> dict[str, Any]:
    found = report._asdict()
    found["finding"] = report.finding._asdict() if report.finding is not None else None
    return found


def _report(done: reading.Checked) -> Iterator[str]:
    said, report = done.heading, done.report
    yield f"session  {show.clean(said.name)} ({show.clean(said.session)})"
    yield f"exported {_when(said.at)} from {show.clean(said.host_name)}"
    if said.tenant:
        whose = f"your tenant's (profile {done.tenant})" if done.tenant else "of a tenant that is not known here"
        yield f"host     {whose}"
    yield f"records  {report.first} to {report.last}: {report.records} in one chain, {report.checkpoints} checkpoints of the host"
    for start, end, why in report.lost:
        yield f"lost     records {start} to {end}, and it says so: {show.clean(why)}"
    yield f"signed   {report.signed} actions by their operators; of {report.opened} the record holds all that was signed"
    if report.output:
        yield f"output   {report.output} bytes are what the record binds"
    if report.finding is not None:
        where = f"record {report.finding.position}" if report.finding.position else "the export"
        yield f"BROKEN   {where}: {report.finding.fault}: {show.clean(report.finding.why)}"
    else:
        yield "HOLDS    nothing was altered, left out or moved"
    for each in report.unproven:
        yield f"not shown by this: {show.clean(each)}"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
