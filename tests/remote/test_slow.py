"""A path of 100 kbit/s: the present instead of history, and Ctrl-C within a second (R26, R30)."""

import contextlib
import re
import sys
import time

from holdfast.host.attachments import BLANK
from tests.faces.realhost import HOLD
from tests.faces.screen import Screen
from tests.remote.conftest import Report
from tests.remote.networks import namespace
from tests.remote.paths import path
from tests.remote.places import World

# Writes the time, 2 MB in a second: 160 times what the path takes. How old a line is tells how far behind a viewer is.
CLOCK = r"""
import os, signal, time
def stop(number, frame):
    os.write(1, b"\r\nINTERRUPTED\r\n")
    os._exit(3)
signal.signal(signal.SIGINT, stop)
while True:
    os.write(1, b"at %.3f padpadpadpadpadpadpadpadpadpad\n" % time.monotonic() * 450)
    time.sleep(0.01)
"""

STATE = b"\x1b[?2026l\x1b[?25l"  # how a painted state begins, and nothing else that a viewer is sent here


def ages(screen: Screen, for_s: float) -> list[float]:
    """Return how old the newest line on the terminal was, whenever something came, for ``for_s``."""
    found, until, tail = [], time.monotonic() + for_s, b""
    while (left := until - time.monotonic()) > 0:
        screen.out = b""
        if screen.read(left):
            tail = (tail + screen.out)[-400:]
            if times := re.findall(rb"at (\d+\.\d+) ", tail):
                found.append(time.monotonic() - float(times[-1]))
    screen.out = b""
    return found


