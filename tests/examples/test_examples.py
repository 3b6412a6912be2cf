"""The examples do what they say, as they stand, on a host of their own; the build step survives its runner."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing import TemporaryHost

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAYS = {
    "sdk_sync.py": ["exit status 1", "saw line 3", "it asks: Your name?", "Hello, Ada"],
    "sdk_async.py": ["left at", "exited 0", "on the screen: bold", "look killed"],
    "mcp_client.py": ["exited exit=3", "you said yes", "no-such-session", "exit: the session exited"],
}


@pytest.fixture
def host() -> Iterator[TemporaryHost]:
    with TemporaryHost() as one:
        one.env |= {"HOLDFAST_WARM": "0", "HOME": str(one.folder), "PYTHONUNBUFFERED": "1"}
        yield one


def run(host: TemporaryHost, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], env=host.env, cwd=host.folder, capture_output=True, text=True,
        timeout=150, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_every_example_is_tried_and_listed() -> None:
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == {*SAYS, "ci_build.py", "test_with_a_host.py"}
    assert all(name in (EXAMPLES / "README.md").read_text() for name in there)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", SAYS)
def test_an_example_does_what_it_says(host: TemporaryHost, name: str) -> None:
    """Promise Q5."""
    done = run(host, name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [text for text in SAYS[name] if text not in done.stdout] == [], done.stdout
    with host.connect() as client:
        assert client.sessions() == ()


@pytest.mark.timeout(200)
def test_the_build_step_survives_its_runner(host: TemporaryHost) -> None:
    """Promise Q5: killed in the middle, twice, every line is printed once, and the status is the build's own."""
    script = "for i in $(seq 1 60); do echo line $i; sleep 0.05; done; exit 4"
    command = [sys.executable, str(EXAMPLES / "ci_build.py"), "build", "--", "sh", "-c", script]
    printed = b""
    for _ in range(2):
        runner = subprocess.Popen(
            command, env=host.env, cwd=host.folder, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert runner.stdout is not None
        before = len(printed)
        while printed.count(b"\n") < 3 or len(printed) < before + 40:
            data = os.read(runner.stdout.fileno(), 65536)
            assert data
            printed += data
        time.sleep(0.2)  # what it read it writes down at once: now it waits for more
        runner.send_signal(signal.SIGKILL)
        printed += runner.stdout.read()
        runner.stdout.close()
        runner.wait()
    last = run(host, "ci_build.py", "build", "--", "sh", "-c", script)
    assert last.returncode == 4, last.stderr
    lines = (printed.decode() + last.stdout).replace("\r\n", "\n").split()
    lines = [f"{word} {number}" for word, number in zip(lines[::2], lines[1::2], strict=True)]
    wanted = [f"line {n}" for n in range(1, 61)]
    assert (
        lines == wanted or sorted(set(lines), key=lines.index) == wanted
    )  # a kill between printing and writing down repeats


@pytest.mark.timeout(200)
def test_tests_with_the_fixtures_pass(host: TemporaryHost, tmp_path: Path) -> None:
    """Promise Q5."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={tmp_path}", "-c",
         "/dev/null", str(EXAMPLES / "test_with_a_host.py")],
        capture_output=True, text=True, timeout=180, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
