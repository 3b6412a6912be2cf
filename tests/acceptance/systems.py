"""The systems that are put through the story: ours, and those that the harness must tell apart from it (R80)."""

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance import faces
from tests.acceptance.building import Work, beside
from tests.acceptance.story import Face, children, started
from tests.faces.realhost import HOLD
from tests.faces.test_people import User
from tests.relay.peers import Relay


@dataclass
class Entry:
    """What a client of ours is given: the name of the session, and the way to a key of its own. ``page``: where the relay
    serves the web client."""

    name: str
    place: str
    session: str
    page: str
    owner: User
    code: Callable[..., str]  # a join code, once
    user: Callable[[], User]  # another machine's user who has joined with one


Make = Callable[[Entry], Face]


def bash_of(folder: Path) -> tuple[int, int]:
    """Return pid and start time of the one process that runs the work of ``folder``, as the kernel has it; 0, 0: none."""
    mark = str(folder / "build.sh").encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] in (b"bash", b"/bin/bash", b"/usr/bin/bash") and mark in words[1:]:
            found.append(int(entry.name))
    found = [pid for pid in found if started(pid) and _parent(pid) not in found]
    assert len(found) < 2, f"the work runs more than once: {found}"
    return (found[0], started(found[0])) if found else (0, 0)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Holdfast:
    """Ours: a host linked to a relay; every client is a member of its own, with the rights it needs on this session."""

    name = "holdfast"

    def __init__(self, makes: Sequence[Make]) -> None:
        self._makes = makes

    def __enter__(self) -> "Holdfast":
        self._stack = contextlib.ExitStack()
        self._owner = self._stack.enter_context(User())
        folder = self._owner.folder / "relay"
        folder.mkdir()
        self._stack.enter_context(beside())
        self._relay = Relay(folder / "state", "--open").up()
        self._stack.callback(self._relay.kill)
        self._owner.said("host", "link", self._relay.url, "--name", "box")
        return self

    def __exit__(self, *args: object) -> None:
        self._stack.close()

    def _joined(self, code: str) -> User:
        member = self._stack.enter_context(User())
        member.joins(code, "box")
        return member

    def start(self, work: Work) -> Face:
        self._work = work
        return faces.Terminal("owner", [*HOLD, "new", "build", "--", *work.argv], self._owner.env)

    @property
    def _session(self) -> dict[str, object]:
        return self._owner.session("build")

    def root(self) -> tuple[int, int]:
        root, born = self.root_told
        assert bash_of(self._work.folder) in ((root, born), (0, 0)), "what it names is not what runs"
        return root, born

    def attach(self, turn: int) -> Face:
        return self._makes[turn - 1](self.entry(f"operator{turn}"))

    def entry(self, name: str) -> Entry:
        """Return what a client of the operator ``name`` is given."""
        code = functools.partial(self._owner.invited, name, "--kind", "human", "--operate")
        page = self._relay.url.replace("ws://", "http://").removesuffix("/relay")
        session = str(self._session["id"])
        return Entry(name, "build@box", session, page, self._owner, code, lambda: self._joined(code()))

    def run(self, *argv: str) -> None:
        """Run something else than the build under its name, with nobody attached."""
        self._owner.said("new", "build", "-d", "--", *argv)

    def end(self) -> None:
        """End what ``run`` began, and forget it."""
        self._owner.said("kill", "build", "--grace", "0s")
        self._owner.said("forget", "build")

    @property
    def root_told(self) -> tuple[int, int]:
        """Pid and start time of the root process, as the host tells them."""
        session = self._session
        return int(str(session["root_pid"])), int(str(session["root_started"]))

    def live(self) -> Mapping[str, object]:
        live = json.loads(self._owner.said("info", "build", "--json"))["live"]
        return {"pids": {each["pid"] for each in live["processes"]}, "cwd": live["cwd"]}

    def who(self) -> Sequence[tuple[str, str]]:
        evidence = self._owner.folder / "evidence"
        self._owner.said("log", "build", "--export", str(evidence))
        self._owner.said("verify", str(evidence))
        said: list[tuple[str, str]] = []
        for each in json.loads(self._owner.said("log", "build", "--kind", "input", "--json")):
            by, text = str(each["who"]).partition(" ")[0], str(each["body"]["data"])
            assert each["proof"] == "signed", f"{text!r} is not signed by {by}"
            if said and said[-1][0] == by and not said[-1][1].endswith(("\r", "\n")):
                said[-1] = (by, said[-1][1] + text)  # a terminal sends key by key
            else:
                said.append((by, text))
        return [(by, text.strip()) for by, text in said]

    def ended(self) -> int:
        return subprocess.run([*HOLD, "wait", "build"], env=self._owner.env, timeout=60).returncode


class Control:
    """What the negative controls share: a folder, and no identity, no record, no answer about what runs."""

    name = ""

    def __enter__(self) -> "Control":
        self.folder = Path(tempfile.mkdtemp(prefix="hf-control-"))
        return self

    def __exit__(self, *args: object) -> None:
        if self._work is not None and (root := self.root()[0]):
            for pid in children(root):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        while self.folder.exists():  # a server that ends removes its socket meanwhile
            shutil.rmtree(self.folder, ignore_errors=True)

    _work: Work | None = None

    def root(self) -> tuple[int, int]:
        assert self._work is not None
        return bash_of(self._work.folder)

    def attach(self, turn: int) -> Face:
        raise NotImplementedError("there is nothing to attach to")

    def live(self) -> Mapping[str, object]:
        raise NotImplementedError("nobody to ask")

    def who(self) -> Sequence[tuple[str, str]]:
        raise NotImplementedError("no record")

    def ended(self) -> int:
        raise NotImplementedError("nobody knows")


