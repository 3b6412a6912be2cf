"""`hold demo`: a real build, its first client killed, its host killed, another kind of client, and a verdict (R79).

Everything runs in a private runtime and state folder, so no session of the user is touched, and all of it is ended and
removed at the end, also after Ctrl-C. Every step says what it saw: pids, start times, offsets. Not here: what is built
(workload).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json as json_module
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from holdfast.client import events as ev
from holdfast.client.connection import Connection
from holdfast.client.places import here
from holdfast.client.sdk import Client, Session, connect
from holdfast.core.errors import HoldError
from holdfast.faces.cli import workload

NAME: Final = "demo"
PATIENCE_S: Final = 60.0  # for each thing that is waited for; the build as a whole may take five times that
SHARE: Final = 6  # the first client is killed when one in so many units is built, the host when two are
CLI: Final = (sys.executable, "-m", "holdfast.faces.cli.main")


class NotHeldError(Exception):
    """Something did not hold, so the rest of the story cannot be told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One verdict. ``evidence``: what was seen, as plain values."""

    what: str
    held: bool
    evidence: dict[str, Any]


class Story:
    """The verdicts so far, said as they come unless ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        self.steps: list[Step] = []
        self._quiet, self._began = quiet, time.monotonic()

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)

    def check(self, what: str, held: bool, **evidence: Any) -> None:
        """Record and say one verdict. Raises NotHeldError if it does not hold."""
        self.steps.append(Step(what, held, evidence))
        seen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in evidence.items())
        self.say(f"{'held ' if held else 'BROKE'} {len(self.steps)}. {what}\n         {seen}")
        if not held:
            raise NotHeldError(what)

    def verdict(self, why: str = "") -> int:
        """Say the verdict on the whole and return the exit status: 0 only if every step held."""
        took = time.monotonic() - self._began
        held = not why and bool(self.steps) and all(step.held for step in self.steps)
        text = (
            f"verdict: held. The session outlived its client and its host; {len(self.steps)} checks in {took:.1f} s"
            if held
            else f"verdict: NOT held after {took:.1f} s: {why or 'see above'}"
        )
        if self._quiet:
            steps = [dataclasses.asdict(step) for step in self.steps]
            print(json_module.dumps({"held": held, "seconds": round(took, 1), "why": why, "steps": steps}))
        else:
            print(text)
        return 0 if held else 1


# ---- processes as the kernel sees them -------------------------------------------------------------------------------


def started(pid: int) -> int | None:
    """Return when ``pid`` was started, in clock ticks since boot; None if it is gone or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def until(true: Callable[[], bool], what: str, *, patience: float = PATIENCE_S) -> None:
    """Look every 10 ms until ``true``. Raises NotHeldError after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise NotHeldError(f"waited {patience:.0f} s in vain until {what}")
        time.sleep(0.01)


def processes_in(folder: Path) -> list[int]:
    """Return the processes that name ``folder`` in their environment or command line, this one excepted."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                about = Path("/proc") / entry
                if os.fsencode(folder) in (about / "environ").read_bytes() + (about / "cmdline").read_bytes():
                    found.append(int(entry))
    return [pid for pid in found if started(pid) is not None]


class FirstClient:
    """`hold new` on a terminal of its own, which this program reads as a terminal does."""

    def __init__(self, words: list[str]) -> None:
        self._master, slave = os.openpty()
        tty = os.ttyname(slave)
        self.seen = bytearray()
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [*CLI, *words],
                {**os.environ, "TERM": "xterm-256color"},
                setsid=True,  # with the open below: the terminal becomes its own
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, tty, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
            )
        finally:
            os.close(slave)

    def watch(self, enough: Callable[[bytes], bool]) -> None:
        """Read until what the terminal showed is ``enough``. Raises NotHeldError if it hangs up or takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not enough(bytes(self.seen)):
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            try:
                data = os.read(self._master, 65536) if ready else b""
            except OSError:  # EIO: nobody has the terminal open any more
                data = b""
            if not data:
                said = bytes(self.seen[-400:]).decode(errors="replace")
                raise NotHeldError(f"the first client showed no build: {said!r}")
            self.seen += data

    def kill(self) -> None:
        """Kill it as a crash would, and take its terminal away. Safe to repeat."""
        if self._master < 0:
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)
        self._master = -1


