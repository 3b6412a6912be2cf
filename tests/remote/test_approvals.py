"""The gate for whoever comes from elsewhere: an AI operator and a guest behind a relay, a person who approves from a third
machine; all of it signed, and on record with the signatures (R57, R67, R68, I7, I8)."""

import json
from collections.abc import Iterator

import pytest

from holdfast.client.connection import Connection
from holdfast.core.journal import Record, decoded
from holdfast.wire import messages as wire
from holdfast.wire import signing
from tests.faces.test_people import User
from tests.remote.places import World

CAT = ("sh", "-c", "stty raw -echo; echo ready; exec cat -v")


@pytest.fixture(scope="module")
def box() -> Iterator[World]:
    world = World()
    world.env["HOLDFAST_CONFIG"] = str(world.folder / "host.toml")
    policy = world.folder / "policy.toml"
    policy.write_text("[class.ai]\nkeys = 'ask'\n")
    policy.chmod(0o600)
    with world:
        yield world


@pytest.fixture
def other() -> Iterator[User]:
    with User() as user:
        yield user


def records(world: World, session: str, kind: str) -> list[Record]:
    with Connection(world.socket) as here:
        found = here.ask(wire.ReadJournal(here.ref(), session, 0, 1000), wire.Records).records
    return [record for each in found if (record := decoded(each)).kind == kind]


def signed(record: Record) -> bool:
    """Whether the record carries its operator's signature of what it asked for."""
    signing.verify(record.key, record.statement, record.signature)
    return True


def one(world: World, session: str) -> dict[str, object]:
    (found,) = json.loads(world.away.hold("approvals", f"{session}@box", "--json").stdout)
    return dict(found)


def test_an_ai_elsewhere_is_held_and_a_person_elsewhere_approves(box: World, other: User) -> None:
    """Promise G2, Promise G3: through a relay, from both sides."""
    box.run_in("robots", *CAT)
    code = box.hold("operator", "add", "robot", "--kind", "ai", "--operate")
    assert code.returncode == 0, code.stderr
    other.joins(code.stdout, "robot")
    status, why = other.refused("--profile", "robot", "send", "robots@box", "beep\x1b")
    assert status == 122 and "needs a person's approval (class.ai.keys" in why, why
    waits = one(box, "robots")
    assert (waits["kind"], waits["shown"]) == ("ai", "beep^[") and waits["on_behalf_of"]
    number = str(waits["id"])
    own = other.refused("--profile", "robot", "approve", "robots@box", number, "--hash", str(waits["digest"]))
    assert own[0] == 122 and "only a person decides" in own[1]
    done = box.away.hold("approve", "robots@box", number, "--hash", str(waits["digest"]), "--why", "ok")
    assert done.returncode == 0 and "is executed: applied, 5 bytes" in done.stderr, done.stderr
    assert box.output("robots") == b"ready\nbeep^["
    (proposal,) = records(box, "robots", "proposal")
    approval, executed = records(box, "robots", "decision")
    assert signed(proposal) and signed(approval) and proposal.key != approval.key
    assert (approval.body["digest"], executed.operator) == (proposal.body["digest"], "host")
    export = str(box.folder / "robots.export")
    assert box.hold("log", "robots", "--export", export).returncode == 0
    verified = box.hold("verify", export)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    told = box.hold("log", "robots").stdout
    assert "proposed input beep^[" in told and f"approved proposal {number}" in told, told
    (typed,) = records(box, "robots", "input")
    assert (typed.operator, typed.body["proposal"]) == (proposal.operator, proposal.position)


def test_a_guest_who_may_propose_types_nothing_and_is_heard(box: World, other: User) -> None:
    """Promise G10: a link with --propose; what the guest sends waits, and what it was not let do is refused as before."""
    box.run_in("guests", *CAT)
    link = box.hold("share", "guests", "--propose", "--for", "10m").stdout.strip()
    place = other.said("join", "-", data=link).split()[-1].partition("@")[2]
    status, why = other.refused("send", f"guests@{place}", "please")
    assert status == 122 and "needs a person's approval (propose" in why, why
    made = json.loads(other.said("propose", f"guests@{place}", "--why", "because", "--json", "--", "make"))
    assert made["only_proposes"] and made["kind"] == "guest"
    assert other.refused("approve", f"guests@{place}", str(made["id"]), "--hash", made["digest"])[0] == 122
    assert other.refused("kill", f"guests@{place}")[0] == 122
    first, second = json.loads(box.hold("approvals", "guests", "--json").stdout)
    assert box.hold("deny", "guests", str(first["id"]), "--hash", first["digest"]).returncode == 0
    widened = box.hold("approve", "guests", str(second["id"]), "--hash", second["digest"], "--this-session")
    assert widened.returncode == 122 and "may only propose" in widened.stderr
    assert box.hold("approve", "guests", str(second["id"]), "--hash", second["digest"]).returncode == 0
    assert box.output("guests") == b"ready\nmake^M"
    assert all(signed(each) for each in records(box, "guests", "proposal"))
