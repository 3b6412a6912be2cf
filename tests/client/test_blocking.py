"""The blocking SDK: the asynchronous one without `await`, from any thread, and interruptible."""

import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast import sync
from holdfast.client.blocking.portal import PORTAL, Mirror
from tests.client.fakehost import FakeHost

ROOT = Path(__file__).resolve().parents[2]
MIRRORED = [name for name in sync.__all__ if getattr(sync, name) is not getattr(hf, name)]
CLASSES = [name for name in MIRRORED if inspect.isclass(getattr(sync, name))]


@pytest.fixture
def host() -> Iterator[FakeHost]:
    with FakeHost() as running:
        yield running


# ---- parity ----------------------------------------------------------------------------------------------------------


def test_every_name_of_the_sdk_is_there() -> None:
    """Promise Q1."""
    assert sorted(sync.__all__) == sorted(set(hf.__all__) - {"__version__"})
    assert {"Client", "Session", "connect"} <= set(MIRRORED)


def said(text: str | None) -> str:
    return (text or "").replace("async with", "with").replace("await ", "").replace("async for", "for")


def plainly(annotation: object) -> str:
    text = re.sub(r"AbstractAsyncContextManager\[(.*)\]", r"Iterator[\1]", str(annotation))
    text = re.sub(r"Async(?:Generator)\[(.*), None\]", r"Generator[\1, None, None]", text)
    return re.sub(r"AsyncIterator\[(.*)\]", r"Generator[\1, None, None]", text)


def public(kind: type) -> dict[str, Any]:
    return {name: each for name, each in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", MIRRORED)
def test_what_waits_has_the_same_names_signatures_and_words(name: str) -> None:
    """Promise Q1."""
    one, other = getattr(hf, name), getattr(sync, name)
    assert said(one.__doc__) == other.__doc__
    if not inspect.isclass(one):
        assert signature(one) == signature(other)
        return
    there, here = public(one), public(other)
    attributes = {each for each in vars(one).get("__annotations__", {}) if not each.startswith("_")}
    assert set(there) | attributes == set(here)
    for each, thing in there.items():
        mirror = here[each]
        assert isinstance(thing, property) is isinstance(mirror, property), each
        if not isinstance(thing, property):
            assert signature(thing) == signature(mirror), each
        assert inspect.cleandoc(said(thing.__doc__)) == inspect.cleandoc(mirror.__doc__ or ""), each


def signature(thing: Any) -> tuple[list[tuple[str, object, object, str]], str]:
    found = inspect.signature(inspect.unwrap(thing))
    return (
        [(each.name, each.kind, each.default, str(each.annotation)) for each in found.parameters.values()],
        plainly(found.return_annotation),
    )


def test_the_mirror_is_what_the_tool_writes_now() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "mirror", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", CLASSES)
def test_a_mirror_holds_nothing_of_its_own(name: str) -> None:
    assert issubclass(getattr(sync, name), Mirror)
    assert "__init__" not in vars(getattr(sync, name))


# ---- what a program can rely on --------------------------------------------------------------------------------------


def test_a_session_is_opened_typed_into_followed_and_ended(host: FakeHost) -> None:
    with sync.connect(host.socket) as client:
        session = client.open("build", argv=["cat"])
        assert [each.name for each in client.sessions()] == ["build"]
        with session:
            assert session.send("hello\r").outcome == "applied"
            for event in session.events():
                if isinstance(event, sync.Output) and b"hello" in event.data:
                    break
        assert "build" in repr(session)
        assert session.kill(grace=0).how == "killed"
        assert session.wait(timeout=10).how == "killed"


def test_errors_are_those_of_the_sdk_and_say_where_they_came_from(host: FakeHost) -> None:
    with sync.connect(host.socket) as client:
        with pytest.raises(hf.NoSuchSession) as raised:
            client.attach("nothing")
        assert raised.value.do
        assert any(
            entry.name == __name__.rpartition(".")[2] or "test_blocking" in str(entry.path)
            for entry in raised.traceback
        )


def test_leaving_a_loop_closes_what_it_went_through_at_once(host: FakeHost) -> None:
    """Promise Q2."""
    with sync.connect(host.socket) as client:
        session = client.open("talker", argv=["sh", "-c", "while :; do echo line; sleep 0.01; done"])
        for event in session.events():
            if isinstance(event, sync.Output):
                break
        assert session._real._feed is None  # detached before the next line of this test ran
        assert session.cursor.offset == event.end
        again = client.attach(session.id, since=str(session.cursor))
        follow = again.events()
        item = next(each for each in follow if isinstance(each, sync.Output))
        follow.close()
        assert item.offset == event.end
        session.kill(grace=0)


def test_threads_share_a_client(host: FakeHost) -> None:
    """Promise Q2."""
    wrong: list[object] = []
    with sync.connect(host.socket) as client:
        session = client.open("cat", argv=["cat"])

        def work(number: int) -> None:
            try:
                for turn in range(20):
                    assert session.send(f"{number}.{turn};").written == len(f"{number}.{turn};")
                    assert client.sessions()
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        typed = b"".join(host.sessions[0].inputs).decode()
        assert sorted(typed.rstrip(";").split(";")) == sorted(f"{n}.{t}" for n in range(8) for t in range(20))
        session.kill(grace=0)


def test_its_own_thread_is_not_for_blocking_calls(host: FakeHost) -> None:
    with sync.connect(host.socket) as client, pytest.raises(RuntimeError, match="own thread"):
        PORTAL.do(client.sessions)


_INTERRUPTED = """
import sys, time
from holdfast import sync
with sync.connect(sys.argv[1]) as client:
    session = client.attach("sleeper")
    for attempt in (lambda: session.wait(), lambda: list(session.events())):
        try:
            print("waiting", flush=True)
            attempt()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print(client.sessions()[0].name, flush=True)
"""


def test_an_interrupt_ends_the_wait_and_nothing_else(host: FakeHost) -> None:
    """Promise Q2."""
    with sync.connect(host.socket) as client:
        session = client.open("sleeper", argv=["sleep", "600"])
        program = subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, host.socket], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert program.stdout is not None
        for _ in range(2):
            assert program.stdout.readline() == "waiting\n"
            line, deadline = "", time.monotonic() + 20
            while not line and time.monotonic() < deadline:  # it may not wait yet when the first one comes
                program.send_signal(signal.SIGINT)
                line = program.stdout.readline()
            assert line == "interrupted\n"
        assert program.stderr is not None
        with program.stdout, program.stderr:  # what was read ahead with the last line is in the first, not in the pipe
            assert (program.stdout.read(), program.stderr.read()) == ("sleeper\n", "")
        assert program.wait(timeout=20) == 0
        assert session.info().state == "running"
        session.kill(grace=0)


