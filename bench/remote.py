"""Remote: the same session through a loopback relay with TLS, signed and sealed, against ssh alone and ssh with tmux.

*Echo*: a key to the outer terminal and back, idle. *Flood*: 64 MB until shown. *Cold attach*: from the start of the client
process until the last line is on the outer terminal; *warm* with a link kept by an earlier command.
"""

import datetime
import ipaddress
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from common import (
    HOLD,
    Bare,
    Contender,
    Hold,
    Producer,
    Terminal,
    Tmux,
    TooLateError,
    arguments,
    clock,
    contenders,
    flood_file,
    keep,
    machine,
    percentile,
    pump,
    ratios,
)
from echo import ECHO, ready, typed


class Ssh(Contender):
    """A program under plain ssh: what passes bytes through and keeps nothing. An sshd of our own on loopback."""

    name = "ssh"
    keeps = False
    many = False

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._argv: dict[str, Sequence[str]] = {}
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)], check=True)
        shutil.copy(home / "user.pub", home / "authorized")
        (home / "authorized").chmod(0o600)
        self._port = _free_port()
        Path("/run/sshd").mkdir(exist_ok=True)
        self._sshd = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", str(self._port), "-h", str(home / "host"),
             "-o", f"AuthorizedKeysFile={home / 'authorized'}", "-o", "StrictModes=no", "-o", "ListenAddress=127.0.0.1",
             "-o", "PidFile=none", "-o", "UsePAM=no"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._ssh = ["ssh", "-q", "-tt", "-p", str(self._port), "-i", str(home / "user"), "-o", "StrictHostKeyChecking=no",
                     "-o", "UserKnownHostsFile=/dev/null", "-o", "ControlMaster=no", "127.0.0.1"]  # fmt: skip

    def start(self, name: str, argv: Sequence[str]) -> None:
        self._argv[name] = argv

    def attach(self, name: str) -> list[str]:
        return [*self._ssh, "exec " + " ".join(map(_quoted, self._argv[name]))]

    def close(self) -> None:
        self._sshd.terminate()
        self._sshd.wait()


class SshTmux(Ssh):
    name = "ssh+tmux"
    keeps = True

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._tmux = Tmux(home)

    def start(self, name: str, argv: Sequence[str]) -> None:
        self._tmux.start(name, argv)

    def attach(self, name: str) -> list[str]:
        return [*self._ssh, " ".join(map(_quoted, self._tmux.attach(name)))]

    def end(self, name: str) -> None:
        self._tmux.end(name)

    def close(self) -> None:
        self._tmux.close()
        super().close()


class Remote(Hold):
    """`hold attach NAME@HOST` through a relay of our own, TLS from files."""

    name = "hold"

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        certificate, key = _certificate(home)
        self.env["HOLDFAST_RELAY_CA"] = str(certificate)
        read, write = os.pipe()
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "holdfast.relay.main", "--listen", "127.0.0.1:0", "--state", str(home / "relay"), "--open",
             "--cert", str(certificate), "--key", str(key), "--ready-fd", str(write)],
            pass_fds=[write], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(write)
        with open(read) as pipe:
            port = json.loads(pipe.readline())["port"]
        self.url = f"wss://127.0.0.1:{port}"
        self.hold("host", "link", self.url, "--name", "here")

    def attach(self, name: str) -> list[str]:
        return [HOLD, "attach", f"{name}@here"]

    def warm_up(self, name: str) -> None:
        """Attach until a process keeps the link warm, which the first attach starts."""
        terminal = Terminal(self.attach(name), self.env)
        deadline = clock() + 15
        while not (self.home / "r" / "links.sock").exists() and clock() < deadline:
            pump([terminal], None, 0.05)
        terminal.close()

    def close(self) -> None:
        super().close()
        self._relay.kill()
        self._relay.wait()


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, private = folder / "relay.pem", folder / "relay.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


def echo(ring: list[Contender], rounds: int, keys: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {contender.name: [] for contender in ring}
    dice = random.Random(7)
    for _ in range(rounds):
        for contender in ring:
            with ExitStack() as stack:
                contender.start("typed", ECHO)
                if contender.keeps:
                    stack.callback(contender.end, "typed")
                terminal = Terminal(contender.attach("typed"), contender.env)
                stack.callback(terminal.close)
                ready(terminal)
                figures[contender.name] += typed(terminal, keys, dice)
    return figures


def flood(ring: list[Contender], folder: Path, kind: str, size: int, rounds: int) -> dict[str, list[float]]:
    """Return seconds from the gun until the end mark is at the outer terminal."""
    figures: dict[str, list[float]] = {contender.name: [] for contender in ring}
    file = flood_file(folder, kind, size)
    for _ in range(rounds):
        for contender in ring:
            with ExitStack() as stack:
                producer = Producer(folder, file)
                contender.start("flood", producer.argv)
                if contender.keeps:
                    stack.callback(contender.end, "flood")
                terminal = Terminal(contender.attach("flood"), contender.env)
                stack.callback(terminal.close)
                pump([terminal], b"~READY~", 30)
                began = clock()
                producer.fire()
                [seen] = pump([terminal], b"~THE-END~", 300)
                figures[contender.name].append(seen - began)
    return figures


def attaches(ring: list[Contender], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds until the first screen, of a cold client and of one that finds a warm link."""
    figures: dict[str, list[float]] = {}
    for contender in ring:
        contender.start("shown", ["sh", "-c", "stty -echo; echo '~THE-END~'; exec cat"])
        if isinstance(contender, Remote):
            contender.warm_up("shown")
    for _ in range(rounds):
        for contender in ring:
            ways: list[tuple[str, dict[str, str]]] = [(contender.name, contender.env)]
            if isinstance(contender, Remote):
                ways = [("hold cold", {**contender.env, "HOLDFAST_WARM": "0"}), ("hold warm", contender.env)]
            for name, env in ways:
                terminal = Terminal(contender.attach("shown"), env)
                try:
                    [seen] = pump([terminal], b"~THE-END~", 60)
                    figures.setdefault(name, []).append(1000 * (seen - terminal.started))
                finally:
                    terminal.close()
    for contender in ring:
        with suppress(RuntimeError, TooLateError):
            contender.end("shown")
    return figures


def main() -> None:
    args = arguments(__doc__ or "", keys=200, rounds=3, mb=64)
    keys, rounds, size = (50, 1, 8 << 20) if args.quick else (args.keys, args.rounds, args.mb << 20)
    print(f"remote: {rounds} rounds, {machine()}")
    kept: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="hb-") as made, contenders(Bare, Ssh, SshTmux, Remote) as ring:
        kept["echo"] = took = echo(ring, rounds, keys)
        print("echo, idle")
        for name, values in took.items():
            marks = "  ".join(f"p{int(100 * s)} {1000 * percentile(values, s):.3f} ms" for s in (0.5, 0.9, 0.99))
            print(f"  {name:9} {marks}  n={len(values)}")
        kept["attach"] = attaches([c for c in ring if c.name != "bare"], 5 * rounds)
        ratios("attach to the first screen", kept["attach"], unit="ms", base="ssh+tmux")
        for kind in ("plain", "coloured", "cursor"):
            kept[kind] = flood(ring, Path(made), kind, size, rounds)
            ratios(f"flood, {kind}, {size >> 20} MB until shown", kept[kind], base="bare")
    keep(args.json, kept)


if __name__ == "__main__":
    main()