def hold_json(*words: str) -> Any:
    """Return what one `hold` command prints with --json. Raises NotHeldError."""
    done = subprocess.run(
        [*CLI, *words, "--json"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode != 0:
        raise NotHeldError(
            f"`hold {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return json_module.loads(done.stdout)


# ---- the story -------------------------------------------------------------------------------------------------------


def tell(story: Story, home: Path) -> None:
    """Tell the whole story. Raises NotHeldError, HoldError."""
    project = home / "project"
    project.mkdir()
    build = workload.write(project)
    story.say(f"building {build.what}, in {project}")
    lines = f"{build.word} unit".encode()

    first = FirstClient(["new", NAME, "--cwd", str(project), "--", *build.argv])
    try:
        first.watch(lambda seen: seen.count(lines) >= workload.UNITS // SHARE)
        session = hold_json("info", NAME)["session"]
        host = hold_json("host", "status")
        root, born = int(session["root_pid"]), int(session["root_started"])
        story.check(
            f"a client started `{' '.join(build.argv)}` in a session and shows it",
            born == started(root),
            client_pid=first.pid,
            root_pid=root,
            started_at_tick=born,
            output=f"0..{session['output_end']}",
        )
    finally:
        first.kill()
    story.check(
        "the client is killed (SIGKILL) and its terminal closed; the build is the same process",
        started(first.pid) is None and started(root) == born,
        client_pid=f"{first.pid} gone",
        root_pid=root,
        started_at_tick=started(root),
    )

    _kill_host(story, build, int(host["pid"]), root, born)
    asyncio.run(_come_back(story, build, session, int(host["generation"])))

    done = subprocess.run(build.program, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    story.check(
        "the program that was built runs and computes what it should",
        done.stdout == build.result,
        expected=build.result.strip(),
        got=done.stdout.strip() or done.stderr.strip()[-200:],
    )


def _kill_host(story: Story, build: workload.Build, host: int, root: int, born: int) -> None:
    """Kill the host in the middle of the build and see the build go on with no host at all."""

    def built() -> int:
        return sum(1 for file in build.folder.iterdir() if file.suffix in (".o", ".pyc"))

    until(lambda: built() >= 2 * workload.UNITS // SHARE, "a third of the files was built")
    try:
        os.kill(host, signal.SIGKILL)
    except ProcessLookupError:
        raise NotHeldError(f"the host, pid {host}, was gone before it was killed; its log: {_log_tail()}") from None
    until(lambda: started(host) is None, "the host was gone")
    before = built()
    until(lambda: built() >= before + 10 or started(root) is None, "ten more files were built")
    story.check(
        "the host daemon is killed (SIGKILL); the build goes on with no host at all",
        started(host) is None and started(root) == born and built() < workload.UNITS,
        host_pid=f"{host} gone",
        root_pid=root,
        started_at_tick=started(root),
        files=f"{before} -> {built()} of {workload.UNITS}",
    )


def _log_tail() -> str:
    try:
        return here().host_log.read_text(errors="replace")[-400:]
    except OSError as error:
        return str(error)


async def _come_back(story: Story, build: workload.Build, before: dict[str, Any], generation: int) -> None:
    """Come back with the SDK, which also starts a new host, and follow the output from its first byte to the end."""
    async with connect() as client:
        session = await client.attach(NAME)
        now, status = session.last, await client.status()
        story.check(
            "another kind of client, the Python SDK, comes back through a new host; it is the same session",
            (now.id, now.root_pid, now.root_started, now.incarnation)
            == (before["id"], before["root_pid"], before["root_started"], before["incarnation"])
            and now.state == "running"
            and status.generation > generation,
            session=now.id,
            root_pid=now.root_pid,
            started_at_tick=started(now.root_pid),
            host_pid=status.pid,
            host_generation=f"{generation} -> {status.generation}",
            output=f"{before['output_end']} -> {now.output_end}",
        )
        async with asyncio.timeout(5 * PATIENCE_S):
            output, pieces, ended = await _followed(client, session)
        story.check(
            "its output is contiguous, from the first byte through both kills to the last",
            pieces["gaps"] == 0 and pieces["jumps"] == 0 and len(output) > now.output_end,
            bytes=f"0..{len(output)}",
            gaps=pieces["gaps"],
            jumps=pieces["jumps"],
            pieces=pieces["count"],
        )
        times = [output.count(build.said(unit) + b"\r\n") for unit in range(workload.UNITS)]
        story.check(
            "every file was built, and none was built twice: nothing was restarted or replayed",
            times == [1] * workload.UNITS,
            files=len(times),
            missing=times.count(0),
            twice=sum(1 for count in times if count > 1),
        )
        story.check(
            "the build ended by itself, and its exit status was kept",
            ended is not None and ended.how == "exited" and ended.status == 0,
            how=ended.how if ended else "not told",
            status=ended.status if ended else None,
            root_pid=f"{now.root_pid} {'still there' if started(now.root_pid) == now.root_started else 'gone'}",
        )


async def _followed(client: Client, session: Session) -> tuple[bytes, dict[str, int], ev.Ended | None]:
    """Return all output from byte 0 to the end, how many pieces, gaps and jumps it came with, and how it ended."""
    output, pieces, ended = bytearray(), {"count": 0, "gaps": 0, "jumps": 0}, None
    whole = await client.attach(session.id, since=session.cursor._replace(offset=0))
    async for event in whole.events():
        match event:
            case ev.Output(offset=offset, data=data):
                pieces["count"] += 1
                pieces["jumps"] += offset != len(output)
                output += data
            case ev.Gap():
                pieces["gaps"] += 1
            case ev.Ended():
                ended = event
    return bytes(output), pieces, ended


# ---- around it -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _private(home: Path) -> Iterator[None]:
    """Point this process, and whatever it starts, to a host of its own; let SIGTERM end it as Ctrl-C does."""

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = dict(os.environ)
    handler = signal.signal(signal.SIGTERM, interrupted)
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        del os.environ[name]
    os.environ |= {"HOLDFAST_RUNTIME_DIR": str(home / "r"), "HOLDFAST_STATE_DIR": str(home / "s")}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGTERM, handler)


def _clean(home: Path) -> int:
    """End session and host, then whatever of this home is left, and remove it. Return how many had to be killed."""
    with contextlib.suppress(HoldError, OSError), Connection(start=False) as host:
        for session in host.sessions():
            host.kill(session.id, 0.2)
        stopping = os.pidfd_open(host.status().pid)
        host.stop_host()
        select.select([stopping], [], [], 3.0)  # it removes what it made: sockets, control groups, its keeper
        os.close(stopping)
    killed: set[int] = set()
    deadline = time.monotonic() + 5
    while (left := processes_in(home / "r")) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= set(left)
        time.sleep(0.01)
    shutil.rmtree(home, ignore_errors=True)
    return len(killed)


def run(*, json: bool = False, keep: bool = False) -> int:
    """Tell the story and return the exit status: 0 if all of it held, 1 if not, 130 after Ctrl-C.

    ``json``: one object with every step at the end instead of lines. ``keep``: leave host, session and project for a
    look around, and say how to reach and how to end them.
    """
    home = Path(tempfile.mkdtemp(prefix="hf-demo-"))
    story = Story(quiet=json)
    with _private(home):
        try:
            tell(story, home)
            why = ""
        except KeyboardInterrupt:
            keep = False
            story.say("interrupted; everything it started is ended")
            return 130
        except (NotHeldError, HoldError, OSError, subprocess.SubprocessError, TimeoutError) as error:
            why = str(error) or type(error).__name__
        finally:
            if not keep:
                _clean(home)
        if keep:
            story.say(
                f"kept; to look around: export HOLDFAST_RUNTIME_DIR={home / 'r'} HOLDFAST_STATE_DIR={home / 's'}\n"
                f"then `hold ls -a`, `hold view {NAME}`, and at the end `hold host down` and rm -r {home}"
            )
        return story.verdict(why)