_QUIET = """
import sys
from holdfast import sync
client = sync.connect(sys.argv[1])
client.__enter__()
for event in client.open("left", argv=["cat"]).events():
    print(type(event).__name__)
    break
"""


def test_a_program_that_just_ends_says_nothing_and_ends_nothing(host: FakeHost) -> None:
    with sync.connect(host.socket) as client:
        client.open("left", argv=["sh", "-c", "while :; do echo here; sleep 0.02; done"])
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", _QUIET, host.socket], capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [each.name for each in client.sessions()] == ["left"]
        client.attach("left").kill(grace=0)


def test_a_forked_child_begins_its_own_thread(host: FakeHost) -> None:
    script = textwrap.dedent("""
        import os, sys
        from holdfast import sync
        with sync.connect(sys.argv[1]) as client:
            client.sessions()
            pid = os.fork()
            if pid == 0:
                with sync.connect(sys.argv[1]) as own:
                    own.sessions()
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            client.sessions()
    """)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, host.socket], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, ""), os.getpid()


def test_what_a_call_costs_is_printed(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a bound: the figure of docs/sdk.md is read off here."""

    async def nothing() -> None: ...

    count = 2000
    PORTAL.call(nothing())
    began = time.perf_counter()
    for _ in range(count):
        PORTAL.call(nothing())
    hop = (time.perf_counter() - began) / count * 1e6
    with sync.connect(host.socket) as client:
        client.sessions()
        began = time.perf_counter()
        for _ in range(200):
            client.sessions()
        ask = (time.perf_counter() - began) / 200 * 1e6
    with capsys.disabled():
        print(f"\na blocking call: {hop:.0f} µs of the bridge; a listing in all {ask:.0f} µs")
    assert hop > 0
