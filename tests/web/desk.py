"""A machine with sessions, and browsers that are let in to it."""

import json
import subprocess
from typing import Any

from holdfast.faces.demo.chromium import Browser, Page
from holdfast.faces.demo.visitors import OPENED as OPENED
from holdfast.faces.demo.visitors import PAINTED as PAINTED
from tests.faces.realhost import HOLD
from tests.remote.places import World


class Desk:
    """``world`` with its relay's page. Pages of one browser are one member: they share its key."""

    def __init__(self, world: World, browser: Browser) -> None:
        self.world, self.browser = world, browser
        self.base = world.relay.url.replace("ws://", "http://").removesuffix("/relay")
        self.pages: list[Page] = []

    def code(self, name: str, kind: str = "human", right: str = "--manage", *more: str) -> str:
        """A join code for an operator."""
        done = self.world.hold("operator", "add", name, "--kind", kind, right, "--json", *more)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["code"])

    def tab(self, *, width: int = 1280, height: int = 800, phone: bool = False) -> Page:
        """Another tab, with nothing in it yet."""
        page = self.browser.page()
        self.pages.append(page)
        page.size(width, height, phone=phone, scale=2 if phone else 1)
        page.scheme("dark")
        return page

    def join(self, page: Page, code: str) -> None:
        page.go(f"{self.base}/#{code}")
        page.until("document.querySelectorAll('button.session').length > 0", 60)

    def session(self, name: str) -> dict[str, Any]:
        done = self.world.hold("ls", "-a", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = next(each for each in json.loads(done.stdout) if each["name"] == name)
        return found

    def record(self, name: str) -> list[dict[str, Any]]:
        """What the journal has of a session."""
        done = self.world.hold("log", name, "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def open(self, page: Page, name: str) -> None:
        """Go to a session by its id, and return when it is painted."""
        page.go(f"{self.base}/#/{self.session(name)['id']}")
        page.until(f"!!document.querySelector({json.dumps(OPENED)})", 40)
        page.until(PAINTED, 40)

    def close(self) -> None:
        for page in self.pages:
            page.close()


def screen(page: Page) -> str:
    """What the terminal of the open session shows."""
    rows = f"[...document.querySelectorAll('{OPENED} .xterm-rows > div')].map((each) => each.textContent.trimEnd())"
    return str(page.run(f"{rows}.join('\\n').trimEnd()"))


def shows(page: Page, text: str, within_s: float = 20) -> None:
    """Wait until the terminal shows ``text``."""
    page.until(f"document.querySelector('{OPENED} .xterm-rows')?.textContent.includes({json.dumps(text)})", within_s)


def profiles(page: Page, what: str) -> list[Any]:
    """Return an expression of each profile, ``each``, that the page's browser keeps."""
    found: list[Any] = page.run(
        "new Promise((done) => { const open = indexedDB.open('holdfast'); open.onsuccess = () => {"
        " const all = open.result.transaction('profiles').objectStore('profiles').getAll();"
        f" all.onsuccess = async () => done(await Promise.all(all.result.map(async (each) => {what}))); }}; }})"
    )
    return found


class Pairing:
    """`hold pair`, which waits for its answer. ``said`` is what it printed first: ``page`` and ``code``."""

    def __init__(self, world: World, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*HOLD, "pair", *arguments, "--json"], env=world.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.said = self._object()

    def _object(self) -> dict[str, str]:
        """The next object of JSON that it prints, however that is laid out."""
        assert self._process.stdout is not None
        text = ""
        while True:
            text += (line := self._process.stdout.readline())
            assert line, f"hold pair ended: {text}"
            try:
                found: dict[str, str] = json.loads(text)
            except ValueError:
                continue
            return found

    def asking(self) -> dict[str, str]:
        """Who asks to join, and with which number, once somebody does."""
        return self._object()

    def answer(self, word: str) -> int:
        """Answer, and return its exit status."""
        self._process.communicate(word + "\n", timeout=60)
        return self._process.returncode

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
