"""Two parsers, one table: whatever the fast one accepts, click understands the same way. And the fast way is fast."""

import subprocess
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.faces.cli.commands import cli
from holdfast.faces.cli.options import COMMANDS, parse

NAMES = [name for command in COMMANDS.values() for option in command.options for name in option.names]
WORDS = st.sampled_from(
    [*NAMES, *(f"{name}=x" for name in NAMES), "--", "-", "build", "x", "", "-x", "--help", "A=1", "24x80"]
)


def by_click(arguments: list[str]) -> dict[str, object]:
    command = cli.get_command(click.Context(cli), arguments[0])
    assert command is not None
    return command.make_context(arguments[0], arguments[1:]).params


@given(st.sampled_from(sorted(COMMANDS)), st.lists(WORDS, max_size=6))
def test_what_the_fast_parser_accepts_click_reads_the_same(command: str, words: list[str]) -> None:
    plain = parse([command, *words])
    if plain is not None:
        assert plain == (command, by_click([command, *words]))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("attach build", {"name": "build", "observe": False}),
        ("attach --observe build", {"name": "build", "observe": True}),
        ("attach build --prefix ctrl-a", {"prefix": "ctrl-a"}),
        ("attach build --prefix=ctrl-a", {"prefix": "ctrl-a"}),
        ("new", {"name": None, "command": (), "detach": False}),
        ("new -d build -- make -j8", {"name": "build", "command": ("make", "-j8"), "detach": True}),
        ("new --env A=1 --env B=2 -d", {"env": ("A=1", "B=2")}),
    ],
)
def test_the_plain_forms_take_the_fast_way(line: str, found: dict[str, object]) -> None:
    plain = parse(line.split())
    assert plain is not None and plain[1].items() >= found.items()


@pytest.mark.parametrize(
    "line",
    ["", "ls", "attach", "attach --help", "attach a b", "attach --obs a", "new a b -- c", "new -h", "new --size"],
)
def test_everything_else_is_left_to_click(line: str) -> None:
    assert parse(line.split()) is None


SLOW = {"asyncio", "click", "typing", "msgspec", "dataclasses", "pathlib", "socket", "subprocess", "re"}


@pytest.mark.parametrize("module", ["holdfast.client.terminal", "holdfast.faces.cli.fast", "holdfast.faces.cli.main"])
def test_the_fast_way_imports_nothing_slow(module: str) -> None:
    """DESIGN 12: cold attach <= 60 ms. Measured ms: asyncio 45, msgspec 34, click 30, typing 8, socket and re 5 each."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert not SLOW & set(done.stdout.split())


def test_without_arguments_the_first_three_commands_are_shown() -> None:
    done = subprocess.run([sys.executable, "-m", "holdfast.faces.cli.main"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert (
        all(f"hold {name} " in done.stdout for name in ("new", "ls", "attach")) and len(done.stdout.splitlines()) <= 10
    )


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", commands(cli), ids=" ".join)
def test_every_help_ends_with_the_exit_contract(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*path, "--help"], standalone_mode=False)
    text = capsys.readouterr().out
    assert all(f"{code} " in text.rpartition("exit:")[2] for code in (120, 121, 122, 123, 124, 125))
    assert max(map(len, text.splitlines())) <= 110
