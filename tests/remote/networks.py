"""Networks of the kernel for tests that may make them: a namespace with one address of ours next to it, slow and lossy if
asked. Not here: paths through a proxy of the tests, which need no rights (paths)."""

import contextlib
import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

_numbers = itertools.count()


class Namespace(NamedTuple):
    """``near`` is our address next to it, on ``device``; ``prefix`` goes before a command that is to run in it."""

    name: str
    near: str
    device: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def narrow(self, *, kbit: int, loss_percent: int) -> None:
        """From now on the way there and back takes so many kilobits a second and loses so many of a hundred packets, each by
        chance. OSError: not here."""
        rate = ("root", "tbf", "rate", f"{kbit}kbit", "burst", "2kb", "latency", "300ms")
        _do("tc", "qdisc", "add", "dev", self.device, *rate)
        _do(*self.prefix, "tc", "qdisc", "add", "dev", f"{self.name}b", *rate)
        _do(*self.prefix, "nft", "add", "table", "inet", "lossy")
        for hook in ("input", "output"):
            chain = f"add chain inet lossy {hook} {{ type filter hook {hook} priority 0; }}"
            _do(*self.prefix, "nft", chain)
            _do(*self.prefix, "nft", f"add rule inet lossy {hook} numgen random mod 100 < {loss_percent} counter drop")

    @property
    def lost(self) -> int:
        """How many packets were lost so far."""
        rules = _do(*self.prefix, "nft", "list", "table", "inet", "lossy")
        return sum(int(found) for found in re.findall(r"counter packets (\d+)", rules))


def _do(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A network namespace that has one address of ours next to it. OSError: not here."""
    number = (os.getpid() * 4 + next(_numbers) % 4) % 64000
    name = f"hf{number}"
    near = f"10.{200 + number // 16000}.{number // 64 % 250}.{number % 64 * 4 + 1}"
    far = near.rpartition(".")[0] + f".{int(near.rpartition('.')[2]) + 1}"
    _do("ip", "netns", "add", name)
    try:
        _do("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _do("ip", "addr", "add", f"{near}/30", "dev", f"{name}a")
        _do("ip", "link", "set", f"{name}a", "up")
        _do("ip", "-n", name, "addr", "add", f"{far}/30", "dev", f"{name}b")
        _do("ip", "-n", name, "link", "set", f"{name}b", "up")
        _do("ip", "-n", name, "link", "set", "lo", "up")
        yield Namespace(name, near, f"{name}a")
    finally:
        with contextlib.suppress(OSError):
            _do("ip", "link", "del", f"{name}a")
        _do("ip", "netns", "del", name)
