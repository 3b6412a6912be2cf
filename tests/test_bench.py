"""A bench that is cut short leaves nothing: it runs for minutes, and whoever stops it does not wait."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


def naming(folder: Path) -> list[str]:
    """Return the commands of processes that name ``folder`` in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                if str(folder).encode() in command + (entry / "environ").read_bytes():
                    found.append(command.decode().replace("\0", " "))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("cut", [signal.SIGTERM, signal.SIGINT], ids=lambda cut: cut.name)
def test_a_bench_that_is_cut_short_ends_all_it_started(cut: signal.Signals, short_dir: Path) -> None:
    bench = subprocess.Popen(
        [sys.executable, str(BENCH / "echo.py"), "--quick", "--only", "hold"],
        env=os.environ | {"TMPDIR": str(short_dir)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell has it for what runs behind
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(short_dir.glob("hb-*/s/sessions/*")):  # a host, a keeper, soon a holder and what runs in it
        assert bench.poll() is None and time.monotonic() < deadline, "the bench started no session"
        time.sleep(0.02)
    bench.send_signal(cut)
    time.sleep(0.05)
    bench.send_signal(cut)  # somebody is in a hurry
    _, said = bench.communicate(timeout=60)
    assert bench.returncode == 128 + cut, said.decode()
    assert naming(short_dir) == []
    assert list(short_dir.iterdir()) == []
