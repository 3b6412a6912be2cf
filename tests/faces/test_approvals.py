"""What a person sees and does about proposals and the policy: commands, and the key in an attached terminal, on a real host."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import sync
from holdfast.core.errors import NeedsApproval
from holdfast.core.shellwords import invisible
from holdfast.core.visible import visible
from holdfast.faces.cli.commands import run
from holdfast.testing import HOLD, TemporaryHost
from tests.faces.screen import Screen
from tests.host.operators import house

READER = (sys.executable, "-c", """
import os, sys, tty
tty.setraw(0)
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(1, b"ready\\r\\n")
while data := os.read(0, 65536):
    os.write(out, data)
    os.write(1, b"got %d\\r\\n" % len(data))
""")  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with house() as made:
        policy = made.folder / "policy.toml"
        policy.write_text("[class.ai]\nkeys = 'ask'\n")
        policy.chmod(0o600)
        yield made


@pytest.fixture(scope="module")
def ai(host: TemporaryHost) -> Iterator[sync.Client]:
    with sync.connect(host.socket, start=False, operator="ai") as client:
        yield client


def start(host: TemporaryHost, name: str) -> Path:
    out = host.folder / f"{name}.bytes"
    done = host.hold("new", name, "-d", "--", *READER, str(out))
    assert done.returncode == 0, done.stderr
    assert host.hold("wait", name, "--match", "ready", "--since", "-1", "--timeout", "20").returncode == 0
    return out


def asks(ai: sync.Client, name: str, data: bytes) -> tuple[int, str]:
    """Have the AI send ``data``, which is held; return the proposal's id and digest."""
    session = ai.attach(name)
    session.who()
    with pytest.raises(NeedsApproval) as needs:
        session.send(data)
    return needs.value.details["proposal"], needs.value.details["digest"]


def test_every_byte_can_be_seen() -> None:
    """Promise G6."""
    assert visible(b"make\r") == "make^M"
    assert visible(b"\x1b[A\x00\x7f\t") == "^[[A^@^?^I"
    assert visible("a\u202eb\u200b\u00a0é".encode()) == "a<U+202E>b<U+200B><U+00A0>é"
    assert visible(b"\xff\xc3") == "\\xff\\xc3"
    assert visible(b"^M <U+202E> \\xff") == "\\^M \\<U+202E> \\\\xff"
    assert all(not invisible(char) for char in visible(bytes(range(256)) + "\u2028\ue000".encode()))


def test_no_two_inputs_look_alike() -> None:
    """Promise G6."""
    alike = [
        b"^M",
        b"\r",
        b"\\^M",
        b"<U+000D>",
        "\x85".encode(),
        b"\x85",
        b"\\x85",
        b"<U+0085>",
        b"^[",
        b"\x1b",
        b"\\",
        b"\\\\",
    ]
    assert len({visible(each) for each in alike}) == len(alike)


def test_what_waits_is_shown_and_decided_by_its_hash(host: TemporaryHost, ai: sync.Client) -> None:
    out = start(host, "cli")
    number, digest = asks(ai, "cli", b"\x1bdo it\r")
    shown = host.hold("approvals")
    assert shown.returncode == 0 and "input: ^[do it^M" in shown.stdout, shown
    for said in (
        f"{number}  cli  ai o-",
        "for o-",
        "the session is as it was then",
        "class.ai.keys",
        f"hash {digest[:12]}",
    ):
        assert said in shown.stdout
    (found,) = json.loads(host.hold("approvals", "cli", "--json").stdout)
    assert (found["id"], found["digest"], found["data_hex"]) == (number, digest, b"\x1bdo it\r".hex())
    assert host.hold("deny", "cli", str(number), "--hash", digest).returncode == 0
    assert host.hold("approvals", "cli").stderr == "nothing waits for approval\n"
    assert "denied by local:" in host.hold("approvals", "cli", "-a").stdout
    assert out.read_bytes() == b""


def test_it_is_decided_by_the_hash_of_what_was_seen(host: TemporaryHost, ai: sync.Client) -> None:
    out = start(host, "hash")
    number, digest = asks(ai, "hash", b"\x1bdo it\r")
    blind = host.hold("approve", "hash", str(number))
    assert blind.returncode == 122 and "nobody is here to look at it" in blind.stderr
    wrong = host.hold("approve", "hash", str(number), "--hash", "00000000")
    assert wrong.returncode == 122 and "not what you saw" in wrong.stderr
    assert host.hold("approve", "hash", str(number), "--hash", digest[:4]).returncode == 2
    assert host.hold("approve", "hash", str(number + 1000), "--hash", digest).returncode == 122
    done = host.hold("approve", "hash", str(number), "--hash", digest[:12], "--why", "fine")
    assert (done.returncode, done.stderr) == (0, f"proposal {number} in hash is executed: applied, 7 bytes\n")
    assert host.hold("wait", "hash", "--match", "got 7", "--since", "-1", "--timeout", "20").returncode == 0
    number, digest = asks(ai, "hash", b"no")
    denied = host.hold("deny", "hash", str(number), "--hash", digest, "--why", "never")
    assert denied.returncode == 0 and "is denied by local:" in denied.stderr
    assert out.read_bytes() == b"\x1bdo it\r"


