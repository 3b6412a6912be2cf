"""A promise that is not tested is not made: every line of docs/promises.md names tests, and they exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r"^\| ([A-Z]\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
PROMISES = {
    name: (says, source, tests) for name, says, source, tests in LINE.findall((ROOT / "docs/promises.md").read_text())
}

CARDS = dict(
    re.findall(
        r"^## \d\. ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/failure-modes.md").read_text(), re.MULTILINE | re.DOTALL
    )
)
ROWS = ("trigger", "at risk", "guarantee", "hand-off", "refusal", "tests")


@cache
def defined_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_are_promises_and_each_has_a_name_of_its_own() -> None:
    names = [name for name, *_ in LINE.findall((ROOT / "docs/promises.md").read_text())]
    assert names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PROMISES)
def test_every_promise_names_tests_that_exist(name: str) -> None:
    _, _, cell = PROMISES[name]
    assert_named(cell)


def assert_named(text: str) -> None:
    """The tests that ``text`` names are some, and exist."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert named, "no test is named"
    missing = [f"{path}::{test}" for path, test in named if not (ROOT / path).exists() or test not in defined_in(path)]
    assert missing == []


def test_there_are_nine_failure_modes() -> None:
    """R78."""
    assert len(CARDS) == 9


@pytest.mark.parametrize("card", CARDS)
def test_every_failure_mode_has_all_its_rows_and_tests_that_exist(card: str) -> None:
    """R78."""
    rows = dict(re.findall(r"^\| ([a-z][a-z -]*) \| (.+) \|$", CARDS[card], re.MULTILINE))
    assert tuple(rows) == ROWS
    assert_named(rows["tests"])


@pytest.mark.parametrize("name", PROMISES)
def test_every_promise_says_where_it_comes_from(name: str) -> None:
    says, source, _ = PROMISES[name]
    assert says.endswith(".")
    assert re.fullmatch(r"house|(?:(?:I\d{1,2}|R\d{2}) ?)+", source), source


def test_every_promise_that_a_test_cites_is_on_the_page() -> None:
    """A test says `Promise W3` in its docstring; the page is where that means something."""
    cited = {
        (path.name, name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"\bPromise ([A-Z]\d+)\b", path.read_text())
        if path != Path(__file__).resolve()
    }
    assert {(file, name) for file, name in cited if name not in PROMISES} == set()
