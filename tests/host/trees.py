"""Real process trees for tests: a Python program that says when it is ready, and everything of it killed afterwards."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from holdfast.host.cgroups import Group


class Tree:
    """``pid`` of the root; ``said`` the words of its ready line; ``also`` pids that left the tree."""

    def __init__(self, process: "subprocess.Popen[bytes]", said: list[str], master: int) -> None:
        self.pid, self.process, self.said, self.master = process.pid, process, said, master
        self.also = [int(word) for word in said if word.isdigit()]


@contextmanager
def tree(
    code: str, *, env: dict[str, str] | None = None, group: Group | None = None, argv: Sequence[str] = (),
    timeout: float = 20.0,
) -> Iterator[Tree]:  # fmt: skip
    """Run ``code`` as the leader of a session of its own, on a terminal of its own, joined to ``group``.

    ``code`` prints one line when it is ready; digits in it are pids to be killed at the end.
    """
    master, slave = pty.openpty()
    ready, tell = os.pipe()

    def join() -> None:
        os.setsid()
        import fcntl
        import termios

        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for path in group.procs_files if group is not None else ():
            with open(path, "w") as file:
                file.write("0")

    prefix = f"import os, sys\nTELL = {tell}\n"
    prefix += "def ready(*words): os.write(TELL, (' '.join(map(str, words)) + chr(10)).encode())\n"
    command = [sys.executable, "-I", "-S", "-c", prefix + code, *argv]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=env, pass_fds=[tell], preexec_fn=join
    )  # fmt: skip
    os.close(slave)
    os.close(tell)
    found = Tree(process, [], master)
    try:
        os.set_blocking(ready, False)
        line, deadline = b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            assert time.monotonic() < deadline and process.poll() is None, "the tree did not get ready"
            with contextlib.suppress(BlockingIOError):
                line += os.read(ready, 4096)
            time.sleep(0.002)
        found = Tree(process, line.decode().split(), master)
        yield found
    finally:
        os.close(ready)
        for pid in found.also:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if group is not None:
            group.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        os.close(master)
