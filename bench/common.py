"""What the benches share: contenders in private homes, a terminal that reads as terminals do, floods, and ratios.

A bench asserts nothing: it prints medians and ratios to a bare PTY and to tmux (and dtach, where installed), all taken
in the same run, in turn, so that a neighbour's load falls on every contender alike.
"""

import argparse
import fcntl
import json
import os
import random
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from holdfast.testing.hosts import sweep as let_go  # of control groups

ROWS: Final = 24
COLS: Final = 80
TICK: Final = os.sysconf("SC_CLK_TCK")
HOLD: Final = str(Path(sys.executable).with_name("hold"))
clock = time.monotonic  # one clock for every process of the machine, so producers can report instants


# ---- terminals -------------------------------------------------------------------------------------------------------


class Terminal:
    """A program on a PTY of its own, and us reading it as a terminal does: at once, in big reads, never pausing."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], *, rows: int = ROWS, cols: int = COLS) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        tty = os.ttyname(slave)
        program = shutil.which(argv[0], path=env.get("PATH")) or argv[0]
        self.started = clock()
        self.pid = os.posix_spawn(
            program,
            list(argv),
            {**env, "TERM": "xterm-256color"},
            setsid=True,  # with the open below: the PTY becomes its controlling terminal
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, tty, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
            ],
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        self.bytes = 0
        self.tail = b""
        self.open = True

    def read(self) -> bytes:
        try:
            data = os.read(self.master, 1 << 17)
        except BlockingIOError:
            return b""
        except OSError:  # EIO: the last program on this PTY is gone
            data = b""
        if not data:
            self.open = False
        self.bytes += len(data)
        self.tail = (self.tail + data)[-4096:]
        return data

    def write(self, data: bytes) -> None:
        os.write(self.master, data)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.master)


class TooLateError(Exception):
    """What was waited for did not come; says what was seen instead."""


def pump(terminals: Sequence[Terminal], marker: bytes | None, timeout: float) -> list[float]:
    """Read ``terminals`` until each has shown ``marker`` once more; return the instants. None: read for ``timeout``."""
    seen: dict[int, float] = {}
    poll = select.poll()
    by_fd = {terminal.master: terminal for terminal in terminals}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    last = dict.fromkeys(by_fd, b"")
    deadline = clock() + timeout
    while len(seen) < len(by_fd):
        left = deadline - clock()
        if left <= 0:
            break
        for fd, _ in poll.poll(left * 1000):
            data = by_fd[fd].read()
            if not by_fd[fd].open:
                poll.unregister(fd)
                if marker is not None and fd not in seen:
                    raise TooLateError(f"the terminal closed; its last words: {by_fd[fd].tail[-500:]!r}")
                seen.setdefault(fd, clock())
                continue
            if marker is None or fd in seen:
                continue
            window = last[fd] + data
            if marker in window:
                seen[fd] = clock()
            last[fd] = window[-len(marker) :]
    if marker is not None and len(seen) < len(by_fd):
        raise TooLateError(f"{marker!r} not seen in {timeout} s; last: {[t.tail[-300:] for t in terminals]}")
    return [seen.get(fd, clock()) for fd in by_fd]


# ---- contenders ------------------------------------------------------------------------------------------------------


class Contender:
    """One way to run a program. ``keeps``: it runs on with nobody attached; ``many``: several may watch."""

    name = ""
    keeps = True
    many = True

    def __init__(self, home: Path) -> None:
        self.home = home
        drop = ("TMUX", "HOLDFAST", "STY")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a session with nobody attached."""
        raise NotImplementedError

    def attach(self, name: str) -> list[str]:
        """Return the command that shows a session on a terminal."""
        raise NotImplementedError

    def end(self, name: str) -> None:
        """End one session."""

    def servers(self) -> list[int]:
        """Return the processes that stand between program and client."""
        return []

    def close(self) -> None:
        """End everything this contender started."""

    def run(self, argv: Sequence[str]) -> str:
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


class Bare(Contender):
    """No holder at all: the program on the outer PTY, which has one reader, whoever else has four or none."""

    name = "bare"
    keeps = False

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._argv: dict[str, Sequence[str]] = {}

    def start(self, name: str, argv: Sequence[str]) -> None:
        self._argv[name] = argv

    def attach(self, name: str) -> list[str]:
        return list(self._argv[name])


class Tmux(Contender):
    name = "tmux"

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._tmux = ["tmux", "-S", str(home / "tmux"), "-f", "/dev/null"]

    def start(self, name: str, argv: Sequence[str]) -> None:
        self.run([*self._tmux, "new-session", "-d", "-s", name, "-x", str(COLS), "-y", str(ROWS), *argv])

    def attach(self, name: str) -> list[str]:
        return [*self._tmux, "attach", "-t", f"={name}"]

    def end(self, name: str) -> None:
        self.run([*self._tmux, "kill-session", "-t", f"={name}"])

    def servers(self) -> list[int]:
        return [int(self.run([*self._tmux, "display-message", "-p", "#{pid}"]))]

    def close(self) -> None:
        with suppress(RuntimeError):
            self.run([*self._tmux, "kill-server"])


