"""The machines of a test: ``World`` is a host with its relay, ``Away`` another machine of the same operator."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import holdfast as hf
from holdfast.client.credentials import Store
from holdfast.core.identity import host_id
from tests.faces.realhost import HOLD, RealHost
from tests.faces.screen import Screen
from tests.relay.peers import Relay
from tests.remote.programs import Counter

T = TypeVar("T")
_profiles = itertools.count(1)


class Away:
    """Another machine of the operator: keys, no host. ``relays``: the addresses it knows, which may be paths of a test."""

    def __init__(self, folder: Path, keys: Path, relays: tuple[str, ...], env: dict[str, str]) -> None:
        # Programs of this process remember a profile by its name, so every machine's has its own.
        self.folder, self.profile = folder, f"away-{os.getpid()}-{next(_profiles)}"
        self.env = env | {
            "HOLDFAST_RUNTIME_DIR": str(folder / "r"),
            "HOLDFAST_STATE_DIR": str(folder / "s"),
            "HOLDFAST_PROFILE": self.profile,
            "HOLDFAST_WARM": "0",  # every command alone, unless a test says otherwise
        }
        shutil.copytree(keys / "default", folder / "s" / "keys" / self.profile)
        for each in (folder, folder / "s", folder / "s" / "keys"):
            each.chmod(0o700)
        self.store = Store(folder / "s" / "keys", self.profile)
        self.meet(*relays)

    def meet(self, *relays: str) -> None:
        """From now on look for hosts at these relays."""
        self.store.save_profile(relays=relays)

    def hold(self, *arguments: str, timeout: float = 60, data: str | None = None) -> "subprocess.CompletedProcess[str]":
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        return subprocess.run(
            [*HOLD, *arguments], env=self.env, capture_output=True, text=True, timeout=timeout, **given
        )

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Run `hold` and return it while it runs."""
        return subprocess.Popen(
            [*HOLD, *arguments], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def attach(self, name: str, *more: str, rows: int = 24, cols: int = 80) -> Screen:
        return Screen([*HOLD, "attach", name, *more], self.env, rows=rows, cols=cols)

    @contextlib.asynccontextmanager
    async def connect(self, host: str = "@box", *, patience: float = 60) -> "AsyncIterator[hf.Client]":
        """A client of the SDK in this process, as if it ran on that machine."""
        with self.chosen():
            async with hf.connect(host, patience=patience) as client:
                yield client

    @contextlib.contextmanager
    def chosen(self) -> Iterator[None]:
        """Have this process look where that machine's programs look."""
        names = ("HOLDFAST_RUNTIME_DIR", "HOLDFAST_STATE_DIR", "HOLDFAST_PROFILE", "HOLDFAST_WARM")
        former = {name: os.environ.get(name) for name in names}
        os.environ.update({name: self.env[name] for name in names})
        try:
            yield
        finally:
            for name, value in former.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


class World(RealHost):
    """A machine named ``box`` whose host is linked to ``relay``; ``away`` is elsewhere."""

    def __init__(self, *, relay_args: tuple[str, ...] = ("--open",), link: bool = True) -> None:
        super().__init__()
        self._link, self._relays, self._aways = link, itertools.count(), itertools.count()
        self._stack = contextlib.ExitStack()
        self._relay_args = relay_args
        self.prefix: tuple[str, ...] = ()  # before every command on this machine
        self.env.pop("HOLDFAST_PROFILE", None)

    def __enter__(self) -> "World":
        try:
            self.relay = self.another_relay(*self._relay_args)
            if self._link:
                self.link(self.relay.url)
                self.away = self.machine(self.relay.url)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *args: object) -> None:
        try:
            self._stack.close()
        finally:
            super().__exit__(*args)

    def another_relay(self, *args: str) -> Relay:
        """Start one more relay; it ends with the world."""
        folder = self.folder / f"relay{next(self._relays)}"
        folder.mkdir()
        made = Relay(folder / "state", *(args or ("--open",)))
        self._stack.callback(lambda: made.process is not None and made.process.poll() is None and made.kill())
        return made.up()

    def hold(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self.prefix, *HOLD, *arguments], env=self.env, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def link(self, *urls: str, **more: str) -> dict[str, str]:
        """`hold host link URL...`; return how each link stands. ``more``: environment."""
        done = subprocess.run(
            [*self.prefix, *HOLD, "host", "link", "--json", "--name", "box", *urls], env=self.env | more, capture_output=True,
            text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        states: dict[str, str] = json.loads(done.stdout)["relays"]
        return states

    def machine(self, *relays: str) -> Away:
        """Another machine that knows these relays."""
        folder = self.folder / f"a{next(self._aways)}"
        folder.mkdir()
        return Away(folder, self.folder / "s" / "keys", relays, self.env)

    @property
    def host_pid(self) -> int:
        return int(self.status()["pid"])

    @property
    def store(self) -> Store:
        return Store(self.folder / "s" / "keys")

    @property
    def host_key(self) -> bytes:
        return self.store.profile.default_host

    @property
    def host_id(self) -> str:
        return host_id(self.host_key)

    def output(self, name: str) -> bytes:
        """Everything that the host of ``box`` has of a session, read on the machine itself."""
        done = subprocess.run(
            [*HOLD, "tail", name, "--from", "0"], env=self.env, capture_output=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        return done.stdout

    def run_in(self, name: str, *argv: str) -> None:
        """Start a session here."""
        done = self.hold("new", name, "-d", "--", *argv)
        assert (done.returncode, done.stdout) == (0, name + "\n"), done.stderr

    def reads(self, name: str) -> None:
        """Return once ``name`` reads a line that is not echoed: what is typed before its ``stty -echo`` would be."""
        assert self.hold("wait", name, "--kind", "password", "--for", "30s").returncode == 0

    def count(self, name: str, counter: Counter) -> None:
        """Start a session that runs ``counter``, and return once it counts: what is typed before is not the program's."""
        self.run_in(name, *counter.argv)
        counter.pace  # noqa: B018 - waits for its first word


def story(what: "Coroutine[Any, Any, T]", within_s: float = 60) -> T:
    """Run ``what`` to its end, which comes in time."""

    async def bounded() -> T:
        async with asyncio.timeout(within_s):
            return await what

    return asyncio.run(bounded())
