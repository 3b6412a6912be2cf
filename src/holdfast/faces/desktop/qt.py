"""Let the page in a Qt window say something on the desktop, by what browsers have for that (the Notification API).

The engine grants it to the window's own page and hands over what it would show. pywebview has no way to that of its own: what
it offers pages instead evaluates strings, which the page's policy forbids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def notices(view: Any, page: str, tell: Callable[[str, str], object]) -> None:
    """Have what the page at the address ``page`` notifies of come to ``tell``: title and text. ``view`` is pywebview's window
    of Qt; may be called on any thread."""
    from qtpy import QtCore
    from qtpy.QtWebEngineCore import QWebEnginePermission

    def arrange() -> None:
        view.profile.setNotificationPresenter(lambda each: tell(each.title(), each.message()))
        wanted = QWebEnginePermission.PermissionType.Notifications
        view.profile.queryPermission(QtCore.QUrl(page), wanted).grant()

    QtCore.QTimer.singleShot(0, view, arrange)  # in the engine's own thread