class Dtach(Contender):
    """Keeps no screen: what a viewer that comes late has missed is gone. The mark for raw passing on."""

    name = "dtach"
    many = False  # of several viewers it drops what the slower ones cannot take at once, also the end mark

    def start(self, name: str, argv: Sequence[str]) -> None:
        self.run(["dtach", "-n", str(self.home / name), "-z", *argv])

    def attach(self, name: str) -> list[str]:
        return ["dtach", "-a", str(self.home / name), "-E", "-z", "-r", "winch"]

    def servers(self, name: str = "") -> list[int]:
        sockets = f"{self.home}/{name}"
        return [pid for pid, words in commands() if words[:2] == ["dtach", "-n"] and words[2].startswith(sockets)]

    def end(self, name: str) -> None:
        for pid in self.servers(name):
            kill(pid)
        (self.home / name).is_socket() and (self.home / name).unlink()

    def close(self) -> None:
        self.end("")


class Hold(Contender):
    name = "hold"

    def __init__(self, home: Path, *, state: Path | None = None) -> None:
        super().__init__(home)
        self.env |= {"HOLDFAST_RUNTIME_DIR": str(home / "r"), "HOLDFAST_STATE_DIR": str(state or home / "s")}

    def hold(self, *words: str) -> str:
        return self.run([HOLD, *words])

    def json(self, *words: str) -> Any:
        return json.loads(self.hold(*words, "--json"))

    def start(self, name: str, argv: Sequence[str]) -> None:
        self.hold("new", name, "-d", "--", *argv)

    def attach(self, name: str) -> list[str]:
        return [HOLD, "attach", name]

    def end(self, name: str) -> None:
        self.hold("kill", name)

    def status(self) -> dict[str, Any]:
        return dict(self.json("host", "status"))

    def sessions(self) -> list[dict[str, Any]]:
        found = self.json("ls")
        return list(found["sessions"] if isinstance(found, dict) else found)

    def session(self, name: str) -> dict[str, Any]:
        return next(session for session in self.sessions() if session["name"] == name)

    def servers(self) -> list[int]:
        status = self.status()
        holders = [session["holder_pid"] for session in self.sessions()]
        return [status["pid"], status["keeper_pid"], *status["view_pids"], *holders]

    def close(self) -> None:
        """End host, keeper, view workers and sessions, at once: whoever cut us short may not wait for long."""
        sweep(self.home)
        let_go(Path(self.env["HOLDFAST_STATE_DIR"]))


def commands() -> Iterator[tuple[int, list[str]]]:
    """Yield pid and command line of every process that lets us see it."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                yield int(entry), Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace").split("\0")


def living(home: str) -> list[int]:
    """Return the processes that name ``home`` in their command line or environment, ourselves excepted."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            said = Path(f"/proc/{entry}/cmdline").read_bytes() + Path(f"/proc/{entry}/environ").read_bytes()
            if home.encode() in said:
                found.append(int(entry))
    return found