def test_a_person_proposes_and_cannot_approve_it_alone(host: TemporaryHost) -> None:
    out = start(host, "alone")
    made = host.hold("propose", "alone", "--why", "please", "--json", "--", "echo", "a b")
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout)
    assert (said["data"], said["verb"], said["why"]) == ("echo 'a b'", "run", "please")
    no = host.hold("approve", "alone", str(said["id"]), "--hash", said["digest"])
    assert no.returncode == 122 and "nobody decides what they proposed themselves" in no.stderr
    assert host.hold("propose", "alone", "--wait", "--for", "1s", "--", "x").returncode == 124
    assert host.hold("propose", "alone", "--withdraw", str(said["id"])).returncode == 0
    assert not out.read_bytes()


def test_at_a_terminal_it_is_shown_before_one_is_asked(host: TemporaryHost, ai: sync.Client) -> None:
    start(host, "tty")
    number, _ = asks(ai, "tty", b"yes please")
    with Screen([*HOLD, "approve", "tty", str(number)], host.env) as screen:
        screen.expect(rb"input: yes please.*approve it\? \[y/N\]")
        screen.type(b"n\r")
        assert screen.wait() == 122
    with Screen([*HOLD, "approve", "tty", str(number)], host.env) as screen:
        screen.expect(rb"approve it\?")
        screen.type(b"y\r")
        screen.expect(rb"executed: applied, 10 bytes")
        assert screen.wait() == 0


def test_a_key_in_an_attached_terminal_shows_what_waits_and_decides_about_just_that(
    host: TemporaryHost, ai: sync.Client
) -> None:
    out = start(host, "keys")
    with Screen([*HOLD, "attach", "keys"], host.env) as screen:
        screen.expect(rb"ready")
        screen.type(b"\x1ca")
        screen.expect(rb"nothing waits for approval")
        first, digest = asks(ai, "keys", b"rm \x1b[A")
        screen.expect(rb"asks for approval \| Ctrl-\\ a shows it")
        screen.type(b"\x1ca")
        screen.expect(
            b"proposal %d of ai o-.*input: rm \\^\\[\\[A.*hash %s.*y approves exactly this"
            % (first, digest[:12].encode())
        )
        second, _ = asks(ai, "keys", b"later")  # does not take the place of what is shown
        screen.type(b"n")
        screen.expect(b"proposal %d is denied" % first)
        screen.type(b"\x1ca")
        screen.expect(b"proposal %d of ai .*input: later" % second)
        screen.type(b"q")  # leaves it, and is not typed
        screen.expect(rb"\x1b\[")
        screen.type(b"\x1ca")
        screen.expect(b"proposal %d of ai .*input: later" % second)
        screen.type(b"y")
        screen.expect(b"proposal %d is executed: applied" % second)
        screen.expect(rb"got 5")
        screen.type(b"\x1cd")
        assert screen.wait() == 120
    assert out.read_bytes() == b"later"


def hold(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run `hold policy` in this process: it asks no host."""
    capsys.readouterr()
    status = run(["policy", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_policy_is_checked_and_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.toml"
    file.write_text("[class.ai]\ndefault='ask'\n[[deny]]\nprogram='rm'\nwhy='no'\n[[allow]]\nprogram='make'\n")
    assert hold(capsys, "check", str(file)) == (0, "", f"{file} is well: 2 rules\n")
    for line, status in (("make test", 0), ("rm x", 4), ("sudo rm x", 4), ("make $(x)", 3), ("vi", 3)):
        assert hold(capsys, "test", line, "--file", str(file))[0] == status, line
    assert hold(capsys, "test", "rm x", "--file", str(file))[1] == "deny  deny[0]: no\n"
    assert hold(capsys, "test", "rm x", "--as", "human", "--file", str(file))[0] == 0
    said = json.loads(hold(capsys, "test", "sudo make", "--json", "--file", str(file))[1])
    assert (said["decision"], said["commands"]) == ("ask", [["sudo", "make"], ["make"]])
    file.write_text("[[deny]]\nprogramm='rm'\n")
    status, _, why = hold(capsys, "check", str(file))
    assert status == 122 and "line 2: deny[0].programm" in why
    assert hold(capsys, "check", str(tmp_path / "none"))[0] == 122


def test_the_policy_in_force_is_shown(host: TemporaryHost) -> None:
    shown = host.hold("policy", "show")
    assert str(host.folder / "policy.toml") in shown.stdout and "keys ask" in shown.stdout
    assert json.loads(host.hold("policy", "show", "--json").stdout)["classes"]["ai"]["keys"] == "ask"


def test_a_broken_policy_is_said_where_one_looks(host: TemporaryHost) -> None:
    policy = host.folder / "policy.toml"
    good = policy.read_text()
    try:
        (host.folder / "new").write_text("[[deny]]\nprogramm='rm'\n")
        os.replace(host.folder / "new", policy)
        assert "deny[0].programm" in str(host.status()["notes"])
        doctor = host.hold("doctor")
        assert "policy" in doctor.stdout and "deny[0].programm" in doctor.stdout
    finally:
        (host.folder / "new").write_text(good)
        os.replace(host.folder / "new", policy)
    assert "deny[0].programm" not in host.hold("doctor").stdout
