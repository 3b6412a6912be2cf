"""Clients of the story that are ours, each a process that can be killed. All reach the session through the relay, with
nothing but its name and a key of their own."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.faces.demo import visitors
from holdfast.faces.desktop import entry
from holdfast.view import cells
from holdfast.view.engine import Engine
from tests.desktop import screen
from tests.faces.realhost import HOLD
from tests.faces.screen import Screen

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


class Desktop:
    """The window of `hold desktop` on a screen of its own, on the owner's machine: real keys. Its operator is the window's."""

    name = entry.NAME

    def __init__(self, entry: "Entry") -> None:
        self._display = screen.Display().__enter__()
        self._window = screen.Window(entry.owner, self._display)
        try:
            self._window.open(entry.session)
            self._page = self._window.page()
            self._page.until(visitors.PAINTED, WITHIN_S)
            self._window.into_terminal(self._page)
        except BaseException:
            self.kill()
            raise

    def see(self, text: str) -> None:
        self._page.until(
            f"document.querySelector('{visitors.OPENED}').textContent.includes({json.dumps(text)})", WITHIN_S
        )

    def answer(self, text: str) -> None:
        self._display.do("type", text)
        self._display.do("key", "Return")

    def leave(self) -> None:
        self._window.close()
        self._gone()

    def kill(self) -> None:
        if self._window.pid:
            self._window.kill()
        self._gone()

    def _gone(self) -> None:
        self._page.forget()
        self._display.__exit__()


class Window(visitors.Desk):
    """The web client in a browser of its own, on a desk."""

    def __init__(self, entry: "Entry") -> None:
        super().__init__(entry.name, page=entry.page, code=entry.code(), session=entry.session)


class Phone(visitors.Phone):
    """The same as a phone with a touch screen."""

    def __init__(self, entry: "Entry") -> None:
        super().__init__(entry.name, page=entry.page, code=entry.code(), session=entry.session)


class Ai(visitors.Ai):
    """An AI operator over MCP: `hold mcp`, started by an AI host on the owner's machine, speaking JSON lines."""

    def __init__(self, entry: "Entry") -> None:
        super().__init__(entry.name, session=entry.session, env=entry.owner.env)
