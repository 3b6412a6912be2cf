"""Those who come to a running session from elsewhere: the web client on a desk and on a phone, and an AI operator over MCP.

Each is a real client with a key of its own: a page in a real browser, or `hold mcp` as an AI host starts it. Each can be
asked to see a text, to answer with a line, to leave, and can be killed. The acceptance tests use them too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from holdfast.faces.demo import chromium
from holdfast.faces.demo.chromium import Broken
from holdfast.faces.demo.story import CLI, PATIENCE_S

OPENED: Final = ".opened:not([hidden])"  # the session that the page shows
PAINTED: Final = "performance.getEntriesByName('holdfast-first-paint').length > 0"


class Visitor(Protocol):
    """``name`` is its operator's."""

    name: str

    def see(self, text: str) -> None:
        """Return once it shows ``text``. Raises Broken."""

    def answer(self, text: str) -> None:
        """Type a line."""

    def leave(self) -> None:
        """Go, as a user would."""

    def kill(self) -> None:
        """End it by SIGKILL."""


class Desk:
    """The web client in a browser of its own. ``page`` is where the relay serves it, ``code`` lets it in once."""

    WIDTH, HEIGHT, PHONE = 1400, 1200, False

    def __init__(self, name: str, *, page: str, code: str, session: str) -> None:
        self.name, self._browser = name, chromium.Browser()
        try:
            self.page = self._browser.page()
            self.page.size(self.WIDTH, self.HEIGHT, phone=self.PHONE, scale=2 if self.PHONE else 1)
            self.page.go(f"{page.rstrip('/')}/#{code}")
            self.page.until("document.querySelectorAll('button.session').length > 0", PATIENCE_S)
            self.page.go(f"{page.rstrip('/')}/#/{session}")
            self.page.until(f"!!document.querySelector({json.dumps(OPENED)})", PATIENCE_S)
            self.page.until(PAINTED, PATIENCE_S)
        except BaseException:
            self._browser.close()
            raise

    def see(self, text: str) -> None:
        self.page.until(f"document.querySelector('{OPENED}').textContent.includes({json.dumps(text)})", PATIENCE_S)

    def answer(self, text: str) -> None:
        self.page.write(text + "\n")

    def leave(self) -> None:
        self.page.close()
        self._browser.close()

    def kill(self) -> None:
        self._browser.close()


class Phone(Desk):
    """The same page in a narrow window with a touch screen: typed on the glass, in the field that sends whole lines."""

    WIDTH, HEIGHT, PHONE = 390, 844, True

    def answer(self, text: str) -> None:
        self.page.tap("form.compose textarea")
        self.page.do("Input.insertText", text=text)  # as a keyboard on the glass gives it: whole words
        self.page.tap("form.compose button.send")


class Ai:
    """An AI operator: `hold mcp`, started as an AI host does in ``env``, speaking JSON lines."""

    def __init__(self, name: str, *, session: str, env: Mapping[str, str]) -> None:
        self.name, self._session = name, session
        self._numbers, self._rest = itertools.count(1), b""
        self._process = subprocess.Popen(
            [*CLI, "mcp", "--as", name],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        try:
            about = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "demo", "version": "1"},
            }
            self._ask("initialize", about)
            self._say({"method": "notifications/initialized"})
            self._call("list_sessions")
            self._call("observe", session=session)  # whoever has not looked may not act
        except BaseException:
            self.kill()
            raise

    def _say(self, message: dict[str, Any]) -> None:
        self._in.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._in.flush()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._say({"id": number, "method": method, "params": params})
        until = time.monotonic() + 2 * PATIENCE_S
        while True:
            while b"\n" not in self._rest:
                ready, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
                data = os.read(self._out.fileno(), 65536) if ready else b""
                if not data:
                    raise Broken(f"`hold mcp` did not answer {method}")
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
        if failed:
            raise Broken(f"{tool}: {text}")
        return text

    def see(self, text: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while text not in (seen := self._seen(text)):
            if time.monotonic() > until:
                raise Broken(f"{text!r} is not in {seen!r}")
            self._call("wait", session=self._session, until=["input", "quiet"], quiet_s=0.3, timeout_s=5)

    def _seen(self, text: str) -> str:
        """What the screen shows; of a session that ended, the output with ``text`` in it."""
        failed, seen = self._tried("observe", session=self._session, view="screen")
        if failed and "session-ended" in seen:
            return self._call("read_output", session=self._session, grep=text)
        if failed:
            raise Broken(seen)
        return seen

    def answer(self, text: str) -> None:
        self._call("send", session=self._session, text=text, keys=["Enter"])

    def leave(self) -> None:
        self._end()

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._in.close()
        self._process.wait(PATIENCE_S)
        self._out.close()


def left_out() -> dict[str, str]:
    """Return who cannot come on this machine, each with the reason."""
    found = {}
    if chromium.program() is None:
        found["desk and phone"] = "no Chromium or Chrome was found"
    if importlib.util.find_spec("mcp") is None:
        found["AI operator"] = "holdfast[mcp] is not installed"
    return found