class InTheClient(Control):
    """The work is a child of the client, as in an editor's terminal."""

    name = "subprocess in the client"

    def start(self, work: Work) -> Face:
        self._work = work
        client = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"
        return faces.Terminal("owner", [sys.executable, "-c", client, *work.argv], os.environ)


class Ssh(Control):
    """The work runs under plain ssh."""

    name = "ssh"

    def start(self, work: Work) -> Face:
        self._work = work
        for key in ("host", "user"):
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
            subprocess.run(made, check=True)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized")
        (self.folder / "run").write_text("exec " + " ".join(map(_quoted, work.argv)))
        return faces.Terminal(
            "owner",
            ["ssh", "-q", "-tt", "-i", str(self.folder / "user"), "-o", "StrictHostKeyChecking=no", "-F", "none",
             "-o", "UserKnownHostsFile=/dev/null", "-o", f"ProxyCommand={self._server()}", "there",
             f"exec bash {self.folder / 'run'}"],
            os.environ,
        )  # fmt: skip

    def _server(self) -> str:
        """A server on the client's own pipe: no port, and as far as the work is concerned the same."""
        Path("/run/sshd").mkdir(exist_ok=True)
        options = {
            "HostKey": self.folder / "host", "AuthorizedKeysFile": self.folder / "authorized", "StrictModes": "no",
            "UsePAM": "no", "PidFile": "none",
        }  # fmt: skip
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        return " ".join([sshd, "-i", "-f", "/dev/null", *(f"-o {name}={value}" for name, value in options.items())])


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


class Tmux(Control):
    """The work runs in tmux, and everybody attaches to it: what survives, and knows nobody."""

    name = "tmux"

    def __enter__(self) -> "Tmux":
        super().__enter__()
        settings = self.folder / "tmux.conf"
        settings.write_text("set -g assume-paste-time 0\n")  # else it takes keys as quick as ours for pasted text
        self._tmux = ["tmux", "-S", str(self.folder / "socket"), "-f", str(settings)]
        self._env = {**os.environ, "TERM": "xterm-256color"}
        self._env.pop("TMUX", None)
        return self

    def __exit__(self, *args: object) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)
        super().__exit__()

    def start(self, work: Work) -> Face:
        self._work = work
        keep = f"{' '.join(map(_quoted, work.argv))}; echo $? > {self.folder / 'status'}"
        return faces.Terminal("owner", [*self._tmux, "new", "-s", "build", keep], self._env, leave=b"\x02d")

    def attach(self, turn: int) -> Face:
        return faces.Terminal(f"operator{turn}", [*self._tmux, "attach", "-t", "build"], self._env, leave=b"\x02d")

    def ended(self) -> int:
        until = time.monotonic() + 60
        while not (status := self.folder / "status").exists() or not status.read_text():
            assert time.monotonic() < until
            time.sleep(0.02)
        return int(status.read_text())


_KERNEL = r"""
import os, socket, subprocess, sys, threading
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
clients, work = [], None

def serve(client):
    global work
    clients.append(client)
    words = client.makefile("rb")
    for line in words:
        if line.startswith(b"run ") and work is None:
            work = subprocess.Popen(eval(line[4:]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            threading.Thread(target=publish, daemon=True).start()
        elif line.startswith(b"input "):
            work.stdin.write(line[6:])
            work.stdin.flush()

def publish():
    while data := os.read(work.stdout.fileno(), 65536):
        for client in list(clients):
            try:
                client.sendall(data)
            except OSError:
                clients.remove(client)

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
_CONSOLE = r"""
import os, select, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
if len(sys.argv) > 2:
    link.sendall(b"run " + repr(sys.argv[2:]).encode().replace(b"\n", b"\\n") + b"\n")
while True:
    for ready in select.select([0, link], [], [])[0]:
        if ready is link:
            os.write(1, link.recv(65536) or sys.exit())
        else:
            link.sendall(b"input " + os.read(0, 65536).replace(b"\r", b"\n"))
"""


class Kernel(Control):
    """A server that runs code for clients and publishes what it puts out to those who listen just then, as notebooks do:
    the work survives its client, what was said meanwhile does not."""

    name = "kernel"

    def __enter__(self) -> "Kernel":
        super().__enter__()
        self._path = self.folder / "socket"
        self._server = subprocess.Popen([sys.executable, "-c", _KERNEL, str(self._path)], start_new_session=True)
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self._path))
                return self

    def __exit__(self, *args: object) -> None:
        super().__exit__()
        self._server.kill()
        self._server.wait()

    def start(self, work: Work) -> Face:
        self._work = work
        return self._console("owner", *work.argv)

    def attach(self, turn: int) -> Face:
        return self._console(f"operator{turn}", within_s=15)  # what it does not have now never comes

    def _console(self, name: str, *argv: str, within_s: float = faces.WITHIN_S) -> Face:
        command = [sys.executable, "-c", _CONSOLE, str(self._path), *argv]
        return faces.Terminal(name, command, os.environ, within_s=within_s)
