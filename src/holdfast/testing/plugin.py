"""Fixtures for pytest: a host, a session in it, a relay. There as soon as Holdfast is installed (entry point ``pytest11``).

While ``holdfast_host`` is in use, a program that names no host means it, in this process and in those it starts: the code under
test needs no changes. Imports are made when a fixture is first asked for, since every run of pytest loads this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from holdfast.sync import Session
    from holdfast.testing import TemporaryHost, TemporaryRelay


@pytest.fixture
def holdfast_host() -> Iterator[TemporaryHost]:
    """A host of this test alone, running. ``connect()`` gives a blocking client, ``connect_async()`` the other one."""
    from holdfast.testing import TemporaryHost

    with TemporaryHost() as host:
        host.env |= {"HOLDFAST_WARM": "0"}  # nothing left warm
        with host.chosen():
            host.start()
            yield host


@pytest.fixture
def holdfast_session(holdfast_host: TemporaryHost) -> Iterator[Session]:
    """A session with a shell in that host, as a blocking handle that has its output from the first byte."""
    with holdfast_host.connect() as client:
        yield client.open("test", argv=(shell(), "-i"), cwd=str(holdfast_host.folder / "home"))


@pytest.fixture
def holdfast_relay() -> Iterator[TemporaryRelay]:
    """A relay of this test alone, listening on a free port: ``holdfast_host.link(holdfast_relay.url)`` makes them meet."""
    from holdfast.testing import TemporaryRelay

    with TemporaryRelay() as relay:
        yield relay


def shell() -> str:
    """Return the best shell of this machine for a session whose commands are to be told apart."""
    from shutil import which

    return which("bash") or which("zsh") or "/bin/sh"
