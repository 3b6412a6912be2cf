"""Output to compare screens on: real programs recorded in a PTY at test time, and streams made to be difficult."""

import contextlib
import fcntl
import os
import pty
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROWS, COLS = 24, 80
QUIET_S = 0.15
WAIT_S = 4.0
REPLIES = {b"\x1b[6n": b"\x1b[1;1R", b"\x1b[c": b"\x1b[?62;22c", b"\x1b[>c": b"\x1b[>1;0;0c", b"\x1b[5n": b"\x1b[0n"}


def record(
    argv: list[str], keys: list[bytes], *, rows: int = ROWS, cols: int = COLS, folder: Path | None = None
) -> bytes:
    """Run ``argv`` in a PTY, type each of ``keys`` once it has been quiet, end it, and return its output.

    A program that asks its terminal something is answered, so that it goes on. At most WAIT_S pass for each key.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    environment = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "HOME": str(folder or "/nonexistent"),
    }
    program = subprocess.Popen(
        argv, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    output = bytearray()
    try:
        for key in [*keys, b""]:
            _drain(master, output)
            if key:
                with contextlib.suppress(OSError):
                    os.write(master, key)
    finally:
        program.kill()
        program.wait()
        os.close(master)
    return bytes(output)


def _drain(master: int, output: bytearray) -> None:
    deadline = time.monotonic() + WAIT_S
    waiting = True  # for the first byte as long as it takes, then for quiet
    while time.monotonic() < deadline:
        if not select.select([master], [], [], QUIET_S * (8 if waiting else 1))[0]:
            return
        try:
            data = os.read(master, 65536)
        except OSError:
            return
        if not data:
            return
        waiting = False
        for query, reply in REPLIES.items():
            if query in data:
                os.write(master, reply)
        output += data


def programs() -> dict[str, bytes]:
    """Return recordings of what is installed here, by name."""
    with tempfile.TemporaryDirectory(prefix="hf-rec-") as name:
        folder = Path(name)
        source = folder / "sample.py"
        source.write_text(
            "".join(
                f"def f{i}(x):\n    # wide 中文 and é\n    return 'text {i}' * x  {'#' * (i % 90)}\n"
                for i in range(120)
            )
        )
        wanted: dict[str, tuple[list[str], list[bytes]]] = {
            "vim": (
                ["vim", "-u", "NONE", "-N", "--cmd", "syntax on | set number ruler hlsearch mouse=a", str(source)],
                [b"\x06", b"G", b"/text\r", "ohello 中文\x1b".encode(), b":split\r", b"\x17w\x04", b":vsplit\r", b"gg",
                 b":set wrap!\r"],
            ),
            "less": (["less", "-R", str(source)], [b" ", b" ", b"/wide\r", b"G", b"g", b"q"]),
            "top": (["top", "-d", "0.3"], [b"1", b"c", b"z", b"q"]),
            "htop": (["htop", "-d", "3"], [b"t", b"\x1b[B\x1b[B", b"\x1bOP", b"q", b"q"]),
            "bash": (
                ["bash", "--norc", "-i"],
                [b"PS1='\\[\\e[32m\\]\\w\\[\\e[0m\\]\\$ '\r", b"ls --color=always -la /usr\r",
                 b"echo " + b"long" * 60 + b"\x01\x06\x06X\r",
                 b"for i in 1 2 3; do printf 'row %s\\t|\\t\\e[7minverse\\e[0m\\n' $i; done\r",
                 b"\x12ls\x1b", b"clear\r", b"seq 40\r"],
            ),
            "python": (
                [sys.executable, "-q"],
                [b"print('x' * 200)\r", b"{i: i * i for i in range(60)}\r", b"1/0\r", b"\x1b[A\x1b[A\x01# \r"],
            ),
            "progress": ([sys.executable, "-c", _PROGRESS], []),
        }  # fmt: skip
        return {
            name: record(argv, keys, folder=folder)
            for name, (argv, keys) in wanted.items()
            if shutil.which(argv[0]) is not None
        }


_PROGRESS = """
import sys, time
for i in range(101):
    bar = "\\x1b[1;34m" + "█" * (i // 2) + "\\x1b[0m" + "░" * (50 - i // 2)
    sys.stdout.write("\\r\\x1b[32m%3d%%\\x1b[0m [%s] %s" % (i, bar, "⣾⣽⣻⢿⡿⣟⣯⣷"[i % 8]))
    if i % 20 == 0: sys.stdout.write("\\x1b[K\\nstep %d \\x1b[2mdone\\x1b[22m\\n" % i)
    sys.stdout.flush(); time.sleep(0.002)
"""


def synthetic(seed: int = 1) -> dict[str, bytes]:
    """Return made-up streams: wide letters at margins, all kinds of colour, screens and regions switched about."""
    pick = random.Random(seed)
    wide = "".join(pick.choice("漢字かなカナ한글中文ａｂ abc") for _ in range(3000)).encode()
    pens = b"0 1 3 4 4:3 7 9 2 53 31 97 44 103 39 49 58;5;3 21 38;5;%d 48;2;%d;7;9".split()
    ends = [b"word ", b"x", b"\r\n"]  # no tab, no erasing right behind the last column: see LAST_COLUMN in test_repaint

    def place() -> bytes:
        return b"\x1b[%d;%dH" % (pick.randrange(1, 25), pick.randrange(1, 81))

    def pen() -> bytes:
        chosen = pick.choice(pens)
        return b"\x1b[" + (chosen % pick.randrange(256) if b"%" in chosen else chosen) + b"m"

    colour = b"".join(pen() + pick.choice([*ends, place(), place() + b"\x1b[K"]) for _ in range(2500))
    edits = list("ABCDGdLMP@XST")
    singles = [b"\r\n", b"\n", b"\r", b"\b", b"\t", *(b"\x1b" + rest for rest in b"M D 7 8 [m [41m [1;32m".split())]
    switches = [b"\x1b[?" + rest for rest in b"1049h 1049l 25l 25h 1h 2004h 1002;1006h 7l 7h 6h 6l".split()]
    switches += [b"\x1b[4h", b"\x1b[4l", b"\x1b(0", b"\x1b(B", b"\x1b[3 q", b"\x1bH", b"\x1b]2;title\x07", b"\x1b[r"]
    moves = [
        place,
        lambda: b"\x1b[%d;%dr" % (pick.randrange(1, 12), pick.randrange(13, 25)),
        lambda: b"\x1b[%d%s" % (pick.randrange(1, 9), pick.choice(edits).encode()),
        lambda: b"\x1b[%d%s" % (pick.randrange(0, 3), pick.choice([b"J", b"K"])),
        lambda: pick.choice(singles),
        lambda: pick.choice(switches),
        lambda: bytes(pick.choice(b"abcdefghij lmnopq xyz") for _ in range(pick.randrange(1, 100))),
        lambda: "中文".encode() * pick.randrange(1, 30),
    ]
    mixed = b"".join(pick.choice(moves)() for _ in range(1200))
    return {"wide": wide, "colour": colour, "mixed": mixed}


def installed(program: str) -> bool:
    """Tell whether ``program`` can be run here."""
    return shutil.which(program) is not None
