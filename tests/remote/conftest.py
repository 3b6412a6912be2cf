"""Remote access with real processes: a host, relays, clients on other machines, and the network between them.

* ``world`` (per file) and ``own_world`` (per test): a private machine named ``box`` whose host is linked to a relay of its
  own, and ``away``, another machine of the same operator: its own folders, a copy of the keys, no host. Everything is in
  one temporary folder, ports are ephemeral, and nothing is left.
* ``places``: those machines. ``paths``: a TCP path that can be cut, stopped, slowed and delayed, and a network namespace
  with no way in. ``hostile``: a relay that sees, changes, keeps, repeats and makes up frames. ``programs``: what runs
  inside sessions: a counter that writes down every key that reached it, and how long it ever stood still.
* What a client saw is compared with what the host kept, by hash; what was typed, with what the program read.
* Times are measured and printed (``-s``); only generous bounds are asserted, since other work shares the machine.
* ``--soak`` runs the full counts of the issue (200 cuts in 10 minutes).
"""

from collections.abc import Callable, Iterator

import pytest

from tests.remote.places import World

Report = Callable[[str], None]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests of a file that leave relay, host and keys as they are."""
    with World() as one:
        yield one


@pytest.fixture
def own_world() -> Iterator[World]:
    """A world for one test that breaks things."""
    with World() as one:
        yield one


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Report:
    """Say a measured number, whether or not output is captured."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n[{request.node.name}] {text}")

    return say
