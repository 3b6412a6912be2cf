"""The MCP face under test: a real host, a person at it, and a real MCP client (the official one) that speaks to our server.

Most tests have client and server in one process, by the SDK's own in-memory transport; ``test_transports`` has both as processes.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from mcp import Client

import holdfast.sync
from holdfast.faces.mcp.desk import Desk
from holdfast.faces.mcp.serve import server
from holdfast.testing import TemporaryHost
from tests.host.operators import house

T = TypeVar("T")
ANSWER_S = 60.0


class Answer(str):
    """What a tool said. ``wrong``: it is an error."""

    wrong: bool


class Model:
    """An AI host in a thread: calls tools as a model would, and gets what it would read."""

    def __init__(self, operator: str = "ai", mode: str = "auto") -> None:
        self.desk = Desk(operator)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="an AI host", daemon=True)
        self._mode = mode
        self._leave = asyncio.Event()
        self.client: Client

    def __enter__(self) -> "Model":
        self._thread.start()
        there: concurrent.futures.Future[Client] = concurrent.futures.Future()
        self._holding = asyncio.run_coroutine_threadsafe(self._hold(there), self._loop)
        self.client = there.result(ANSWER_S)
        return self

    async def _hold(self, there: "concurrent.futures.Future[Client]") -> None:
        """Enter and leave the client in one task, as its task groups want it."""
        async with Client(server(self.desk), mode=self._mode) as client:
            there.set_result(client)
            await self._leave.wait()

    def __exit__(self, *args: object) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._holding.result(ANSWER_S)
        self.run(self.desk.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    def __call__(self, tool: str, **arguments: Any) -> Answer:
        return self.run(self.calling(tool, **arguments))

    def begin(self, tool: str, **arguments: Any) -> "Any":
        """Call without waiting; the future's ``result`` is the answer, and ``cancel`` gives the call up."""
        return asyncio.run_coroutine_threadsafe(self.calling(tool, **arguments), self._loop)

    async def calling(self, tool: str, **arguments: Any) -> Answer:
        found = await self.client.call_tool(tool, arguments)
        assert found.structured_content is None
        [content] = found.content
        answer = Answer(content.text)  # type: ignore[union-attr]
        answer.wrong = bool(found.is_error)
        return answer


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with house() as made:
        yield made


@pytest.fixture(scope="module")
def model(host: TemporaryHost) -> Iterator[Model]:
    with Model() as one:
        yield one


@pytest.fixture(scope="module")
def person(host: TemporaryHost) -> Iterator[holdfast.sync.Client]:
    with host.connect() as client:
        yield client


_names = iter(range(1, 1000))


@pytest.fixture
def work(person: holdfast.sync.Client) -> Iterator[holdfast.sync.Session]:
    """A session with a shell at its prompt, which the model has not looked at."""
    from holdfast import until

    session = person.open(f"work{next(_names)}", argv=["bash"], cwd="/")
    session.wait_for(until.input("prompt"), timeout=30, since=0)
    yield session
    with contextlib.suppress(holdfast.sync.HoldError):
        session.kill(grace=0)
