"""A real Chromium, driven over its own protocol (CDP) on a WebSocket: no other program, no library of npm.

One ``Browser`` is one process with a profile folder of its own; each ``Page`` collects what the console said. `hold demo` and the
tests of the web client use it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

FLAGS = (
    "--headless=new", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--metrics-recording-only", "--mute-audio",
    "--password-store=basic", "--remote-debugging-port=0", "--force-device-scale-factor=1", "--hide-scrollbars",
    "--disable-features=DialMediaRouteProvider,OptimizationHints,Translate",
)  # fmt: skip
START_S = 30.0
ANSWER_S = 30.0


NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
APPLICATIONS = tuple(
    f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium", "Microsoft Edge")
)


def program() -> str | None:
    """Return the path of a Chromium, or of what is made from it; None if there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or next((path for path in APPLICATIONS if os.access(path, os.X_OK)), None)


class Broken(RuntimeError):
    """The page or the browser said no."""


class Page:
    """One tab."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(connect(url, max_size=None, compression=None, ping_interval=None))
        self._numbers = itertools.count(1)
        self.said: list[str] = []  # errors and warnings of the console
        self.events: list[dict[str, Any]] = []
        self.browser = browser
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Return what the browser answers. Raises Broken."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        deadline = time.monotonic() + ANSWER_S
        while True:
            said = json.loads(self._socket.recv(timeout=max(0.0, deadline - time.monotonic())))
            if said.get("id") == number:
                if "error" in said:
                    raise Broken(f"{method}: {said['error']}")
                result: dict[str, Any] = said["result"]
                return result
            self._heard(said)

    def _heard(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        match said.get("method"):
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.said.append(" ".join(str(each.get("value", each.get("description"))) for each in params["args"]))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.said.append(details.get("exception", {}).get("description") or details["text"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.said.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case _:
                self.events.append(said)

    def run(self, code: str) -> Any:
        """Return the value of an expression, waited for if it is a promise."""
        found = self.do("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise Broken(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def until(self, code: str, within_s: float = 20.0) -> Any:
        """Return the value of an expression once it is true."""
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.suppress(Broken):  # a page that is being loaded has no document for a moment
                if found := self.run(code):
                    return found
            if time.monotonic() > deadline:
                raise Broken(f"not so within {within_s:g} s: {code}\nconsole: {self.said}\npage: {self.text()[:2000]}")
            time.sleep(0.02)

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''"))

    def go(self, url: str) -> None:
        self.do("Page.navigate", url=url)

    def reload(self) -> None:
        self.do("Page.reload")

    def click(self, selector: str) -> None:
        """Press the first element that fits, where it is."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector: str) -> None:
        """Touch the first element that fits."""
        x, y = self._middle(selector)
        self.do("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.do("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _middle(self, selector: str) -> tuple[float, float]:
        """Return where the first element that fits is, once there is one, after bringing it into sight."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.until(f"!!{found}")
        x, y = self.run(
            f"(() => {{ const it = {found}; it.scrollIntoView({{block: 'nearest', inline: 'nearest'}});"
            " const b = it.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def write(self, text: str) -> None:
        """Type as a keyboard does: printable keys one by one, a line feed as Enter."""
        for letter in text:
            if letter == "\n":
                self.press("Enter", code="Enter", key_code=13, text="\r")
            else:
                self.do("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter, unmodifiedText=letter)
                self.do("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def press(self, key: str, *, code: str = "", key_code: int = 0, text: str = "", modifiers: int = 0) -> None:
        """Press one key. ``modifiers``: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        common = {"key": key, "code": code or key, "windowsVirtualKeyCode": key_code, "modifiers": modifiers}
        self.do(
            "Input.dispatchKeyEvent",
            type="keyDown" if text else "rawKeyDown",
            **common,
            **({"text": text} if text else {}),
        )
        self.do("Input.dispatchKeyEvent", type="keyUp", **common)

    def size(self, width: int, height: int, *, phone: bool = False, scale: float = 1.0) -> None:
        """Have the page in a window of this size; ``phone``: with touch, as a telephone says it."""
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip
        self.do("Emulation.setTouchEmulationEnabled", enabled=phone, maxTouchPoints=5 if phone else 1)

    def scheme(self, value: str) -> None:
        """Prefer ``dark`` or ``light``."""
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def offline(self, on: bool) -> None:
        self.do(
            "Network.emulateNetworkConditions", offline=on, latency=0, downloadThroughput=-1, uploadThroughput=-1,
        )  # fmt: skip

    def picture(self, path: Path) -> None:
        """Write what the page looks like now."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Close the tab."""
        with contextlib.suppress(Exception):  # it may be gone already
            self.do("Page.close")
        self.forget()

    def forget(self) -> None:
        """Hang up, and leave the tab as it is."""
        self._stack.close()


def _end_with_parent() -> None:
    """Whoever is killed leaves no browser behind. Source: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


class Browser:
    """A process; ``with`` ends it and removes its profile."""

    def __init__(self, *more: str) -> None:
        found = program()
        if found is None:
            raise RuntimeError("no Chromium here")
        self._folder = Path(tempfile.mkdtemp(prefix="hf-web-"))
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        environment = os.environ | {"TMPDIR": str(self._folder), "HOME": str(self._folder)}
        command = [found, *FLAGS, *root, f"--user-data-dir={self._folder}", *more, "about:blank"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None, env=environment,
        )  # fmt: skip
        # A browser has a machine of its own in life: here others' work shares it, so it goes first where that may be.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text("-15")
        self._port = self._listening()

    def _listening(self) -> int:
        file, deadline = self._folder / "DevToolsActivePort", time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(file.read_text().splitlines()[0])
            time.sleep(0.02)  # a file has no event here
        self.close()
        raise Broken("Chromium did not start")

    def page(self) -> Page:
        """Open another tab."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            made = json.loads(answer.read())
        return Page(self, made["webSocketDebuggerUrl"])

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for _ in range(100):  # children of a killed browser close their files a moment later
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._folder.exists():
                break
            time.sleep(0.02)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
