"""The window itself: the web client in the system's own browser engine, a menu, and whatever others want opened.

Nothing of the page is changed or read, except the address it shows: its content security policy holds here too. It may have
one of a few sentences said on the desktop (telling). The menu has no shortcuts, so that no key is taken from a terminal.
"""

from __future__ import annotations

import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import webview
from webview.menu import Menu, MenuAction, MenuSeparator

from holdfast.client import enrolment
from holdfast.core.errors import HoldError
from holdfast.faces.desktop import references
from holdfast.faces.desktop.entry import Entry, entry, settled, used
from holdfast.faces.desktop.qt import notices
from holdfast.faces.desktop.telling import Teller

TITLE: Final = "Holdfast"
LOOK_S: Final = 0.2  # between two looks whether the code was used: a file has no event here
FOLLOW_S: Final = 1.0
KEPT: Final = "window.json"
ENGINE: Final = "engine"


class Window:
    """One window. ``folder`` is where it remembers; ``opened`` is called once, when it is on the screen."""

    def __init__(self, folder: Path, reference: str, opened: Callable[[], None]) -> None:
        self._folder, self._opened = folder, opened
        self._engine = folder / ENGINE
        self._engine.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept = references.recalled(folder / KEPT)
        self._entry = entry(self._engine)
        self._reference = reference
        self._closed, self._in = threading.Event(), threading.Event()  # in: the engine has a key for the page
        self._window: Any = None
        self._teller = Teller()

    def run(self) -> None:
        """Show it, and return once it is closed. Only the main thread may. Raises HoldError: this machine has no window."""
        kept, self._wanted = self._kept, references.session_of(self._reference) or self._kept.session
        self._window = webview.create_window(
            TITLE, self._begin(), width=kept.width, height=kept.height, x=kept.x, y=kept.y, min_size=(360, 400),
            text_select=True,
        )  # fmt: skip
        self._window.events.shown += self._shown
        self._window.events.resized += self._resized
        self._window.events.moved += self._moved
        self._window.events.closing += self._closed.set
        webview.start(
            menu=[self._menu()], gui="qt" if sys.platform == "linux" else None, private_mode=False,
            storage_path=str(self._engine), user_agent=None,
        )  # fmt: skip
        self._closed.set()
        references.remember(self._folder / KEPT, self._kept._replace(session=self._wanted))

    def _begin(self) -> str:
        """The first address: with a code if the engine has no key yet, else the session that is wanted."""
        if self._entry.invited is None:
            self._in.set()
            return references.address(self._entry.page, self._wanted)
        threading.Thread(target=self._let_in, args=(self._entry,), name="entry", daemon=True).start()
        return self._entry.url

    def _let_in(self, by: Entry) -> None:
        """Go on to the session that is wanted once the code was used."""
        assert by.invited is not None
        store = enrolment.own_store()
        while not self._closed.is_set() and time.time() < by.invited.terms.not_after:
            if used(store, by.invited):
                settled(self._engine, by.page)
                if self._wanted:
                    self._go(self._wanted)
                self._in.set()
                return
            time.sleep(LOOK_S)

    # ---- what others want opened ----

    def open(self, reference: str) -> None:
        """Show what ``reference`` means, in front; what it does not mean is said in the window's title. On any thread."""
        try:
            session = references.session_of(references.of_link(reference))
        except HoldError as error:
            self._window.set_title(f"{TITLE}: {error.message}")
        else:
            self._window.set_title(TITLE)
            if session:
                self._go(session)
        self._window.restore()
        self._window.show()

    def _go(self, session: str) -> None:
        self._wanted = session
        self._window.load_url(references.address(self._entry.page, session))

    # ---- what it remembers ----

    def _shown(self) -> None:
        if sys.platform == "linux":
            notices(self._window.native, self._entry.page, self._tell)
        threading.Thread(target=self._follow, name="follow", daemon=True).start()
        self._opened()

    def _resized(self, width: int, height: int) -> None:
        self._kept = self._kept._replace(width=int(width), height=int(height))

    def _moved(self, x: int, y: int) -> None:
        self._kept = self._kept._replace(x=int(x), y=int(y))

    def _follow(self) -> None:
        """Keep track of where its user goes. The engine tells nobody of a step within a page, and answers nothing in the end."""
        while not self._closed.wait(FOLLOW_S):
            if self._in.is_set():
                self._wanted = references.session_in(self._window.get_current_url())

    def _tell(self, why: str, name: str) -> None:
        """The page wants something said on the desktop. The engine waits for nobody."""
        threading.Thread(target=self._teller.tell, args=(why, name), name="tell", daemon=True).start()

    # ---- the menu ----

    def _menu(self) -> Menu:
        return Menu(
            "Session",
            [
                MenuAction("All sessions", lambda: self._window.load_url(references.address(self._entry.page, ""))),
                MenuAction("Load the page again", lambda: self._window.load_url(self._entry.page)),
                MenuAction("Open in the browser", lambda: webbrowser.open(self._entry.page)),
                MenuSeparator(),
                MenuAction("Give this window a new key", self._join_again),
                MenuSeparator(),
                MenuAction("Close", lambda: self._window.destroy()),
            ],
        )

    def _join_again(self) -> None:
        """Where the key was revoked, has expired or is lost."""
        self._in.clear()
        self._entry = entry(self._engine, again=True)
        threading.Thread(target=self._let_in, args=(self._entry,), name="entry", daemon=True).start()
        self._window.load_url(self._entry.url)
