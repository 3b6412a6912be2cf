"""Terminals that are not ours, to compare with: xterm.js in node, and tmux. Each is said to be missing where it is."""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def xterm_folder() -> tuple[Path | None, str]:
    """Return the folder with xterm.js, installing it once into the user's cache, or None and why there is none."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None, "node and npm are not installed"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "holdfast-tests" / "xterm-6.0.0"
    if not (cache / "node_modules" / "@xterm" / "headless").is_dir():
        cache.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache.parent))
        shutil.copy(HERE / "package.json", fresh)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        try:
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=90, check=False)
            if done.returncode != 0:
                return None, f"npm could not install xterm.js: {done.stderr.strip()[:200]}"
            with contextlib.suppress(OSError):  # another test process was faster
                fresh.rename(cache)
        except subprocess.TimeoutExpired:
            return None, "npm did not install xterm.js within 90 s"
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return cache, ""


def looks(drawn: str, columns: int, blanks: bool = True) -> str:
    """Return rows, as tmux draws them, letter by letter with its style; spaces without what cannot be seen on them.

    How tmux orders and repeats style sequences depends on how it got there, so they are followed here, across rows.
    Coloured blanks at the end of a row it draws only if something else was there before: they are left out. ``blanks``
    False: so are the colours of all other blanks.
    """
    style: dict[str, str] = {}
    rows: list[str] = []
    for line in drawn.split("\n"):
        found: list[str] = []
        for sgr, numbers, letter in re.findall(r"(\x1b\[([0-9;:]*)m)|\x1b[()][0AB]|([^\x1b\x0e\x0f])", line):
            if sgr:
                _follow(style, numbers.split(";"))
            elif letter:
                shown = sorted(
                    v for k, v in style.items() if letter != " " or (blanks and k in {"bg", "7", "4", "9", "53"})
                )
                found.append(f"{letter}{{{' '.join(shown)}}}" if shown else letter)
        kept = found[:columns]
        while kept and re.fullmatch(r" (\{(4[0-8;:]*|10)[0-9;:]*\})?", kept[-1]):
            kept.pop()
        rows.append("".join(kept))
    return "\n".join(rows)


def _follow(style: dict[str, str], numbers: list[str]) -> None:
    while numbers:
        number = numbers.pop(0) or "0"
        base = number.partition(":")[0]
        if base == "0":
            style.clear()
        elif base in {"38", "48", "58"}:
            more = [] if ":" in number else numbers[: 2 if numbers[0] == "5" else 4]
            del numbers[: len(more)]
            small = int(more[1]) if more[:1] == ["5"] and base != "58" and int(more[1]) < 16 else None
            short = small if small is None or small < 8 else small + 52  # the same colour: 38;5;9 is 91, 38;5;1 is 31
            chosen = ";".join([number, *more]) if short is None else str(int(base) - 8 + short)
            style[{"38": "fg", "48": "bg", "58": "ul"}[base]] = chosen
        elif base in {"39", "49", "59"}:
            style.pop({"39": "fg", "49": "bg", "59": "ul"}[base], None)
        elif 30 <= int(base) <= 37 or 90 <= int(base) <= 97:
            style["fg"] = number
        elif 40 <= int(base) <= 47 or 100 <= int(base) <= 107:
            style["bg"] = number
        else:
            style[base] = number


class Xterm:
    """A node process with any number of xterm.js terminals."""

    def __init__(self, folder: Path) -> None:
        self._node = subprocess.Popen(
            ["node", str(HERE / "xterm.js"), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._last = 0

    def _ask(self, **ask: Any) -> Any:
        assert self._node.stdin is not None and self._node.stdout is not None
        self._node.stdin.write(json.dumps(ask) + "\n")
        self._node.stdin.flush()
        return json.loads(self._node.stdout.readline())

    def new(self, rows: int, cols: int) -> int:
        self._last += 1
        self._ask(id=self._last, op="new", rows=rows, cols=cols)
        return self._last

    def write(self, terminal: int, data: bytes) -> None:
        self._ask(id=terminal, op="write", data=base64.b64encode(data).decode())

    def resize(self, terminal: int, rows: int, cols: int) -> None:
        self._ask(id=terminal, op="resize", rows=rows, cols=cols)

    def dump(self, terminal: int) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(id=terminal, op="dump")
        return found

    def drop(self, terminal: int) -> None:
        self._ask(id=terminal, op="drop")

    def close(self) -> None:
        assert self._node.stdin is not None and self._node.stdout is not None
        self._node.stdin.close()
        self._node.wait(10)
        self._node.stdout.close()


class Tmux:
    """A tmux server of its own; each terminal is a pane whose program copies a named pipe to its terminal, byte by
    byte."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pipes: dict[str, int] = {}
        self._base = ["tmux", "-u", "-S", str(folder / "t"), "-f", "/dev/null"]
        self._count = 0
        self._run("new-session", "-d", "-s", "keep", "-x", "80", "-y", "24", "cat")
        self._run("set-option", "-g", "status", "off")
        self._run("set-option", "-g", "default-terminal", "xterm-256color")

    def _run(self, *words: str) -> str:
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "TMUX": ""}
        done = subprocess.run([*self._base, *words], capture_output=True, env=environment, timeout=20, check=True)
        return done.stdout.decode("utf-8", "replace")

    def new(self, rows: int, cols: int) -> str:
        self._count += 1
        name = f"s{self._count}"
        pipe = self._folder / name
        os.mkfifo(pipe)
        copy = f"stty raw -echo; exec cat {pipe}"
        self._run("new-session", "-d", "-s", name, "-x", str(cols), "-y", str(rows), "sh", "-c", copy)
        self._pipes[name] = os.open(pipe, os.O_WRONLY)
        return name

    def write(self, terminal: str, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._pipes[terminal], left) :]

    def dump(self, terminal: str, within: int | None = None, blanks: bool = True) -> tuple[str, str]:
        """Return the rows as tmux would draw them, and the cursor; of both only what is ``within`` so many columns."""
        columns = within or 1000
        rows = looks(self._run("capture-pane", "-e", "-N", "-p", "-t", terminal), columns, blanks)
        cursor = self._run("display-message", "-p", "-t", terminal, "#{cursor_x},#{cursor_y},#{alternate_on}").strip()
        col, rest = cursor.split(",", 1)
        return rows, f"{min(int(col), columns)},{rest}"

    def settled(
        self, one: str, other: str, *, within: int | None = None, blanks: bool = True, seconds: float = 5.0
    ) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return what both show as soon as it is the same, at the latest after ``seconds``: tmux tells nobody when it
        has read everything, and asking it would change what it is asked about. ``within``: only so many columns."""
        deadline = time.monotonic() + seconds
        while True:
            left, right = self.dump(one, within, blanks), self.dump(other, within, blanks)
            if left == right or time.monotonic() > deadline:
                return left, right

    def drop(self, terminal: str) -> None:
        os.close(self._pipes.pop(terminal))
        with contextlib.suppress(subprocess.CalledProcessError):  # its program ended with the pipe
            self._run("kill-session", "-t", terminal)
        (self._folder / terminal).unlink()

    def close(self) -> None:
        for terminal in list(self._pipes):
            self.drop(terminal)
        self._run("kill-server")
