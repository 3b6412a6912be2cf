"""A host of one test with a person and an AI operator at it: the person as the user of the machine, the AI by its own key."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import holdfast as hf
from holdfast.client import ai
from holdfast.testing import TemporaryHost


@contextlib.contextmanager
def house(
    config: str = "ai_acts_per_s = 1e9\nai_acts_at_once = 1e9\n", *, env: dict[str, str] | None = None
) -> Iterator[TemporaryHost]:
    """A running host where two AI operators, ``ai`` and ``ai2``, have keys. ``env``: more environment for the daemon."""
    with TemporaryHost() as host:
        (host.folder / "host.toml").write_text(config)
        host.env |= {
            "HOLDFAST_CONFIG": str(host.folder / "host.toml"), "HOLDFAST_WARM": "0", "HOME": str(host.folder), "PS1": "$ ",
        }  # fmt: skip
        host.env |= env or {}
        with host.chosen():
            host.start()
            for name in ("ai", "ai2"):
                ai.ready(name, path=host.socket)
            yield host


@contextlib.asynccontextmanager
async def people(host: TemporaryHost, *operators: str) -> AsyncIterator[tuple[hf.Client, ...]]:
    """Clients: of the person at the machine, then of each AI operator named."""
    async with contextlib.AsyncExitStack() as stack:
        person = await stack.enter_async_context(hf.connect(host.socket, start=False))
        others = [
            await stack.enter_async_context(hf.connect(host.socket, start=False, operator=one)) for one in operators
        ]
        yield (person, *others)
