"""`hold desktop`: sessions in a window of their own. Not here: the window (faces/desktop)."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from holdfast.client.endings import REFUSED
from holdfast.client.places import here
from holdfast.faces.cli.skin import HoldCommand, fail
from holdfast.faces.desktop import references, single
from holdfast.faces.desktop.main import FOLDER, socket_path

OPEN_S: Final = 60.0  # the first start of a browser engine takes its time
LOG: Final = "window.log"
ENTRY: Final = """\
[Desktop Entry]
Type=Application
Name=Holdfast
Comment=Sessions that outlive their clients
Exec="{python}" -m holdfast.faces.cli.main desktop %u
Terminal=false
Categories=Development;System;
MimeType=x-scheme-handler/holdfast;
"""


@click.command(cls=HoldCommand, short_help="Your sessions in a window.")
@click.argument("session", required=False, default="", metavar="[NAME]")
@click.option("--install", is_flag=True, help="Put it into the desktop's menu, and have it open holdfast: links.")
def desktop(session: str, install: bool) -> None:
    """Open a window with your sessions, or with the one called NAME (NAME@HOST, its id, or a link like holdfast:NAME@HOST).

    There is one window: said again, it comes to the front and shows what you ask for. It is let in by itself, with a key of
    its own that `hold operator ls` shows as desktop; a relay for this machine alone is started if there is none. Closing the
    window ends no session.
    """
    if install:
        _install()
        return
    reference = references.of_link(session)
    if single.hand_over(socket_path(), reference):
        return
    if importlib.util.find_spec("webview") is None:
        raise fail(REFUSED, "the window needs a package that is not installed", "pip install 'holdfast[desktop]'")
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise fail(REFUSED, "there is no screen here (neither DISPLAY nor WAYLAND_DISPLAY is set)",
                   "`hold pair` shows your sessions in a browser elsewhere, `hold ui` in this terminal")  # fmt: skip
    _start(reference)


def _start(reference: str) -> None:
    """Start the window, as nobody's child, and return once it is on the screen."""
    folder = here().state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-m",
        "holdfast.faces.desktop.main",
        "--ready-fd",
        str(writing),
        *([reference] if reference else []),
    ]
    with open(os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as log:
        try:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(writing)
    ready, _, _ = select.select([reading], [], [], OPEN_S)
    line = os.read(reading, 65536) if ready else b""
    os.close(reading)
    if not line:
        raise fail(
            REFUSED,
            f"the window did not open; the end of {folder / LOG} says why",
            "docs/desktop.md says what it needs",
        )
    said = json.loads(line)
    if said["error"]:
        raise fail(REFUSED, said["error"], said["do"])


def _install() -> None:
    """Write the entry of the desktop's menu; links open with it. Nothing else is changed."""
    if sys.platform != "linux":
        raise fail(REFUSED, "menu entries are written on Linux alone", "`hold desktop` opens the window")
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = base / "applications" / "holdfast.desktop"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ENTRY.format(python=sys.executable))
    click.echo(
        f"wrote {path}; if links do not open with it: xdg-mime default holdfast.desktop x-scheme-handler/holdfast",
        err=True,
    )
