"""The web client: its modules in node against the Python ones, and the page in a real Chromium against real hosts.

* ``core`` (per file): the client's modules in a node process. ``browser`` (per file): a Chromium.
* What is missing, node or Chromium, is said by the tests that need it.
* Times are measured and printed (``-s``); ``--pictures`` writes docs/images anew.
"""

from collections.abc import Callable, Iterator

import pytest

from holdfast.faces.demo import chromium
from tests.web.core import Core, missing

Report = Callable[[str], None]


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    if why := missing():
        pytest.skip(why)
    with Core() as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Browser]:
    if chromium.program() is None:
        pytest.skip("chromium is not installed")
    with chromium.Browser() as one:
        yield one


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Report:
    """Say a measured number, whether or not output is captured."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n[{request.node.name}] {text}")

    return say
