"""Tell the story of `hold demo`: a real build, its first client killed, its host killed, then whoever else can come (R79).

Everything runs in a private runtime and state folder, so no session of the user is touched, and all of it is ended and
removed at the end, also after Ctrl-C. Every step says what it saw: pids, start times, offsets. Not here: what is built
(workload), who comes (visitors).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from holdfast.client import events as ev
from holdfast.client.connection import Connection
from holdfast.client.places import here
from holdfast.client.sdk import Client, Session, connect
from holdfast.core.errors import HoldError
from holdfast.faces.demo import visitors, workload
from holdfast.faces.demo.chromium import Broken
from holdfast.faces.demo.story import CLI, PATIENCE_S, NotHeldError, Story, hold_json, processes_in, started, until
from holdfast.faces.demo.visitors import Visitor

NAME: Final = "demo"
SHARE: Final = 6  # the first client is killed when one in so many units is built, the host when two are


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


# ---- the story -------------------------------------------------------------------------------------------------------


def tell(story: Story, home: Path) -> None:
    """Tell the whole story. Raises NotHeldError, HoldError, Broken."""
    project = home / "project"
    project.mkdir()
    build, left_out = workload.write(project), visitors.left_out()
    comes = [
        *(() if "desk and phone" in left_out else ("desk", "phone")),
        *(() if "AI operator" in left_out else ("ai",)),
    ]
    story.say(f"building {build.what}, in {project}")
    for who, why in left_out.items():
        story.leave_out(who, why)

    argv = _with_questions(build, comes)
    session, generation = _begin(story, build, argv)
    root, born = int(session["root_pid"]), int(session["root_started"])
    _kill_host(story, build, int(hold_json("host", "status")["pid"]), root, born)
    asyncio.run(_come_back(story, session, generation))
    if comes:
        _visit(story, comes, session)
    asyncio.run(_check_output(story, build, session))
    if comes:
        _check_record(story, home, comes)

    done = subprocess.run(build.program, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    story.check(
        "the program that was built runs and computes what it should",
        done.stdout == build.result,
        expected=build.result.strip(),
        got=done.stdout.strip() or done.stderr.strip()[-200:],
    )


def _with_questions(build: workload.Build, comes: Sequence[str]) -> tuple[str, ...]:
    """Return a command that builds, and then asks each of those who come before it goes on."""
    if not comes:
        return build.argv
    lines = [shlex.join(build.argv)]
    for turn in range(len(comes)):
        lines += [f"printf {shlex.quote(_question(turn) + ' ')}", "read answer", f'echo "{_taken(turn, "$answer")}"']
    return ("sh", "-ec", "; ".join(lines))


def _question(turn: int) -> str:
    return f"step {turn + 1} is ready, who goes on?"


def _taken(turn: int, name: str) -> str:
    return f"step {turn + 1} taken by {name}."


def _begin(story: Story, build: workload.Build, argv: tuple[str, ...]) -> tuple[dict[str, Any], int]:
    """Start the build from a terminal and kill that. Return the session, and the host's generation."""
    lines = f"{build.word} unit".encode()
    first = FirstClient(["new", NAME, "--cwd", str(build.folder), "--", *argv])
    try:
        first.watch(lambda seen: seen.count(lines) >= workload.UNITS // SHARE)
        session: dict[str, Any] = hold_json("info", NAME)["session"]
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
    return session, int(hold_json("host", "status")["generation"])


def _visit(story: Story, comes: Sequence[str], session: dict[str, Any]) -> None:
    """Make the host reachable through a relay; each of those who come shows what was there before it, and goes on."""
    page = str(hold_json("up", "--listen", "127.0.0.1:0", "--no-code")["page"])
    shown = {
        "desk": "a page on a desk, through a relay,",
        "phone": "a phone, through the relay,",
        "ai": "an AI operator, over MCP,",
    }
    before = ""
    for turn, name in enumerate(comes):
        one = _visitor(name, page, session)
        try:
            one.see(before or _question(turn))
            one.see(_question(turn))
            root = int(session["root_pid"])
            same = started(root) == int(session["root_started"])
            one.answer(name)
            before = _taken(turn, name)
            one.see(before)
        except BaseException:
            one.kill()
            raise
        one.leave()
        story.check(
            f"{shown[name]} shows the build where it is and goes on with it",
            same,
            operator=name,
            root_pid=root,
            started_at_tick=session["root_started"],
            answered=before,
        )


def _visitor(name: str, page: str, session: dict[str, Any]) -> Visitor:
    if name == "ai":
        return visitors.Ai(name, session=str(session["id"]), env=os.environ)
    code = str(hold_json("operator", "add", name, "--kind", "human", "--operate")["code"])
    kind = visitors.Phone if name == "phone" else visitors.Desk
    return kind(name, page=page, code=code, session=str(session["id"]))


def _check_record(story: Story, home: Path, comes: Sequence[str]) -> None:
    """Who did what is on record, signed by each, and the record verifies away from the host."""
    said: list[tuple[str, str]] = []
    for each in hold_json("log", NAME, "--kind", "input"):
        by, text = str(each["who"]).partition(" ")[0], str(each["body"]["data"])
        if said and said[-1][0] == by and not said[-1][1].endswith(("\r", "\n")):
            said[-1] = (by, said[-1][1] + text)  # a terminal sends key by key
        else:
            said.append((by, text))
    lines = [(by, text.strip()) for by, text in said]
    evidence = home / "evidence"
    subprocess.run([*CLI, "log", NAME, "--export", str(evidence)], capture_output=True, timeout=PATIENCE_S, check=True)
    verified = subprocess.run(
        [*CLI, "verify", str(evidence)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    found = verified.stdout + verified.stderr
    chain = next((line for line in found.splitlines() if line.startswith("records")), found.strip()[-200:])
    story.check(
        "the record names who did each step, and verifies offline",
        lines == [(name, name) for name in comes] and verified.returncode == 0,
        answers=", ".join(f"{text!r} by {by}" for by, text in lines),
        verify=chain.removeprefix("records").strip(),
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


async def _come_back(story: Story, before: dict[str, Any], generation: int) -> None:
    """Come back with the SDK, which also starts a new host."""
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


async def _check_output(story: Story, build: workload.Build, before: dict[str, Any]) -> None:
    """Follow the output from its first byte to the end."""
    async with connect() as client:
        session = await client.attach(NAME)
        async with asyncio.timeout(5 * PATIENCE_S):
            output, pieces, ended = await _followed(client, session)
        story.check(
            "its output is contiguous, from the first byte through both kills to the last",
            pieces["gaps"] == 0 and pieces["jumps"] == 0 and len(output) > int(before["output_end"]),
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
        root, born = int(before["root_pid"]), int(before["root_started"])
        story.check(
            "the build ended by itself, and its exit status was kept",
            ended is not None and ended.how == "exited" and ended.status == 0,
            how=ended.how if ended else "not told",
            status=ended.status if ended else None,
            root_pid=f"{root} {'still there' if started(root) == born else 'gone'}",
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
        except (NotHeldError, HoldError, Broken, OSError, subprocess.SubprocessError, TimeoutError) as error:
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
