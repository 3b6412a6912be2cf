"""`hold mcp` as a process: over standard input and output and over HTTP, in both eras of the protocol, with clients that die."""

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

import holdfast as hf
from holdfast import until
from holdfast.faces.mcp.serve import token_at
from holdfast.testing import HOLD, TemporaryHost
from tests.remote.places import story

START_S = 90.0  # importing the SDK takes seconds of a machine with much to do
LINE_S = 60.0


class Raw:
    """An AI host that speaks JSON lines itself, so that it can be old, wrong, or dead."""

    def __init__(self, host: TemporaryHost) -> None:
        self.process = subprocess.Popen(
            [*HOLD, "mcp"], env=host.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._number = 0
        self._rest = b""

    def say(self, method: str, params: dict[str, Any] | None = None, *, answered: bool = True) -> int:
        self._number += 1
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if answered:
            message["id"] = self._number
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        return self._number

    def hear(self, number: int, within_s: float = LINE_S) -> dict[str, Any]:
        """Return the answer to ``number``, passing over notifications."""
        assert self.process.stdout is not None
        until_ = time.monotonic() + within_s
        while True:
            while b"\n" not in self._rest:
                ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until_ - time.monotonic()))
                assert ready, f"no answer to {number} within {within_s} s"
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, "the server hung up"
                self._rest += data
            line, _, self._rest = self._rest.partition(b"\n")
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == number:
                return message

    def begin(self, version: str = "2025-06-18") -> dict[str, Any]:
        number = self.say(
            "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        )
        answer: dict[str, Any] = self.hear(number, START_S)["result"]
        self.say("notifications/initialized", answered=False)
        return answer

    def call(self, tool: str, **arguments: Any) -> str:
        return self.told(self.say("tools/call", {"name": tool, "arguments": arguments}))

    def told(self, number: int) -> str:
        result = self.hear(number)["result"]
        assert "structuredContent" not in result
        text: str = result["content"][0]["text"]
        return text

    def end(self, number: int = signal.SIGKILL) -> None:
        """The AI host dies: its ends of the pipes are closed."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *args: object) -> None:
        self.end()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with TemporaryHost() as one:
        one.env |= {"HOLDFAST_WARM": "0", "HOME": str(one.folder)}
        with one.chosen():
            one.start()
            yield one


@pytest.mark.timeout(240)
def test_an_older_ai_host_is_served(host: TemporaryHost) -> None:
    """Promise M7: protocol 2025-06-18, as common AI hosts speak it."""
    with Raw(host) as model:
        answer = model.begin("2025-06-18")
        assert answer["protocolVersion"] == "2025-06-18"
        assert "observe" in answer["instructions"]
        tools = model.hear(model.say("tools/list"))["result"]["tools"]
        assert len(tools) == 8 and all("outputSchema" not in each for each in tools)
        assert "state=" in model.call("open_session", name="old", command=["bash"])
        assert model.call("run", session="old", command="echo served").split("\n")[1:] == ["served"]
    assert model.process.returncode is not None


@pytest.mark.timeout(240)
def test_an_ai_host_that_hangs_up_lets_the_line_be_free(host: TemporaryHost) -> None:
    """Promise M9: no later operator has to wait for control to lapse."""
    with host.connect() as person:
        with Raw(host) as model:
            model.begin()
            model.call("open_session", name="left", command=["bash"])
            model.call("observe", session="left")
            assert "ctl=you" in model.call("control", session="left", action="acquire", reason="to look around")
            session = person.attach("left")
            assert (held := session.info().control) is not None and held.holder
            model.end()
            model.process.wait(70)
        assert (freed := session.info().control) is not None and not freed.holder
        session.kill(grace=0)


@pytest.mark.timeout(240)
def test_a_killed_ai_host_takes_nothing_along_and_leaves_nothing_behind(host: TemporaryHost) -> None:
    """Promise M6: what it started goes on; its server ends; the next one finds everything, and nothing was typed twice."""
    with host.connect() as person:
        with Raw(host) as model:
            model.begin()
            model.call("open_session", name="killed", command=["bash"])
            model.say(
                "tools/call",
                {"name": "run", "arguments": {"session": "killed", "command": "echo begun; sleep 3; echo over"}},
            )
            session = person.attach("killed")
            session.wait_for(until.match("^begun"), timeout=30, since=0)
            model.end()
            began = time.monotonic()
            model.process.wait(70)
            assert time.monotonic() - began < 60
        session.wait_for(until.match("^over"), timeout=30, since=0)
        with Raw(host) as again:
            again.begin()
            assert "over" in again.call("observe", session="killed")
        [command] = session.commands()
        assert command.status == 0
        session.kill(grace=0)


@pytest.mark.timeout(240)
def test_the_official_client_is_served_over_stdio(host: TemporaryHost) -> None:
    """Promise M7: the newest protocol."""

    async def tale() -> None:
        params = StdioServerParameters(command=HOLD[0], args=[*HOLD[1:], "mcp"], env=host.env)
        async with Client(stdio_client(params)) as client:
            opened = await client.call_tool("open_session", {"name": "stdio", "command": ["bash"]})
            assert not opened.is_error
            ran = await client.call_tool("run", {"session": "stdio", "command": "echo $((40 + 2))"})
            assert ran.content[0].text.split("\n")[1:] == ["42"]  # type: ignore[union-attr]

    story(tale(), within_s=200)


def started(host: TemporaryHost) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*HOLD, "mcp", "--http", "127.0.0.1:0"], env=host.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def served(host: TemporaryHost) -> AsyncIterator[tuple[str, str, subprocess.Popen[bytes]]]:
    """`hold mcp --http` on a free port: its address, the token, the process."""
    process = started(host)
    try:
        assert process.stderr is not None
        line = await asyncio.wait_for(asyncio.to_thread(process.stderr.readline), START_S)
        url, _, path = line.decode().strip().partition(" (token in ")
        token_path = host.folder / "s" / "operators" / "ai.token"
        assert path.rstrip(")") == str(token_path)
        assert token_path.stat().st_mode & 0o777 == 0o600
        yield url, token_path.read_text().strip(), process
    finally:
        process.kill()
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.timeout(240)
def test_over_http_only_who_has_the_token_is_served(host: TemporaryHost) -> None:
    """Promise M7."""

    async def tale() -> None:
        async with served(host) as (url, token, _):
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
            async with httpx2.AsyncClient() as stranger:
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"},
                                {"Authorization": f"Bearer {token}x"}):  # fmt: skip
                    answer = await stranger.post(url, json=body, headers=headers)
                    assert answer.status_code == 401
                    assert "tools" not in answer.text
                foreign = await stranger.post(
                    url, json=body, headers={"Authorization": f"Bearer {token}", "Host": "evil.example"}
                )
                assert foreign.status_code in (403, 421)  # a page elsewhere whose name was pointed at this machine
            known = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60)
            async with known, Client(streamable_http_client(url, http_client=known)) as client:
                opened = await client.call_tool("open_session", {"name": "http", "command": ["bash"]})
                assert not opened.is_error
                ran = await client.call_tool("run", {"session": "http", "command": "echo over http"})
                assert ran.content[0].text.split("\n")[1:] == ["over http"]  # type: ignore[union-attr]

    story(tale(), within_s=200)


def test_a_token_that_others_can_read_is_not_used(tmp_path: Any) -> None:
    path = tmp_path / "token"
    first = token_at(path)
    assert token_at(path) == first and len(first) > 30
    path.chmod(0o644)
    with pytest.raises(PermissionError):
        token_at(path)


def test_without_the_package_it_says_what_to_install(host: TemporaryHost) -> None:
    hidden = (
        "import importlib.util, sys; found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'mcp' else found(name, *rest)\n"
        "sys.argv = ['hold', 'mcp']\nfrom holdfast.faces.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden],
        env=host.env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode == 122
    assert "holdfast[mcp]" in done.stderr
    assert hf.__version__


def test_the_command_line_does_not_load_the_package() -> None:
    """It takes seconds to import, and only who serves needs it."""
    code = "import sys, holdfast.faces.cli.commands; print([m for m in ('mcp', 'pydantic', 'uvicorn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
