"""Clients of the story that are ours, each a process that can be killed. All reach the session through the relay, with
nothing but its name and a key of their own."""

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdfast.view import cells
from holdfast.view.engine import Engine
from tests.faces.realhost import HOLD
from tests.faces.screen import Screen
from tests.web import chromium
from tests.web.desk import OPENED, PAINTED

if TYPE_CHECKING:
    from tests.acceptance.systems import Entry

WITHIN_S = 60.0
ROWS, COLS = 60, 100
PIECE = 256  # bytes shown at a time: what stands on the screen between two looks was seen


class Terminal:
    """A program in a real terminal: `hold attach`, or whatever else ``argv`` is. What it draws is read off a screen."""

    def __init__(
        self, name: str, argv: list[str], env: Mapping[str, str], *, leave: bytes = b"\x1cd", within_s: float = WITHIN_S
    ) -> None:
        self.name, self._leave, self._within_s = name, leave, within_s
        self.screen = Screen(argv, dict(env), rows=ROWS, cols=COLS)
        self._engine, self._lines, self._shown = Engine(ROWS, COLS), dict[str, None](), 0

    def _look(self) -> None:
        fresh = self.screen.out[self._shown :]
        self._shown += len(fresh)
        for at in range(0, len(fresh), PIECE):
            self._engine.feed(fresh[at : at + PIECE])
            self._lines |= dict.fromkeys(cells.text(row) for row in self._engine.rows())

    def see(self, text: str) -> None:
        until = time.monotonic() + self._within_s
        while not any(text in line for line in self._lines):
            left = until - time.monotonic()
            assert left > 0 and self.screen.read(left), f"{text!r} is not among {list(self._lines)[-70:]}"
            self._look()

    def answer(self, text: str) -> None:
        self.screen.type(text.encode() + b"\r")

    def leave(self) -> None:
        try:
            self.screen.type(self._leave)
            self.screen.wait(WITHIN_S)
        finally:
            self.kill()

    def kill(self) -> None:
        self.screen.__exit__()
        self._engine.close()


def cli(entry: "Entry") -> Terminal:
    """`hold attach`."""
    return Terminal(entry.name, [*HOLD, "attach", entry.place], entry.user().env)


_SDK = r"""
import asyncio, sys
import holdfast as hf

async def main(session, host):
    async with hf.connect("@" + host) as client:
        handle = await client.attach(session)
        handle = await client.attach(session, since=handle.cursor._replace(offset=0))
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

        async def type_lines():
            while line := await lines.readline():
                await handle.send(line)

        typing = asyncio.create_task(type_lines())
        async for event in handle.events():
            if isinstance(event, hf.Output):
                sys.stdout.buffer.write(event.data)
                sys.stdout.flush()
        await typing

try:
    asyncio.run(main(*sys.argv[1].split("@")))
except KeyboardInterrupt:
    pass
"""


class Script:
    """A Python program that uses the SDK."""

    def __init__(self, entry: "Entry") -> None:
        self.name, self._seen = entry.name, b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SDK, entry.place],
            env=entry.user().env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def see(self, text: str) -> None:
        until = time.monotonic() + WITHIN_S
        while text.encode() not in self._seen:
            ready, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._out.fileno(), 65536) if ready else b""
            assert data, f"{text!r} is not in {self._seen[-800:]!r}"
            self._seen += data

    def answer(self, text: str) -> None:
        self._in.write(text.encode() + b"\n")
        self._in.flush()

    def leave(self) -> None:
        self._end(signal.SIGINT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        self._process.send_signal(number)
        self._process.wait(WITHIN_S)
        self._in.close()
        self._out.close()


class Window:
    """The web client in a browser of its own: in a desktop's window, and as a phone with a touch screen."""

    WIDTH, HEIGHT, PHONE = 1400, 1200, False

    def __init__(self, entry: "Entry") -> None:
        self.name = entry.name
        self._browser = chromium.Browser()
        try:
            self._page = self._browser.page()
            self._page.size(self.WIDTH, self.HEIGHT, phone=self.PHONE, scale=2 if self.PHONE else 1)
            self._page.go(f"{entry.page}/#{entry.code()}")
            self._page.until("document.querySelectorAll('button.session').length > 0", WITHIN_S)
            self._page.go(f"{entry.page}/#/{entry.session}")
            self._page.until(f"!!document.querySelector({json.dumps(OPENED)})", WITHIN_S)
            self._opened()
        except BaseException:
            self._browser.close()
            raise

    def _opened(self) -> None:
        self._page.until(PAINTED, WITHIN_S)

    def see(self, text: str) -> None:
        self._page.until(f"document.querySelector('{OPENED}').textContent.includes({json.dumps(text)})", WITHIN_S)

    def answer(self, text: str) -> None:
        self._page.write(text + "\n")

    def leave(self) -> None:
        self._page.close()
        self._browser.close()

    def kill(self) -> None:
        self._browser.close()


class Phone(Window):
    WIDTH, HEIGHT, PHONE = 390, 844, True

    def answer(self, text: str) -> None:
        self._page.tap("form.compose textarea")
        self._page.do("Input.insertText", text=text)  # as a keyboard on the glass gives it: whole words
        self._page.tap("form.compose button.send")


class Ai:
    """An AI operator over MCP: `hold mcp`, started by an AI host on the owner's machine, speaking JSON lines."""

    def __init__(self, entry: "Entry") -> None:
        self.name, self._session = entry.name, entry.session
        self._numbers, self._rest = itertools.count(1), b""
        self._process = subprocess.Popen(
            [*HOLD, "mcp", "--as", entry.name], env=entry.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "story", "version": "1"}}
        self._ask("initialize", about)
        self._say({"method": "notifications/initialized"})
        assert "build" in self._call("list_sessions")
        self._call("observe", session=self._session)  # whoever has not looked may not act

    def _say(self, message: dict[str, Any]) -> None:
        self._in.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._in.flush()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._say({"id": number, "method": method, "params": params})
        until = time.monotonic() + 2 * WITHIN_S
        while True:
            while b"\n" not in self._rest:
                ready, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
                data = os.read(self._out.fileno(), 65536) if ready else b""
                assert data, f"no answer to {method}"
                self._rest += data
            line, _, self._rest = self._rest.partition(b"\n")
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == number:
                return answer

    def _tried(self, tool: str, **arguments: Any) -> tuple[bool, str]:
        result = self._ask("tools/call", {"name": tool, "arguments": arguments})["result"]
        return bool(result.get("isError")), str(result["content"][0]["text"])

    def _call(self, tool: str, **arguments: Any) -> str:
        failed, text = self._tried(tool, **arguments)
        assert not failed, text
        return text

    def see(self, text: str) -> None:
        until = time.monotonic() + WITHIN_S
        while text not in (seen := self._seen(text)):
            assert time.monotonic() < until, f"{text!r} is not in {seen!r}"
            self._call("wait", session=self._session, until=["input", "quiet"], quiet_s=0.3, timeout_s=5)

    def _seen(self, text: str) -> str:
        """What the screen shows; of a session that ended, the output with ``text`` in it."""
        failed, seen = self._tried("observe", session=self._session, view="screen")
        if failed and "session-ended" in seen:
            return self._call("read_output", session=self._session, grep=text)
        assert not failed, seen
        return seen

    def answer(self, text: str) -> None:
        self._call("send", session=self._session, text=text, keys=["Enter"])

    def leave(self) -> None:
        failed, said = self._tried("control", session=self._session, action="release")
        assert not failed or "session-ended" in said, said
        self._end()

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def _end(self) -> None:
        self._in.close()
        self._process.wait(WITHIN_S)
        self._out.close()
