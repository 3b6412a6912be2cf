"""`hold policy`: look at the policy file, check one, and try what it would do. Asks no host. Not here: approvals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from holdfast.client import places
from holdfast.client.endings import REFUSED
from holdfast.core.gate import Asked, decide, reading
from holdfast.core.identity import Kind
from holdfast.core.policy import CLASSES, BadPolicy, Effect, Policy, Subject, parse, texts
from holdfast.core.proposals import Deed
from holdfast.core.waiting import Wants
from holdfast.faces.cli.show import clean
from holdfast.faces.cli.skin import HoldGroup, fail, json_option, say_json

STATUS = {Effect.ALLOW: 0, Effect.ASK: 3, Effect.DENY: 4}
_FILE = click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="Another file than the host's own."
)


@click.group(cls=HoldGroup)
def policy() -> None:
    """Who may have what typed without asking: the file policy.toml beside the host's settings (docs/gate.md).

    Exit status of `hold policy test`: 0 allow, 3 ask, 4 deny.
    """


def _path(file: Path | None) -> Path:
    return file if file is not None else places.here().policy


def _read(file: Path | None) -> Policy | None:
    """Return the policy, None if there is no file. Says what is wrong with it and raises Exit."""
    path = _path(file)
    try:
        return parse(path.read_bytes().decode())
    except FileNotFoundError:
        if file is not None:
            raise fail(REFUSED, f"there is no file {path}") from None
        return None
    except BadPolicy as error:
        raise fail(
            REFUSED, f"{path}: {error.message}", "until it is mended everybody but people is asked about"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise fail(REFUSED, f"{path} cannot be read: {error}") from None


@policy.command(short_help="What is in force here.")
@_FILE
@json_option
def show(file: Path | None, as_json: bool) -> None:
    """Show the policy: its rules in the order they are asked, and how each class is treated where no rule speaks."""
    found = _read(file)
    said = _described(_path(file), found or Policy(), found is not None)
    if as_json:
        say_json(said)
        return
    click.echo(f"{said['file']}{'' if found is not None else ' (there is none: everybody may what their grants say)'}")
    for rule in said["rules"]:
        what = ", ".join(rule["commands"]) or "everything"
        about = f"{'/'.join(rule['verbs']) or 'any act'}{' as ' + '/'.join(rule['input']) if rule['input'] else ''}"
        click.echo(
            f"  {rule['place']:10} {', '.join(rule['who'])}: {about}: {what}{'  # ' + rule['why'] if rule['why'] else ''}"
        )
    for name, treated in said["classes"].items():
        click.echo(f"  {name:10} " + ", ".join(f"{key} {value}" for key, value in treated.items()))
    if said["exec"]:
        click.echo(f"  exec       {' '.join(said['exec'])}")


def _described(path: Path, found: Policy, there: bool) -> dict[str, Any]:
    return {
        "file": str(path), "exists": there,
        "rules": [
            {"place": rule.place, "effect": rule.effect.value, "who": list(rule.who),
             "verbs": [each.value for each in rule.verbs],
             "input": [each.value for each in rule.forms], "commands": [each.text for each in rule.patterns], "why": rule.why}
            for rule in found.rules
        ],
        "classes": {
            name: {key: value.value for key, value in found.treatment(Subject("", Kind(name)))._asdict().items()}
            for name in CLASSES
        },
        "conflict": {"window_s": found.conflict.window_s, "effect": found.conflict.effect.value,
                     "who": texts(found.conflict.who)},
        "exec": list(found.program.command) if found.program else [],
    }  # fmt: skip


@policy.command(short_help="Check a policy file.")
@click.argument("file", type=click.Path(path_type=Path), metavar="[FILE]", required=False)
def check(file: Path | None) -> None:
    """Check a policy file, by default the host's own; the first mistake is said with its line."""
    found = _read(file)
    if found is None:
        click.echo(f"there is no {_path(None)}; everybody may what their grants say", err=True)
        return
    click.echo(f"{_path(file)} is well: {len(found.rules)} rule{'' if len(found.rules) == 1 else 's'}", err=True)


@policy.command(short_help="What would become of a command.")
@click.argument("line", metavar="LINE")
@click.option("--as", "kind", type=click.Choice(CLASSES), default="ai", help="Of this class; default ai.")
@click.option("--operator", default="", metavar="ID", help="Of this operator.")
@click.option("--behalf", default="", metavar="ID", help="On behalf of this one.")
@click.option("--session", default="", metavar="NAME", help="In a session of this name.")
@click.option("--run", is_flag=True, help="As `hold run`, not typed.")
@click.option(
    "--at",
    "waiting",
    type=click.Choice([each.value for each in Wants]),
    default="prompt",
    help="What waits; default prompt.",
)
@click.option("--used", multiple=True, metavar="PROGRAM", help="A program that was used before. May be repeated.")
@_FILE
@json_option
def test(
    line: str, kind: str, operator: str, behalf: str, session: str, run: bool, waiting: str, used: tuple[str, ...],
    file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Say what the policy would do about LINE, Enter included, and why. Exit status: 0 allow, 3 ask, 4 deny."""
    found = _read(file) or Policy()
    data = line.encode("utf-8", "surrogateescape") + b"\r"
    asked = Asked(Subject(operator, Kind(kind), behalf), session, Deed("run" if run else "input", data), waiting)
    act, decision = reading(asked), decide(asked, found, used=frozenset(used))
    if as_json:
        say_json({
            "decision": decision.effect.value, "rule": decision.rule, "why": decision.why,
            "input": act.form.value if act.form else "", "doubt": act.doubt,
            "commands": [[word.text for word in each.words] for command in act.commands for each in command.everything()],
        })  # fmt: skip
    else:
        click.echo(f"{decision.effect.value}  {decision.rule}: {clean(decision.why)}")
    raise click.exceptions.Exit(STATUS[decision.effect])
