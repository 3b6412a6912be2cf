"""`hold log` and `hold verify` as a person meets them: who did what, an export, a host that was set back."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core import evidence
from holdfast.core.journal import decoded
from tests.faces.realhost import HOLD, RealHost
from tests.faces.screen import Screen


@pytest.fixture
def host() -> Iterator[RealHost]:
    with RealHost() as one:
        yield one


def lines(host: RealHost, *arguments: str) -> list[str]:
    done = host.hold("log", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_log_says_who_did_what_and_makes_escapes_visible(host: RealHost) -> None:
    """R69, R70, R71."""
    host.new("a", "echo ready; exec cat")
    host.hold("send", "a", "--enter", "make \x1b[31mred")
    shown = lines(host, "a")
    assert re.search(r"^ +1  .*  local   local:\S+/\d+  started sh -c echo ready; exec cat$", shown[0])
    assert any(line.endswith("typed make ^[[31mred^M") for line in shown)
    assert all("\x1b" not in line for line in shown)
    assert lines(host, "a", "--kind", "input", "-n", "1")[0] == shown[-1]
    assert lines(host, "a", "--who", "nobody") == []
    found = json.loads(host.hold("log", "a", "--kind", "input", "--json").stdout)
    assert [(each["kind"], each["proof"], each["what"]) for each in found] == [
        ("input", "local", "typed make ^[[31mred^M")
    ]
    one = lines(host, "a", "--at", str(found[0]["position"]))
    assert any("epoch 1, incarnation 1, host generation 1" in line for line in one)
    missing = host.hold("log", "a", "--at", "999")
    assert missing.returncode == 122 and "record 999" in missing.stderr


def test_a_log_is_followed_until_the_session_ends(host: RealHost) -> None:
    host.new("a", "read x")
    process = subprocess.Popen(
        [*HOLD, "log", "a", "-f"], env=host.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"started" in process.stdout.readline()
    host.hold("send", "a", "--enter", "go")
    out, _ = process.communicate(timeout=60)
    assert b"typed go^M" in out and b"exited" in out and process.returncode == 0


def test_an_export_is_checked_without_any_host_and_the_altered_record_is_named(host: RealHost, tmp_path: Path) -> None:
    """Promise J5, J6, R72."""
    file = tmp_path / "a.evidence"
    host.new("a", "echo ready; exec cat")
    host.hold("send", "a", "--enter", "make")
    time.sleep(0.3)  # for the output to be there; whether it is in the export is not what is tested
    done = host.hold("log", "a", "--export", str(file), "--output")
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    host.hold("host", "down")
    good = host.hold("verify", str(file))
    assert good.returncode == 0 and "HOLDS" in good.stdout and "unsigned: the host vouches" in good.stdout, good.stdout
    held = evidence.contents(file.read_bytes())
    victim = next(at for at, data in enumerate(held.records) if decoded(data).kind == "input")
    data = file.read_bytes().replace(b"make\r", b"rm -r")
    file.write_bytes(data)
    bad = host.hold("verify", str(file), "--json")
    said = json.loads(bad.stdout)
    assert bad.returncode == 1 and said["holds"] is False
    assert said["finding"]["position"] == decoded(held.records[victim]).position
    file.write_bytes(data[:-5])
    cut = host.hold("verify", str(file))
    assert cut.returncode not in (0, 1) and "no whole export" in cut.stderr


def test_output_is_exported_as_asciicast_with_the_time_that_was_kept(host: RealHost, tmp_path: Path) -> None:
    file = tmp_path / "a.cast"
    host.new("a", "echo one; sleep 0.6; printf 'zw\\303\\266lf\\n'; sleep 1000")
    with Screen([*HOLD, "attach", "a"], host.env) as screen:
        screen.expect("zwölf".encode(), timeout=30)
    assert host.hold("log", "a", "--asciicast", str(file)).returncode == 0
    header, *events = [json.loads(line) for line in file.read_text().splitlines()]
    assert (header["version"], header["width"], header["title"]) == (2, 80, "a")
    assert "".join(text for _, _, text in events) == "one\r\nzwölf\r\n"
    at = [when for when, _, _ in events]
    assert at == sorted(at) and at[-1] - at[0] > 0.4


@pytest.mark.timeout(900)
def test_a_host_that_was_set_back_is_noticed_by_whoever_attached_before(host: RealHost) -> None:
    """Promise J7, I8: said on the screen and at the end, again every time, until the user accepts it."""
    host.new("a", "echo ready; exec cat")
    folder = next((host.folder / "s" / "sessions").iterdir())
    older = host.folder / "older"
    shutil.copytree(folder / "journal", older)

    def attached() -> str:
        with Screen([*HOLD, "attach", "a"], host.env) as screen:
            screen.expect(rb"ready", timeout=60)
            screen.read(1.0)  # whether it has more to say has no event
            screen.type(b"\x1cd")
            return screen.expect(rb".*detached from", timeout=60)[0].decode(errors="replace")

    assert "set back" not in attached()
    host.hold("send", "a", "more")
    assert "set back" not in attached()
    host.hold("host", "down")
    shutil.rmtree(folder / "journal")
    shutil.copytree(older, folder / "journal")
    for _ in range(2):
        assert "the host was set back, or its record was replaced" in attached()
    accepted = host.hold("log", "a", "--accept")
    assert accepted.returncode == 0, accepted.stderr
    assert "set back" not in attached()
