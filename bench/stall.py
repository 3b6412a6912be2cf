"""Stall: the longest time one write() of a producer takes, while host, holder and keeper are killed, and while the disk
is slow. The producer floods its terminal in 4 KiB writes and keeps the worst; the bare PTY shows what the machine adds.

The slow disk is a preloaded library that makes every write and fsync under the state folder take 100 ms, in all
processes of the contender. It needs a compiler, and is left out, and said so, where there is none.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common import Bare, Contender, Hold, Terminal, Tmux, arguments, clock, contenders, keep, kill, machine, pump

PRODUCER = r"""
import os, sys, time
report, seconds = sys.argv[1], float(sys.argv[2])
line = (b"x" * 78 + b"\n") * 52
worst, count, over, clock = 0.0, 0, 0, time.monotonic
until = clock() + seconds
while (began := clock()) < until:
    os.write(1, line)
    took = clock() - began
    count += 1
    worst = max(worst, took)
    over += took > 0.05
with open(report + "~", "w") as out: out.write(f"{worst} {over} {count}")
os.rename(report + "~", report)
"""

SLOW_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
static void crawl(int fd) {
  const char *under = getenv("SLOW_UNDER");
  char link[40], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (under && size > 0 && !strncmp(path, under, strlen(under))) usleep(100000);
}
#define SLOW(type, name, parameters, arguments) \
  type name parameters { static type (*real) parameters; \
    if (!real) real = (type (*) parameters) dlsym(RTLD_NEXT, #name); \
    crawl(fd); return real arguments; }
SLOW(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
SLOW(ssize_t, writev, (int fd, const struct iovec *data, int count), (fd, data, count))
SLOW(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
SLOW(int, fsync, (int fd), (fd))
SLOW(int, fdatasync, (int fd), (fd))
"""


def victim(hold: Hold, name: str, who: str) -> int | None:
    """Return the pid to kill, None when the flood is over. Asking also starts a host where none is left."""
    session = next((session for session in hold.sessions() if session["name"] == name), None)
    if session is None:
        return None
    if who == "holder":
        return int(session["holder_pid"])
    return int(hold.status()["pid" if who == "host" else "keeper_pid"])


def flooded(
    contender: Contender,
    folder: Path,
    seconds: float,
    disturb: Callable[[], bool] | None = None,
    *,
    watched: bool = False,
) -> tuple[float, int, int, int]:
    """Return worst write in ms, writes over 50 ms, writes, and disturbances, of one flood of ``seconds``."""
    report = Path(tempfile.mkdtemp(dir=folder)) / "report"
    program = report.with_name("producer.py")
    program.write_text(PRODUCER)
    contender.start("flood", [sys.executable, "-I", "-S", str(program), str(report), str(seconds)])
    done = 0
    with ExitStack() as stack:
        terminals = []
        if watched or not contender.keeps:
            terminals = [Terminal(contender.attach("flood"), contender.env)]
            stack.callback(terminals[0].close)
        deadline, due = clock() + seconds + 30, clock() + 0.5
        while not report.exists() and clock() < deadline:
            if disturb and clock() >= due:
                done += disturb()
                due = clock() + 0.3
            open_ones = [terminal for terminal in terminals if terminal.open]
            pump(open_ones, None, 0.05) if open_ones else time.sleep(0.05)
    worst, over, count = report.read_text().split()
    return 1000 * float(worst), int(over), int(count), done


@contextmanager
def slow_disk(folder: Path) -> Iterator[Path | None]:
    """Yield the library that makes regular files slow, or None without a compiler."""
    if not shutil.which("gcc"):
        yield None
        return
    source = folder / "slow.c"
    source.write_text(SLOW_DISK)
    library = source.with_suffix(".so")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    yield library


def told(name: str, figure: tuple[float, int, int, int]) -> None:
    worst, over, count, done = figure
    killed = f", {done} kills" if done else ""
    print(f"  {name:22} longest write {worst:7.1f} ms, over 50 ms: {over} of {count}{killed}")
    sys.stdout.flush()


def main() -> None:
    args = arguments(__doc__ or "", seconds=20)
    seconds = 3.0 if args.quick else float(args.seconds)
    print(f"stall: floods of {seconds:.0f} s, {machine()}")
    kept: dict[str, tuple[float, int, int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="hb-") as made:
        folder = Path(made)
        with contenders(Bare, Tmux, Hold) as ring:
            for contender in ring:
                kept[contender.name] = flooded(contender, folder, seconds)
                told(contender.name + (" detached" if contender.keeps else ""), kept[contender.name])
            for contender in ring:
                if not isinstance(contender, Hold):
                    continue
                for who in ("host", "holder", "keeper"):

                    def disturb(hold: Hold = contender, who: str = who) -> bool:
                        pid = victim(hold, "flood", who)
                        if pid is not None:
                            kill(pid, signal.SIGKILL)
                        return pid is not None

                    kept[who] = flooded(contender, folder, seconds, disturb)
                    told(f"hold, {who} killed", kept[who])
        with slow_disk(folder) as library, contenders(*([Hold] if library else [])) as ring:
            if library is None:
                print("  (no compiler: the slow disk is left out)")
            for contender in ring:
                contender.env["LD_PRELOAD"] = os.fspath(library or "")
                contender.env["SLOW_UNDER"] = contender.env["HOLDFAST_STATE_DIR"]
                for watched in (False, True):
                    what = "hold, slow disk, " + ("watched" if watched else "detached")
                    kept[what] = flooded(contender, folder, seconds, watched=watched)
                    told(what, kept[what])
    keep(args.json, kept)


if __name__ == "__main__":
    main()