def test_a_flood_on_100_kbit_stays_current_and_is_interrupted_within_a_second(
    own_world: World, soak: bool, report: Report
) -> None:
    world = own_world
    with path(world.relay.port, rate=12_500, delay_s=0.02) as narrow:
        away = world.machine(narrow.url)
        world.run_in("flood", sys.executable, "-c", CLOCK)
        with away.attach("flood@box") as screen:
            screen.expect(rb"at \d+\.\d+ pad", timeout=20)
            ages(screen, 2.0)  # what was sent before the path was known
            old = ages(screen, 30.0 if soak else 4.0)
            assert len(old) > 3, "nothing came"
            began = time.monotonic()
            screen.type(b"\x03")
            while world.session("flood")["ending"] is None:
                assert time.monotonic() - began < 10
            acted = time.monotonic() - began
            assert screen.wait(timeout=20) == 3
            shown = time.monotonic() - began
    old.sort()
    report(
        f"newest line {old[len(old) // 2]:.2f} s old in the middle, {old[-1]:.2f} s at most; "
        f"Ctrl-C acted after at most {acted:.2f} s, was seen to the end after {shown:.2f} s; {narrow.carried} bytes carried"
    )
    assert old[len(old) // 2] < 2.0
    assert acted < 1.5  # a command that looks takes some of it
    assert shown < 6.0


# The same, and it goes on: each Ctrl-C is written down with the time it came.
NOTED = r"""
import os, signal, sys, time
notes = os.open(sys.argv[1], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
signal.signal(signal.SIGINT, lambda number, frame: os.write(notes, b"%.4f\n" % time.monotonic()))
while True:
    os.write(1, b"at %.3f padpadpadpadpadpadpadpadpadpad\n" % time.monotonic() * 450)
    time.sleep(0.01)
"""


def test_on_100_kbit_with_5_percent_of_packets_lost_the_present_is_shown_and_ctrl_c_acts_within_a_second(
    soak: bool, report: Report
) -> None:
    """R30, on a path of the kernel: TCP itself loses, waits and sends again."""
    with contextlib.ExitStack() as stack:
        try:
            inside = stack.enter_context(namespace())
        except (OSError, FileNotFoundError) as why:
            report(f"no network namespaces here ({why}); the test above has the same rate without losses")
            return
        world = stack.enter_context(World(relay_args=("--open", "--listen", f"{inside.near}:0")))
        away, notes = world.machine(world.relay.url), world.folder / "notes"
        inside.narrow(kbit=100, loss_percent=5)
        world.run_in("flood", sys.executable, "-c", NOTED, str(notes))
        with Screen([*inside.prefix, *HOLD, "attach", "flood@box"], away.env) as screen:
            screen.expect(rb"at \d+\.\d+ pad", timeout=60)
            ages(screen, 4.0)  # what was sent before the path was known
            old = sorted(ages(screen, 60.0 if soak else 10.0))
            assert len(old) > 3, "nothing came"
            took = []
            for number in range(20 if soak else 5):
                began = time.monotonic()
                screen.type(b"\x03")
                while not notes.exists() or len(noted := notes.read_text().split()) <= number:
                    assert time.monotonic() < began + 20, "Ctrl-C never acted"
                    screen.read(0.02)
                took.append(float(noted[number]) - began)
                ages(screen, 0.5)
        took.sort()
        lost = inside.lost
    report(
        f"newest line {old[len(old) // 2]:.2f} s old in the middle, {old[-1]:.2f} s at most; "
        f"Ctrl-C acted after {took[len(took) // 2]:.2f} s in the middle, {took[-1]:.2f} s at most; {lost} packets lost"
    )
    assert lost > 0
    assert old[len(old) // 2] < 2.0
    assert took[len(took) // 2] < 1.0


# As much as a terminal takes for eight seconds, each line with its time; then what the last line is.
TORRENT = r"""
import os, time
began = time.monotonic()
while (now := time.monotonic()) < began + 8:
    os.write(1, b"at %.3f padpadpadpadpadpadpadpadpadpad\n" % now * 1000)
os.write(1, b"\x1b[31mTHE END\x1b[m\r\n")
time.sleep(600)
"""


def test_a_flood_quicker_than_any_screen_is_shown_as_it_is_now(own_world: World, report: Report) -> None:
    """R26 where the path is no matter: neither the view nor the viewer keeps up with the program, the picture does."""
    world = own_world
    world.run_in("torrent", sys.executable, "-c", TORRENT)
    with world.away.attach("torrent@box") as screen:
        screen.expect(rb"at \d+\.\d+ pad", timeout=20)
        old = ages(screen, 5.0)
        began, out, ended = time.monotonic(), bytearray(), 0.0
        # Seen; and where the newest bytes were shown without what stood above them, the true state comes with it or later.
        while not ended or out.rfind(BLANK) > out.rfind(STATE):
            assert time.monotonic() < began + 30, f"the end was {'never made good' if ended else 'never shown'}"
            screen.out = b""
            screen.read(1)
            out += screen.out
            del out[: -(1 << 18)]
            if not ended and b"THE END" in out:
                ended = time.monotonic() - began
    assert old, "frozen"
    report(
        f"{len(old)} pictures, newest line {old[-1]:.2f} s old at last, {max(old):.2f} s at most; "
        f"the end seen after {ended:.2f} s"
    )
    assert max(old) < 3.0


def test_keys_are_echoed_on_a_path_with_delay_in_about_a_round_trip(own_world: World, report: Report) -> None:
    world = own_world
    with path(world.relay.port, delay_s=0.05) as far:
        away = world.machine(far.url)
        world.new("job", "stty raw -echo; echo ready; exec cat -v")
        with away.attach("job@box") as screen:
            screen.expect(rb"ready", timeout=20)
            took = []
            for number in range(10):
                began = time.monotonic()
                screen.type(b"<%d>" % number)
                screen.expect(rb"<%d>" % number)
                took.append(time.monotonic() - began)
    took.sort()
    report(f"echo over 100 ms of round trip: {took[5] * 1000:.0f} ms in the middle, {took[-1] * 1000:.0f} ms at most")
    assert took[5] < 0.3


def test_a_slow_viewer_does_not_slow_a_quick_one(own_world: World) -> None:
    """R30 over one relay: each path has its own pace."""
    world = own_world
    with path(world.relay.port, rate=12_500, delay_s=0.02) as narrow:
        slow = world.machine(narrow.url)
        world.run_in("flood", sys.executable, "-c", CLOCK)
        with slow.attach("flood@box") as dull:
            dull.expect(rb"at \d+", timeout=20)
            with world.away.attach("flood@box") as quick:
                quick.expect(rb"at \d+")
                began, got = time.monotonic(), 0
                while time.monotonic() - began < 2:
                    quick.out = b""
                    quick.read(0.5)
                    got += len(quick.out)
                quick.type(b"\x03")
                assert quick.wait() == 3
        assert got > 2 * 2 * 12_500, f"{got} bytes in 2 s"


def test_a_slow_reader_gets_every_byte_of_a_session_that_ended_meanwhile(own_world: World) -> None:
    world = own_world
    with path(world.relay.port, rate=100_000, delay_s=0.02) as narrow:
        away = world.machine(narrow.url)
        world.new("brief", "stty -echo; read x; seq 100000; exit 5")
        tail = away.start("tail", "-f", "brief@box", "--from", "0")
        world.reads("brief")
        world.hold("send", "brief", "--enter")
        seen, said = tail.communicate(timeout=60)
    assert (tail.returncode, said) == (5, b"")
    wanted = b"".join(b"%d\r\n" % number for number in range(1, 100001))
    same = next((at for at, (got, want) in enumerate(zip(seen, wanted, strict=False)) if got != want), len(seen))
    assert same == len(wanted) == len(seen), f"{len(seen)} bytes; from {same} on {seen[same : same + 60]!r}"
