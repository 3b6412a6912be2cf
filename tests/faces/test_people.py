"""Giving access and taking it back: two users, their hosts and a relay as real processes (R05, R06, R51, R52, R56, R57, R68).

``ann`` is a user whose host is linked to a relay; ``ben`` is another one, who starts with nothing. What they exchange is
the text that the commands print, as people would.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.client.credentials import Store
from holdfast.core import sealing
from holdfast.edge import due
from tests.faces.realhost import HOLD, RealHost, end
from tests.faces.screen import Screen
from tests.relay.peers import Relay

ECHO = "stty raw -echo; echo ready; exec cat -v"


class User(RealHost):
    """A user of the machine: folders, keys and, once it is needed, a host of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.env |= {"HOLDFAST_WARM": "0", "COLUMNS": "200"}
        self.env.pop("HOLDFAST_PROFILE", None)

    def said(self, *arguments: str, data: str = "") -> str:
        """Run `hold`, which works; return what it printed."""
        done = subprocess.run([*HOLD, *arguments], env=self.env, capture_output=True, text=True, timeout=60, input=data)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def json(self, *arguments: str) -> object:
        return json.loads(self.said(*arguments, "--json"))

    def refused(self, *arguments: str, data: str = "") -> tuple[int, str]:
        """Run `hold`, which does not work; return status and complaint."""
        done = subprocess.run([*HOLD, *arguments], env=self.env, capture_output=True, text=True, timeout=60, input=data)
        assert done.returncode != 0, done.stdout
        return done.returncode, done.stderr

    def attach(self, *arguments: str) -> Screen:
        return Screen([*HOLD, "attach", *arguments], self.env, cols=200)

    def upkeep(self) -> str:
        """Renew everything now, due or not."""
        return subprocess.run(
            [sys.executable, "-m", "holdfast.client.upkeep", "--eager"], env=self.env, capture_output=True, text=True,
            timeout=60, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip

    def invited(self, name: str, *more: str) -> str:
        return self.said("operator", "add", name, *more)

    def joins(self, code: str, profile: str) -> None:
        self.said("join", "-", "--as", profile, data=code)


@pytest.fixture(scope="module")
def ann() -> Iterator[User]:
    with User() as user:
        folder = user.folder / "relay"
        folder.mkdir()
        relay = Relay(folder / "state", "--open").up()
        try:
            user.said("host", "link", relay.url, "--name", "ann")
            user.new("build", ECHO)
            user.new("secret", "echo nobody sees this; exec sleep 600")
            yield user
        finally:
            relay.kill()


@pytest.fixture(scope="module")
def ben() -> Iterator[User]:
    with User() as user:
        yield user


def eventually(what: Callable[[], bool], within_s: float = 15.0) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def cut_off(screen: Screen) -> None:
    """Wait until the attach is ended by whoever is quicker: the host, which detaches it, or the relay, which hangs up on it
    and lets it in no more."""
    assert screen.wait(15) == 122
    assert b"was revoked or has expired" in screen.out, screen.out
    assert screen.settings() == screen.before


# ---- links -----------------------------------------------------------------------------------------------------------


def test_a_link_makes_a_guest_who_sees_one_session_and_cannot_type(ann: User, ben: User) -> None:
    """R52, R57."""
    link = ann.said("share", "build", "--for", "10m")
    command = ben.said("join", "-", data=link).split()
    place = command[-1].partition("@")[2]
    assert command[:3] == ["hold", "attach", "--observe"] and command[-1].startswith("build@guest-")
    assert [each["name"] for each in ben.json("ls", f"@{place}")] == ["build"]  # type: ignore[attr-defined]
    with ben.attach(*command[2:]) as screen:
        screen.expect(rb"ready")
        ann.said("send", "build", "ann was here")
        screen.expect(rb"ann was here")
        screen.type(b"x")
        screen.expect(rb"is not sent")
    before = ann.session("build")["output_end"]
    status, why = ben.refused("send", f"build@{place}", "ben was here")
    assert status == 122 and "guests may only" in why
    for verb in (["kill"], ["keep"], ["rename"]):
        assert ben.refused(
            *verb, f"build@{place}", *(["1h"] if verb == ["keep"] else ["n"] if verb == ["rename"] else [])
        )
    assert ann.session("build")["output_end"] == before
    logged = ann.json("log", "build", "--kind", "refused")
    assert {each["body"]["verb"] for each in logged} == {"input", "kill", "keep", "rename"}  # type: ignore[attr-defined]  # R63
    assert ben.said("join", link).startswith("hold attach --observe build@")  # once more is the same profile
    assert [each["name"] for each in ben.json("profile", "ls")].count(place) == 1  # type: ignore[attr-defined]


def test_unknown_and_forbidden_sessions_are_told_alike(ann: User, ben: User) -> None:
    """I9, R52."""
    place = ben.said("join", ann.said("share", "build")).rpartition("@")[2]
    for verb in ("view", "info", "tail", "kill"):
        forbidden, unknown = (ben.refused(verb, f"{name}@{place}") for name in ("secret", "sicret"))
        assert forbidden[0] == unknown[0] == 121
        assert forbidden[1].replace("secret", "NAME") == unknown[1].replace("sicret", "NAME")
    by_id = ben.refused("view", f"{ann.session('secret')['id']}@{place}")
    assert by_id[0] == 121


def test_a_link_is_attached_directly_and_ends_in_the_middle_of_the_view(ann: User, ben: User) -> None:
    """R57: the grant expires mid-view."""
    link = ann.said("share", "build", "--for", "5s")
    with ben.attach(link) as screen:
        screen.expect(rb"ready")
        cut_off(screen)
    assert ben.refused("join", link)[0] == 122


def test_a_tampered_link_is_refused(ann: User, ben: User) -> None:
    link = ann.said("share", "build")
    for at in (-3, -200, len(link) // 2):
        other = "A" if link[at] != "A" else "B"
        assert ben.refused("join", f"{link[:at]}{other}{link[at + 1 :]}")[0] == 122


def test_nothing_wider_than_looking_goes_by_link(ann: User) -> None:
    assert ann.refused("share", "build", "--operate")[0] == 122
    assert ann.refused("share", "nosuch")[0] == 121


# ---- joining ---------------------------------------------------------------------------------------------------------


def test_a_join_code_works_once_and_not_with_another_letter(ann: User, ben: User) -> None:
    code = ann.invited("once", "--kind", "service", "--operate", "--session", "build")
    wrong = code[:40] + ("7" if code[40] != "7" else "8") + code[41:]
    assert "checksum" in ben.refused("join", wrong)[1]
    ben.joins(code, "once")
    assert [each["name"] for each in ben.json("ls", "@once")] == ["build"]  # type: ignore[attr-defined]
    status, why = ben.refused("join", code)
    assert status == 122 and ("was used" in why or "expects nobody" in why)  # the host says it, or the relay before it
    operators = {each["name"]: each for each in ann.json("operator", "ls")}  # type: ignore[attr-defined]
    assert (operators["once"]["kind"], operators["once"]["may"]) == ("service", "operate")


def test_a_code_that_was_taken_back_lets_nobody_in(ann: User, ben: User) -> None:
    code = ann.json("operator", "add", "nobody", "--kind", "human")
    ann.said("revoke", code["serial"])  # type: ignore[index]
    status, why = ben.refused("join", code["code"])  # type: ignore[index]
    assert status == 122 and "taken back" in why


def test_an_ai_has_no_more_than_was_given_to_it(ann: User, ben: User) -> None:
    """R68: it acts on behalf of ann, who may everything, and may only what she passed on."""
    ben.joins(ann.invited("coder", "--kind", "ai", "--operate", "--session", "build"), "coder")
    ben.said("send", "build@coder", "typed by an AI")
    eventually(lambda: "typed by an AI" in ann.said("view", "build"))
    status, why = ben.refused("kill", "build@coder")
    assert status == 122 and "grant to manage" in why
    assert ben.refused("view", "secret@coder")[0] == 121
    assert ben.refused("new", "-d", "more@coder", "--", "true")[0] == 122
    assert (
        ben.refused("--profile", "coder", "operator", "add", "more", "--kind", "ai")[0] == 122
    )  # AIs vouch for nobody


def test_a_grant_for_a_known_operator_is_of_use_to_nobody_else(ann: User, ben: User) -> None:
    ann.new("extra", ECHO)
    ben.joins(ann.invited("dora", "--kind", "human", "--observe", "--session", "build"), "dora")
    assert ben.refused("send", "extra@dora", "x")[0] == 121
    offer = ann.said("share", "extra", "--to", "dora", "--operate", "--for", "1h")
    with User() as stranger:
        assert "do not have here" in stranger.refused("join", offer)[1]
    ben.said("join", offer)
    ben.said("send", "extra@dora", "typed by dora")
    eventually(lambda: "typed by dora" in ann.said("view", "extra"))
    serial = next(each["serial"] for each in ann.json("grants", "extra"))  # type: ignore[attr-defined]
    ann.said("revoke", serial)  # this right alone: dora stays
    assert ben.refused("send", "extra@dora", "x")[0] == 121
    assert [each["name"] for each in ben.json("ls", "@dora")] == ["build"]  # type: ignore[attr-defined]


def test_an_operators_right_comes_by_itself_with_the_next_renewal(ann: User, ben: User) -> None:
    ann.new("later", ECHO)
    ben.joins(ann.invited("emma", "--kind", "human", "--session", "build", "--away", "10m"), "emma")
    before = ben.json("profile", "show", "emma")
    assert before["until"] - time.time() <= 600  # type: ignore[index]
    ann.said("share", "later", "--to", "emma", "--observe")
    assert "emma: human renewed" in ben.upkeep()
    after = ben.json("profile", "show", "emma")
    assert after["until"] >= before["until"] and len(after["may"]) == 2  # type: ignore[index]
    assert "ready" in ben.said("view", "later@emma")
    ann.said("operator", "revoke", "emma")
    assert "emma: not renewed" in ben.upkeep()


# ---- taking back -----------------------------------------------------------------------------------------------------


def test_revoking_cuts_off_within_a_second_and_drops_what_waits_to_be_typed(ann: User, ben: User) -> None:
    """R56."""
    ben.joins(ann.invited("fred", "--kind", "human", "--operate"), "fred")
    go, read = ann.folder / "go", ann.folder / "read"
    ann.new("stuck", f"stty raw -echo; echo ready; while [ ! -e {go} ]; do sleep 0.05; done; exec cat > {read}")
    typed = b"x" * (1 << 18)  # far more than the kernel takes for a program that does not read
    with ben.attach("stuck@fred") as screen:
        screen.expect(rb"ready")
        for at in range(0, len(typed), 2048):
            screen.type(typed[at : at + 2048])
        time.sleep(0.5)  # for it to be on its way; less of it there makes the test easier, not wrong
        ann.said("revoke", "fred")
        told = time.monotonic()
        cut_off(screen)
        assert time.monotonic() - told < 1.0
    go.touch()
    ann.said("send", "stuck", "END")
    eventually(lambda: read.exists() and read.read_bytes().endswith(b"END"))
    assert read.stat().st_size < len(typed) // 2
    status, why = ben.refused("ls", "@fred")
    assert status == 122 and "revoked" in why


def test_who_is_sent_away_reads_no_name_given_afterwards_and_everybody_else_does(ann: User, ben: User) -> None:
    """DESIGN 11: the key under which names pass relays changes when a member's rights are taken back."""

    def versions(user: User, profile: str) -> list[int]:
        return [key.version for key in Store(user.folder / "s" / "keys", profile).naming.name_keys()]

    for name in ("gus", "hal"):
        ben.joins(ann.invited(name, "--kind", "human", "--operate"), name)
        assert [each["name"] for each in ben.json("--profile", name, "hosts")] == ["ann"]  # type: ignore[attr-defined]
    before = versions(ann, "default")
    assert versions(ben, "gus") == versions(ben, "hal") == before
    ann.said("operator", "revoke", "gus")
    after = versions(ann, "default")
    assert after == [before[0] + 1, *before]
    [record] = [
        each.says
        for each in Store(ann.folder / "s" / "keys").hosts()
        if each.key == Store(ann.folder / "s" / "keys").profile.default_host
    ]
    assert sealing.version_of(record.name) == after[0]
    due.settle(str(ben.folder / "s" / "keys"), time.time() + 3600)
    assert [each["name"] for each in ben.json("--profile", "hal", "hosts")] == ["ann"]  # type: ignore[attr-defined]
    eventually(lambda: versions(ben, "hal") == after)  # by what it was called last, at first: the key comes by itself
    assert [each["name"] for each in ben.json("--profile", "hal", "hosts")] == ["ann"]  # type: ignore[attr-defined]
    assert versions(ben, "gus") == before


def test_a_session_goes_on_without_its_creator_and_another_operator_commands(ann: User, ben: User) -> None:
    """R06."""
    ben.joins(ann.invited("gina", "--kind", "human", "--operate"), "gina")
    ben.joins(ann.invited("hugo", "--kind", "device", "--operate"), "hugo")
    ben.said("new", "-d", "orphan@gina", "--", "sh", "-c", ECHO)
    pid = ann.session("orphan")["root_pid"]
    ann.said("revoke", "gina")
    assert ben.refused("send", "orphan@gina", "x")[0] == 122
    ben.said("send", "orphan@hugo", "hugo commands")
    eventually(lambda: "hugo commands" in ann.said("view", "orphan"))
    assert ann.session("orphan")["root_pid"] == pid


# ---- hosts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def enrolled(ann: User, ben: User) -> User:
    """ben's machine, whose host joined ann's tenant as ``bens``; the session ``there`` runs on it."""
    code = ann.said("host", "enroll", "--name", "bens")
    ben.said("host", "join", "-", "--as", "machine", data=code)
    ben.new("there", ECHO)
    return ben


def test_a_host_that_joined_is_attached_by_name(ann: User, enrolled: User) -> None:
    """R05."""
    with ann.attach("there@bens") as screen:
        screen.expect(rb"ready")
        screen.type(b"from ann\r")
        screen.expect(rb"from ann")
        screen.type(b"\x1cd")
        assert screen.wait() == 120
        assert b"hold attach there@bens" in screen.out
    assert [each["name"] for each in ann.json("ls", "@bens")] == ["there"]  # type: ignore[attr-defined]


def test_what_acts_for_a_person_ends_with_that_persons_rights(ann: User, enrolled: User) -> None:
    """R68: ivan, who may operate, lets an AI act for him: no further than he may himself, and no longer."""
    enrolled.joins(ann.invited("ivan", "--kind", "human", "--operate"), "ivan")
    status, why = enrolled.refused("--profile", "ivan", "operator", "add", "bot", "--kind", "ai", "--manage")
    assert status == 122 and "no grant that you hold reaches as far" in why
    code = enrolled.said("--profile", "ivan", "operator", "add", "bot", "--kind", "ai", "--operate")
    ann.joins(code, "bot")
    ann.said("--profile", "bot", "send", "there@bens", "bot for ivan\n")
    eventually(lambda: "bot for ivan" in enrolled.said("view", "there"))
    assert ann.refused("--profile", "bot", "kill", "there@bens")[0] == 122
    ann.said("operator", "revoke", "ivan")
    assert ann.refused("--profile", "bot", "send", "there@bens", "x")[0] == 122


def test_a_joined_host_is_renewed_by_the_one_that_let_it_in(ann: User, enrolled: User) -> None:
    def certificate() -> bytes:
        return (enrolled.folder / "s" / "identity" / "membership").read_bytes()

    before = certificate()
    assert "machine: service renewed" in enrolled.upkeep()
    assert certificate() != before
    assert {"ann", "bens"} <= {each["name"] for each in ann.json("hosts")}  # type: ignore[attr-defined]


def test_everywhere_shows_every_host_and_since_when_one_is_gone(ann: User, enrolled: User) -> None:
    """R39."""
    found = {each["host"]: each for each in ann.json("ls", "--everywhere")}  # type: ignore[attr-defined]
    assert [each["name"] for each in found["bens"]["sessions"]] == ["there"] and found["bens"]["proof_age_s"] < 30
    enrolled.said("host", "down")
    try:
        text = ann.said("ls", "--everywhere")
        assert "bens  unreachable since 2" in text and "may be running" in text
        assert "build" in text
    finally:
        enrolled.said("host", "up")


def test_the_owner_of_a_machine_takes_it_out_of_a_tenant(ann: User, enrolled: User) -> None:
    enrolled.said("host", "leave")
    eventually(lambda: "bens  unreachable" in ann.said("ls", "--everywhere"))
    assert enrolled.session("there")["state"] == "running"


# ---- the record ------------------------------------------------------------------------------------------------------


def test_an_auditor_elsewhere_reads_the_record_and_nothing_else(ann: User, ben: User, tmp_path: Path) -> None:
    """R76: reading the record is a right of its own, also through a relay; nobody else's right gives it."""
    ann.said("send", "build", "what is on record\n")
    ben.joins(ann.invited("olga", "--kind", "human", "--audit"), "olga")
    ben.joins(ann.invited("ivy", "--kind", "human", "--operate"), "ivy")
    assert "what is on record" in ben.said("--profile", "olga", "log", "build@ann")
    evidence = tmp_path / "evidence"
    ben.said("--profile", "olga", "log", "build@ann", "--export", str(evidence))
    ben.said("verify", str(evidence))
    for words in (("view", "build@ann"), ("send", "build@ann", "x\n"), ("attach", "build@ann"), ("kill", "build@ann")):
        status, why = ben.refused("--profile", "olga", *words)
        assert status in (121, 122), (words, why)
    assert ben.refused("--profile", "ivy", "log", "build@ann")[0] in (121, 122)
    assert "ready" in ben.said("--profile", "ivy", "view", "build@ann")


# ---- one's own keys, and a relay of one's own --------------------------------------------------------------------------


def test_up_runs_a_relay_links_the_host_and_changes_nothing_the_second_time() -> None:
    with User() as user:
        first = user.json("up", "--listen", "127.0.0.1:0")
        assert first["link"] == "up" and first["started"] and "this machine alone" in first["reach"]  # type: ignore[index]
        again = user.json("up", "--no-code")
        same = ("url", "pid", "host")
        assert [again[name] for name in same] == [first[name] for name in same]  # type: ignore[index]
        assert (again["started"], again["code"]) == (False, None)  # type: ignore[index]
        user.new("work", ECHO)
        with User() as device:
            device.joins(first["code"], "desk")  # type: ignore[index]
            device.said("send", "work@desk", "from my desk")
            end(int(first["pid"]))  # type: ignore[index]
            os.kill(user.status()["pid"], signal.SIGUSR1)  # look after things now, not in some seconds
            eventually(lambda: device.hold("ls", "@desk").returncode == 0, 30)  # the host starts it again
        assert user.json("up", "--no-code")["url"] == first["url"]  # type: ignore[index]
        moved = user.json("up", "--no-code", "--listen", "127.0.0.1:0")
        assert list(user.json("host", "link")["relays"]) == [moved["url"]] != [first["url"]]  # type: ignore[index]
        user.said("up", "--stop")
        assert user.json("host", "link")["relays"] == {}  # type: ignore[index]


def test_the_root_is_sealed_and_taken_away_without_the_passphrase_in_any_argument(tmp_path: Path) -> None:
    with User() as user:
        assert user.json("key")["root"] == "plain"  # type: ignore[index]
        assert user.refused("key", "seal")[0] == 122  # no terminal to ask at
        reading, writing = os.pipe()
        os.write(writing, b"correct horse battery\n")
        os.close(writing)
        done = subprocess.run(
            [*HOLD, "key", "seal", "--passphrase-fd", str(reading)], env=user.env, capture_output=True, text=True,
            pass_fds=(reading,), timeout=60,
        )  # fmt: skip
        os.close(reading)
        assert done.returncode == 0, done.stderr
        assert "under a passphrase" in user.said("key")
        user.said("key", "export", str(tmp_path / "root"))
        found = user.json("key")
        assert found["root"] == "away" and (tmp_path / "root").stat().st_mode & 0o777 == 0o600  # type: ignore[index]
        user.said("key", "renew")
        assert not (user.folder / "s" / "keys" / "default" / "root.sealed").exists()


def test_a_chosen_profile_is_used_until_another_is(ann: User, ben: User) -> None:
    ben.joins(ann.invited("kate", "--kind", "human", "--operate"), "kate")
    ben.said("profile", "use", "kate")
    try:
        assert "build" in [each["name"] for each in ben.json("ls", "@ann")]  # type: ignore[attr-defined]
        chosen = [each["name"] for each in ben.json("profile", "ls") if each["chosen"]]  # type: ignore[attr-defined]
        assert chosen == ["kate"] and ben.json("key")["profile"] == "kate"  # type: ignore[index]
    finally:
        ben.said("profile", "use", "default")
    assert ben.refused("profile", "use", "nosuch")[0] == 122
    ben.said("profile", "forget", "kate")
    assert "kate" not in ben.said("profile", "ls")
