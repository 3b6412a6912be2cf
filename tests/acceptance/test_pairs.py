"""Kill one client, go on with another (R19): every kind after every other, on one execution that never restarts."""

import itertools
from collections.abc import Iterator

import pytest

from tests.acceptance import faces, systems
from tests.acceptance.story import started

KINDS = {"cli": faces.cli, "sdk": faces.Script, "desktop": faces.Window, "phone": faces.Phone, "ai": faces.Ai}
PAIRS = list(itertools.permutations(KINDS, 2))
COVERING = list(zip(KINDS, [*list(KINDS)[1:], "cli"], strict=True))  # each is killed once, and goes on once
ECHO = "while read -r line; do echo taken: $line.; done"


@pytest.fixture(scope="module")
def system() -> Iterator[systems.Holdfast]:
    with systems.Holdfast([]) as one:
        yield one


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All ordered pairs under --soak, otherwise each kind once in each place."""
    metafunc.parametrize(("killed", "goes_on"), PAIRS if metafunc.config.getoption("--soak") else COVERING)


@pytest.mark.timeout(400)
def test_what_one_client_left_another_goes_on_with(system: systems.Holdfast, killed: str, goes_on: str) -> None:
    system.run(
        "bash", "-c", ECHO
    )  # one of its own: who typed last in another pair's may have control of that for a minute
    root = system.root_told
    first = KINDS[killed](system.entry(f"first-{killed}-{goes_on}"))  # type: ignore[arg-type]
    first.answer(f"from {killed} before {goes_on}")
    first.see(f"taken: from {killed} before {goes_on}.")
    first.kill()
    second = KINDS[goes_on](system.entry(f"then-{killed}-{goes_on}"))  # type: ignore[arg-type]
    second.see(f"taken: from {killed} before {goes_on}.")
    second.answer(f"from {goes_on} after {killed}")
    second.see(f"taken: from {goes_on} after {killed}.")
    second.leave()
    assert system.root_told == root == (root[0], started(root[0]))
    system.end()
