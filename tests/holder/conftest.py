"""What the tests of keeper and holders share."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.holder.rig import Rig, ours, rig

Story = Callable[[Rig], Awaitable[None]]


@pytest.fixture
def play(short_dir: Path) -> Iterator[Callable[[Story], None]]:
    """Run one story against a fresh keeper; afterwards no process, descriptor or socket of it may be left."""
    before = _descriptors()

    async def on_stage(story: Story) -> None:
        async with rig(short_dir) as made:
            await story(made)

    yield lambda story: asyncio.run(on_stage(story))
    assert ours(short_dir) == {}
    assert _descriptors() <= before


def _descriptors() -> set[str]:
    """Return what this process has open, but for what the interpreter and pytest keep to themselves."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except OSError:
            continue
    return found


@pytest.fixture
def listener(short_dir: Path) -> Iterator[socket.socket]:
    """A bare listening socket in the private folder."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(short_dir / "l"))
        sock.listen()
        yield sock