def sweep(home: Path) -> None:
    """End whatever carries the private ``home`` in its command line or environment, and what takes its place meanwhile."""
    deadline = clock() + 10
    while clock() < deadline and (left := living(str(home))):
        for pid in left:
            kill(pid)
        time.sleep(0.02)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def cpu(pids: Iterable[int]) -> float:
    """Return the CPU seconds that ``pids`` have used so far; a process that is gone counts nothing."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


only: set[str] = set()  # the contenders asked for; empty: all
_was_cut = False


@contextmanager
def contenders(*kinds: type[Contender]) -> Iterator[list[Contender]]:
    """Yield one of each kind whose program is installed, each in a home of its own; end and remove all afterwards."""
    with ExitStack() as stack:
        made: list[Contender] = []
        stack.callback(_cuts_again)
        for kind in kinds:
            if only and kind.name not in only:
                continue
            program = {"tmux": "tmux", "dtach": "dtach", "hold": HOLD}.get(kind.name)
            if program and not shutil.which(program):
                print(f"({kind.name} is not installed: left out)")
                continue
            home = Path(tempfile.mkdtemp(prefix="hb-"))
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            stack.callback(sweep, home)  # also of one that is cut short while it is made
            contender = kind(home)
            stack.callback(contender.close)
            made.append(contender)
        stack.callback(_cuts, signal.SIG_IGN)  # nothing is to cut the cleaning up short
        yield made


# ---- floods ----------------------------------------------------------------------------------------------------------

WORDS: Final = ("compile", "link", "warning", "unused", "variable", "src", "main", "object", "target", "finished", "in")
BLOCK: Final = 1 << 20


def _plain(dice: random.Random) -> bytes:
    return (" ".join(dice.choices(WORDS, k=11))[:78] + "\n").encode()


def _coloured(dice: random.Random) -> bytes:
    words = (f"\x1b[{dice.choice((1, 31, 32, 33, 36, 90))}m{word}\x1b[0m" for word in dice.choices(WORDS, k=9))
    return (" ".join(words) + "\n").encode()


def _cursor(dice: random.Random) -> bytes:
    place = f"\x1b[{dice.randint(1, ROWS)};{dice.randint(1, COLS - 20)}H"
    return f"{place}\x1b[{dice.randint(30, 37)}m{dice.choice(WORDS)} {dice.randint(0, 99999)}\x1b[m".encode()


FLOODS: Final[dict[str, Callable[[random.Random], bytes]]] = {"plain": _plain, "coloured": _coloured, "cursor": _cursor}


def flood_file(folder: Path, kind: str, size: int) -> Path:
    """Write ``size`` bytes of one kind of flood and return the file. The same bytes on every machine."""
    path = folder / f"{kind}-{size}"
    if path.exists():
        return path
    dice, block = random.Random(kind), bytearray()
    while len(block) < min(BLOCK, size):
        block += FLOODS[kind](dice)
    block += b"\x1b[m\r\n"
    with path.open("wb") as file:
        for _ in range(max(1, size // len(block))):
            file.write(block)
    return path


# Says READY (again whenever its window is said to change: dtach keeps no screen), waits for the gun, floods, notes when
# the last byte was taken, shows END, and stays until told, so that nobody mistakes the end of the program for the mark.
PRODUCER: Final = r"""
import os, signal, sys, time
flood, gun, report = sys.argv[1:4]
say = lambda text: os.write(1, text)
signal.signal(signal.SIGWINCH, lambda *_: say(b"\r\n~READY~\r\n"))
say(b"\r\n~READY~\r\n")
open(gun).read()
signal.signal(signal.SIGWINCH, signal.SIG_IGN)
began = time.monotonic()
os.waitpid(os.posix_spawn("/bin/cat", ["cat", flood], os.environ), 0)
ended = time.monotonic()
say(b"\x1b[m\x1b[24;1H\r\n~THE-END~\r\n")
with open(report + "~", "w") as out: out.write(f"{began} {ended}")
os.rename(report + "~", report)
signal.pause()
"""


class Producer:
    """One flood in one session: ``argv`` to run there, then ``fire``, then ``times``."""

    def __init__(self, folder: Path, flood: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._gun, self._report = self._folder / "gun", self._folder / "report"
        os.mkfifo(self._gun)
        program = self._folder / "producer.py"
        program.write_text(PRODUCER)
        self.argv = [sys.executable, "-I", "-S", *map(str, (program, flood, self._gun, self._report))]

    def fire(self) -> None:
        """Let it start, as soon as it waits for that."""
        deadline = clock() + 30
        while True:
            try:
                return os.close(os.open(self._gun, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # ENXIO: it does not wait yet
                if clock() > deadline:
                    raise TooLateError("the producer does not wait for its start") from None
                time.sleep(0.001)

    def times(self, timeout: float) -> tuple[float, float]:
        """Wait for the flood to be over and return when it began and when its last byte had been taken."""
        deadline = clock() + timeout
        while not self._report.exists():
            if clock() > deadline:
                raise TooLateError(f"the producer is not through after {timeout} s")
            time.sleep(0.001)
        began, ended = map(float, self._report.read_text().split())
        return began, ended


# ---- figures ---------------------------------------------------------------------------------------------------------


def arguments(about: str, **numbers: int) -> argparse.Namespace:
    """Parse the command line all benches share, and ``numbers`` with their defaults."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does it work at all?")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", metavar="NAME,...", help="only these contenders, of bare, dtach, tmux, hold")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    _cuts(_cut)
    args = parser.parse_args()
    if args.only:
        only.update(args.only.split(","))
    return args


def _cut(number: int, frame: object) -> None:
    global _was_cut
    _was_cut = True
    _cuts(signal.SIG_IGN)  # one is enough, and none is to cut short the cleaning up, nor the interpreter's own end
    sys.exit(128 + number)


def _cuts_again() -> None:
    if not _was_cut:
        _cuts(_cut)


def _cuts(answer: Any) -> None:
    """Answer being cut short so: by cleaning up, also where a shell had us ignore it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, answer)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratios(title: str, figures: dict[str, list[float]], *, unit: str = "s", base: str = "bare") -> None:
    """Print the median of each contender and its ratio to ``base`` and to tmux."""
    medians = {name: statistics.median(values) for name, values in figures.items() if values}
    print(f"{title}")
    for name, median in medians.items():
        spread = f"{min(figures[name]):.3g}..{max(figures[name]):.3g}"
        against = [
            f"{median / medians[other]:5.2f}x {other}" for other in dict.fromkeys((base, "tmux")) if medians.get(other)
        ]
        print(f"  {name:6} {median:9.4g} {unit}  ({spread}; n={len(figures[name])})  {'  '.join(against)}")
    sys.stdout.flush()


def machine() -> str:
    """Return the machine in a line; load is part of it, since it colours every figure."""
    about = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in about if line.startswith("model name")), "?")
    return f"{os.cpu_count()} cores, {model}, Linux {os.uname().release}, load {os.getloadavg()[0]:.2f}"


def keep(path: str | None, figures: Any) -> None:
    """Write ``figures`` as JSON if a file was asked for."""
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1))
