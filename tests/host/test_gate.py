"""The gate on a real host: what an AI operator may not, or not without a person, at real programs (R66, R67, R76)."""

import asyncio
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast as hf
from holdfast.client import ai as own_ai
from holdfast.client.approvals import Proposal
from holdfast.client.connection import Connection
from holdfast.core.errors import (
    AlreadyDecided,
    Denied,
    HoldError,
    LineBusy,
    MayNotDecide,
    NeedsApproval,
    NoSuchProposal,
    NotYourTurn,
    Paused,
    TooFast,
    TooMany,
    WrongDigest,
)
from holdfast.core.grants import Capability
from holdfast.core.journal import Record, decoded
from holdfast.testing import HOLD, TemporaryHost
from holdfast.wire import messages as wire
from holdfast.wire.framing import client_inbox, framed
from tests.host.operators import house, people
from tests.remote.places import story

# Reads raw and writes down every byte that reached it.
READER = (sys.executable, "-c", """
import os, sys, tty
tty.setraw(0)
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(1, b"ready\\r\\n")
while data := os.read(0, 65536):
    os.write(out, data)
""")  # fmt: skip
SHELL = ("env", "PS1=$ ", "bash", "--norc", "--noprofile")
ASK = "[class.ai]\ndefault = 'ask'\nkeys = 'ask'\n"


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with house() as made:
        yield made


@pytest.fixture
def own_host() -> Iterator[TemporaryHost]:
    with house() as made:
        yield made


def policy(host: TemporaryHost, text: str) -> None:
    """Put ``text`` in force, at once and as a whole."""
    new = host.folder / "policy.new"
    new.write_text(text)
    new.chmod(0o600)
    os.replace(new, host.folder / "policy.toml")


async def until(file: Path, data: bytes, within_s: float = 20) -> bytes:
    """Return what ``file`` holds, once that has ``data`` in it."""
    async with asyncio.timeout(within_s):
        while True:
            found = file.read_bytes() if file.exists() else b""
            if data in found:
                return found
            await asyncio.sleep(0.02)  # a file of another program has no event here


async def shown(session: hf.Session, text: str, within_s: float = 20) -> str:
    """Return the screen once ``text`` is on it."""
    async with asyncio.timeout(within_s):
        while text not in (seen := str(await session.text(history=200))):
            await asyncio.sleep(0.05)  # the screen has no event of its own for one who is not attached
        return seen


async def reader(person: hf.Client, host: TemporaryHost, name: str) -> tuple[hf.Session, Path]:
    out = host.folder / f"{name}.bytes"
    session = await person.open(name, argv=(*READER, str(out)), cwd="/")
    await shown(session, "ready")
    return session, out


def records(host: TemporaryHost, session: hf.Session, kind: str) -> list[Record]:
    with Connection(host.socket) as here:
        found = here.ask(wire.ReadJournal(here.ref(), session.id, 0, 1000), wire.Records).records
    return [record for each in found if (record := decoded(each)).kind == kind]


async def held(session: hf.Session, data: str | bytes) -> NeedsApproval:
    with pytest.raises(NeedsApproval) as raised:
        await session.send(data)
    return raised.value


async def run(session: hf.Session, line: str, key: str = "") -> wire.Ran:
    ask = wire.Run(
        session._ref(),
        session.id,
        line,
        key or line,
        20.0,
        term=session.seen.term,
        basis=wire.Basis(session.seen.input),
    )
    ran: wire.Ran = await session._ask(ask, wire.Ran)
    return ran


async def only(session: hf.Session) -> Proposal:
    (found,) = await session.proposals()
    return found


def test_without_a_policy_an_ai_acts_as_its_grants_say(host: TemporaryHost) -> None:
    async def told() -> None:
        policy(host, "")
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "free")
            await (await ai.attach("free")).send("x\x1b[A")
            assert await until(out, b"x\x1b[A") == b"x\x1b[A"
            await mine.kill()

    story(told())


def test_what_is_denied_leaves_no_byte(host: TemporaryHost) -> None:
    """Promise G1: input, signal and size, for whoever the rule is about and for nobody else; each is on record."""

    async def told() -> None:
        policy(host, "[[deny]]\nwho = 'ai'\nwhy = 'hands off'\n")
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "denied")
            theirs = await ai.attach("denied")
            for act in (theirs.send("bytes"), theirs.send(b"\x03"), theirs.signal(signal.SIGTERM), theirs.resize(9, 9),
                        theirs.propose("more bytes")):  # fmt: skip
                with pytest.raises(Denied, match="hands off"):
                    await act
            await mine.send("mark")
            assert await until(out, b"mark") == b"mark"
            assert (await mine.info()).size == wire.Size(24, 80) and (await mine.info()).ending is None
            denied = records(host, mine, "denied")
            assert [each.body["verb"] for each in denied] == ["input", "input", "signal", "resize", "input"]
            assert all(each.operator.startswith("o-") and each.body["on_behalf_of"] for each in denied)
            assert await mine.proposals(99) == ()
            await mine.kill()

    story(told())


def test_what_was_approved_is_typed_by_the_host_once_and_as_it_was_shown(host: TemporaryHost) -> None:
    """Promise G2, Promise G3."""

    async def told() -> None:
        policy(host, ASK)
        async with people(host, "ai", "ai2") as (person, ai, other):
            mine, out = await reader(person, host, "approved")
            theirs = await ai.attach("approved")
            error = await held(theirs, "\x1b:wq\r")
            waits = await only(mine)
            assert (waits.id, waits.data, waits.info.kind) == (error.details["proposal"], b"\x1b:wq\r", "ai")
            assert waits.info.on_behalf_of and waits.info.cwd == "/" and waits.info.holds
            assert waits.digest.hex() == error.details["digest"]
            with pytest.raises(WrongDigest):
                await waits.approve(digest=bytes(32))
            for nobody in (ai, other):  # its own AI, and another one of the same person
                (seen,) = await (await nobody.attach("approved")).proposals()
                for act in (seen.approve(), seen.deny()):
                    with pytest.raises(MayNotDecide):
                        await act
            assert (await only(mine)).state == "proposed"
            waiting = asyncio.ensure_future((await theirs.proposal(error)).decided(timeout=20))
            done = await waits.approve("looks well")
            assert (done.state, done.info.outcome, done.info.written) == ("executed", "applied", 5)
            assert (await waiting).state == "executed"
            again = await waits.approve()
            assert again.info.position == done.info.position
            with pytest.raises(AlreadyDecided):
                await waits.deny()
            await mine.send("mark")
            assert await until(out, b"mark") == b"\x1b:wq\rmark"
            (typed, _) = records(host, mine, "input")
            assert typed.operator == waits.info.operator and typed.body["proposal"] == waits.id
            assert [(each.body["verdict"], each.operator.partition(":")[0]) for each in records(host, mine, "decision")] == [
                ("approve", "local"), ("executed", "host")
            ]  # fmt: skip
            await mine.kill()

    story(told())


def test_a_decision_about_what_is_no_longer_so_types_nothing(host: TemporaryHost) -> None:
    """Promise G3: somebody else typed, or another program is in the foreground."""

    async def told() -> None:
        policy(host, ASK)
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "stale")
            theirs = await ai.attach("stale")
            await held(theirs, "approved too late")
            waits = await only(mine)
            await mine.send("moved\r")
            assert not (await only(mine)).info.holds
            await mine.release()
            assert (await waits.approve()).state == "stale"
            assert (await waits.approve()).state == "stale"
            await mine.send("mark")
            assert await until(out, b"mark") == b"moved\rmark"
            await mine.kill()
            mine = await person.open("stale2", argv=SHELL, cwd="/")
            await shown(mine, "$")
            await held(await ai.attach("stale2"), "echo hello > /dev/null\r")
            waits = await only(mine)
            await mine.signal(signal.SIGCONT)
            os.kill((await mine.info()).root_pid, signal.SIGCONT)
            assert (await waits.approve()).state == "executed"
            await mine.kill()

    story(told())


def test_an_approval_takes_control_from_nobody(host: TemporaryHost) -> None:
    async def told() -> None:
        policy(host, "[class.ai]\nkeys = 'ask'\n")
        async with people(host, "ai", "ai2") as (person, ai, other):
            mine, out = await reader(person, host, "turns")
            await held(await ai.attach("turns"), "one")
            waits = await only(mine)
            theirs = await other.attach("turns")
            await theirs.take("work")
            with pytest.raises(NotYourTurn):
                await waits.approve()
            await theirs.release()
            await mine.pause_ai()
            with pytest.raises(Paused):
                await waits.approve()
            await mine.resume_ai()
            await mine.send("half")
            assert (await only(mine)).state == "proposed"
            with pytest.raises(LineBusy):
                await waits.approve()
            await mine.send("\r")
            assert (await waits.approve()).state == "stale"
            assert await until(out, b"half\r") == b"half\r"
            await mine.kill()

    story(told())


def test_denied_withdrawn_or_not_decided_in_time_it_is_over(host: TemporaryHost) -> None:
    async def told() -> None:
        policy(host, ASK + "[proposals]\nexpire_s = 1\n")
        async with people(host, "ai", "ai2") as (person, ai, other):
            mine, out = await reader(person, host, "over")
            theirs = await ai.attach("over")
            error = await held(theirs, "late")
            late = await theirs.proposal(error)
            assert (await late.decided(timeout=20)).state == "expired"
            policy(host, ASK)
            error = await held(theirs, "no")
            assert (await (await only(mine)).deny("not now")).state == "denied"
            told_why = await (await theirs.proposal(error)).decided()
            assert (told_why.state, told_why.info.answer) == ("denied", "not now")
            error = await held(theirs, "back")
            with pytest.raises(NoSuchProposal):
                await (await (await other.attach("over")).proposal(error)).withdraw()
            assert (await (await theirs.proposal(error)).withdraw()).state == "withdrawn"
            waits = await only(mine) if await mine.proposals() else None
            assert waits is None
            states = [each.state for each in await mine.proposals(99)]
            assert states == ["expired", "denied", "withdrawn"]
            with pytest.raises(AlreadyDecided):
                await (await mine.proposal(late.id)).approve()
            await mine.send("mark")
            assert await until(out, b"mark") == b"mark"
            await mine.kill()

    story(told())


def test_an_approval_can_reach_to_the_same_again_or_to_a_prefix(host: TemporaryHost) -> None:
    """Promise G5."""

    async def told() -> None:
        policy(host, ASK)
        async with people(host, "ai", "ai2") as (person, ai, other):
            mine = await person.open("grants", argv=SHELL, cwd="/")
            await shown(mine, "$")
            theirs = await ai.attach("grants")
            await held(theirs, "echo a-$((1+1))\r")
            assert (await (await only(mine)).approve(for_session=True)).state == "executed"
            await shown(mine, "a-2")
            await theirs.send("echo a-$((1+1))\r")
            await held(theirs, "echo b x\r")
            with pytest.raises(HoldError, match="begins with these words"):
                await (await only(mine)).approve(prefix="printf")
            assert (await (await only(mine)).approve(prefix="echo b")).state == "executed"
            await shown(mine, "b x")
            await theirs.send("echo b y\r")
            await shown(mine, "b y")
            await held(theirs, "echo c\r")
            await (await only(mine)).deny()
            await theirs.release()
            await held(await other.attach("grants"), "echo b z\r")
            await mine.kill()

    story(told())


def test_a_first_use_is_asked_about_and_then_known(host: TemporaryHost) -> None:
    async def told() -> None:
        policy(host, "[class.ai]\nfirst_use = 'ask'\n")
        async with people(host, "ai") as (person, ai):
            mine = await person.open("first", argv=SHELL, cwd="/")
            await shown(mine, "$")
            theirs = await ai.attach("first")
            await held(theirs, "expr 40 + 2\r")
            assert (await (await only(mine)).approve()).state == "executed"
            await shown(mine, "42")
            await theirs.send("expr 40 + 3\r")
            await shown(mine, "43")
            await mine.kill()

    story(told())


def test_a_proposal_outlives_the_host(own_host: TemporaryHost) -> None:
    """Promise G3: asked of one host, approved at the next, typed once."""
    host = own_host

    async def told() -> None:
        policy(host, ASK)
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "restart")
            theirs = await ai.attach("restart")
            await held(theirs, "kept")
            waits = await only(mine)
            host.kill()
            host.start()
            after = await only(mine)
            assert (after.id, after.digest, after.data) == (waits.id, waits.digest, b"kept") and after.info.holds
            assert (await after.approve()).state == "executed"
            host.kill()
            host.start()
            assert [each.state for each in await mine.proposals(9)] == ["executed"]
            assert (await after.approve()).state == "executed"
            await mine.send("mark")
            assert await until(out, b"mark") == b"keptmark"
            await mine.kill()

    story(told(), within_s=120)


def test_a_host_that_dies_between_decision_and_typing_types_nothing_later(own_host: TemporaryHost) -> None:
    """Promise G3, R74: the program did not read, so what was approved stood behind a full terminal; the next host says stale."""
    host = own_host
    slow = (sys.executable, "-c", (
        "import os,signal,sys,tty\nsignal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGUSR1])\ntty.setraw(0)\n"
        "os.write(1,b'ready\\r\\n')\nsignal.sigwait([signal.SIGUSR1])\n"
        "out=os.open(sys.argv[1],os.O_WRONLY|os.O_CREAT|os.O_APPEND)\nwhile data:=os.read(0,65536): os.write(out,data)\n"
    ))  # fmt: skip

    async def told() -> None:
        policy(host, ASK)
        async with people(host, "ai") as (person, ai):
            out = host.folder / "slow.bytes"
            mine = await person.open("slow", argv=(*slow, str(out)), cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("slow")
            await held(theirs, "x" * 16000)
            first = await only(mine)
            await held(theirs, "second")
            second = (await mine.proposals())[-1]
            assert (await first.approve()).state in ("approved", "executed")
            assert (await second.approve()).state == "approved"
            host.kill()
            host.start()
            states = {each.id: each.state for each in await mine.proposals(9)}
            assert states[second.id] == "stale", states
            os.kill((await mine.info()).root_pid, signal.SIGUSR1)
            await mine.send("mark")
            assert b"second" not in await until(out, b"mark")
            await mine.kill()

    story(told(), within_s=120)


def test_who_may_only_propose_has_its_input_held(own_host: TemporaryHost) -> None:
    host = own_host

    async def told() -> None:
        policy(host, "")
        await asyncio.to_thread(own_ai.allow, "ai", own_ai.Limits(Capability.PROPOSE), path=host.socket)
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "proposer")
            theirs = await ai.attach("proposer")
            await held(theirs, "please")
            with pytest.raises(HoldError) as no:
                await theirs.signal(signal.SIGTERM)
            assert no.value.code == "forbidden"
            asked = await theirs.propose("and this", "because")
            assert asked.info.only_proposes and asked.info.why == "because"
            first, second = await mine.proposals()
            with pytest.raises(MayNotDecide):
                await second.approve(for_session=True)
            with pytest.raises(HoldError) as no:
                await (await theirs.proposals())[0].approve()
            assert no.value.code == "forbidden"
            assert (await first.approve()).state == "executed"
            assert (await second.approve()).state == "executed"
            assert await until(out, b"and this") == b"pleaseand this"
            await mine.kill()

    story(told())


def test_what_waits_is_bounded_and_so_is_how_fast_it_comes(host: TemporaryHost) -> None:
    async def told() -> None:
        policy(host, ASK + "[proposals]\npending_max = 2\nper_minute = 1\n")
        async with people(host, "ai") as (person, ai):
            mine, _ = await reader(person, host, "bounds")
            theirs = await ai.attach("bounds")
            await held(theirs, "one")
            await held(theirs, "two")
            with pytest.raises(TooMany):
                await theirs.send("three")
            with pytest.raises(TooFast):
                for _ in range(20):
                    await (await mine.proposals())[0].deny()
                    await held(theirs, "more")
            assert len(records(host, mine, "proposal")) <= 6
            await mine.kill()

    story(told())


def test_a_policy_that_cannot_be_read_stops_everybody_but_people(host: TemporaryHost) -> None:
    """Promise G4: and it is said."""

    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            policy(host, "")
            mine, out = await reader(person, host, "broken")
            theirs = await ai.attach("broken")
            policy(host, "[[deny]]\nprogramm = 'rm'\n")
            await held(theirs, "x")
            await mine.send("mark\r")
            assert await until(out, b"mark") == b"mark\r"
            assert any("deny[0].programm" in note for note in (await person.status()).notes)
            policy(host, "")
            (host.folder / "policy.toml").chmod(0o666)
            await mine.release()
            while not any("others than you" in note for note in (await person.status()).notes):
                pass  # a millisecond at most: what was looked at so lately is not looked at again
            await theirs.who()
            error = await held(theirs, "y")
            assert "others than you can write it" in error.details["reason"]
            policy(host, "")
            await theirs.send("z")
            await mine.kill()

    story(told())


def script(host: TemporaryHost, text: str) -> str:
    path = host.folder / "asked"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_program_of_ones_own_is_asked_and_silence_is_no(host: TemporaryHost) -> None:
    """R67: allow, deny, hold; in order; it cannot allow what a rule denies, and what goes wrong is held."""

    async def told() -> None:
        says = script(host, (
            "import json,sys,time\nask=json.load(sys.stdin)\ntext=ask['text']\n"
            "assert ask['operator']['kind']=='ai' and ask['session']['name']=='exec' and ask['verb'] in ('input','signal')\n"
            "if 'slow' in text: time.sleep(60)\n"
            "if 'die' in text: sys.exit(3)\n"
            "if 'odd' in text: print('what?'); sys.exit(0)\n"
            "if 'wait' in text: time.sleep(0.3)\n"
            "print(json.dumps({'decision': 'deny' if 'bad' in text or ask['signal'] else 'ask' if 'hm' in text else 'allow',"
            " 'why': 'because'}))\n"
        ))  # fmt: skip
        policy(host, f"[exec]\ncommand = ['{says}']\ntimeout_s = 5\n")
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "exec")
            theirs = await ai.attach("exec")
            await asyncio.gather(*(theirs.send(each) for each in ("wait 1,", "2,", "3,")))
            with pytest.raises(Denied, match="because"):
                await theirs.send("bad")
            with pytest.raises(Denied, match="because"):
                await theirs.signal(signal.SIGTERM)
            await held(theirs, "hm")
            for odd in ("die", "odd"):
                await held(theirs, odd)
            policy(host, f"[exec]\ncommand = ['{says}']\ntimeout_s = 0.5\n")
            error = await held(theirs, "slow")
            assert "did not answer" in error.details["reason"]
            policy(host, f"[exec]\ncommand = ['{says}']\n[[deny]]\nwho='ai'\n")
            with pytest.raises(Denied):
                await theirs.send("fine")
            policy(host, "[exec]\ncommand = ['/does/not/exist']\n")
            await held(theirs, "gone")
            await mine.send("mark")
            assert await until(out, b"mark") == b"wait 1,2,3,mark"
            await mine.kill()

    story(told())


def test_two_who_submit_at_once_are_noted_and_serialised(host: TemporaryHost) -> None:
    """R66: the default does both in one order and says so; a policy may ask instead."""

    async def told() -> None:
        policy(host, "[conflict]\nwindow_s = 60\n")
        async with people(host, "ai") as (person, ai):
            mine, out = await reader(person, host, "conflict")
            theirs = await ai.attach("conflict")
            await theirs.send("one\r")
            await theirs.send("one more\r")
            assert records(host, mine, "conflict") == []
            await mine.send("two\r")
            await mine.release()
            (noted,) = records(host, mine, "conflict")
            assert noted.body["first"].startswith("o-") and noted.body["then"].startswith("local:")
            assert await until(out, b"two") == b"one\rone more\rtwo\r"
            policy(host, "[conflict]\nwindow_s = 60\neffect = 'ask'\n")
            await theirs.who()
            error = await held(await ai.attach("conflict"), "three\r")
            assert error.details["rule"] == "conflict"
            await mine.kill()

    story(told())


def test_a_program_inside_decides_nothing(host: TemporaryHost) -> None:
    """Nobody in the session approves what waits there, whatever it says of itself."""

    async def told() -> None:
        policy(host, ASK)
        async with people(host, "ai") as (person, ai):
            mine = await person.open("inside", argv=SHELL, cwd="/", env=host.env | {"PS1": "$ "})
            await shown(mine, "$")
            theirs = await ai.attach("inside")
            waits = await theirs.propose("echo never\r")
            out = host.folder / "said"
            await mine.send(
                f"{' '.join(HOLD)} approve inside {waits.id} --hash {waits.digest.hex()} >{out} 2>&1; echo $? >{out}.s\r"
            )
            status = await until(host.folder / "said.s", b"\n", 60)
            assert status.strip() == b"122", out.read_text()
            assert "only a person decides" in out.read_text()
            await mine.kill()

    story(told(), within_s=90)


def test_a_command_that_is_run_passes_the_same_gate(host: TemporaryHost) -> None:
    async def told() -> None:
        policy(
            host, "[class.ai]\ndefault = 'ask'\n[[allow]]\nwho='ai'\nprogram = 'expr'\n[[deny]]\nprogram = 'touch'\n"
        )
        async with people(host, "ai") as (person, ai):
            mine = await person.open("runs", argv=("bash",), cwd="/", env=host.env)
            theirs = await ai.attach("runs")
            mark = host.folder / "touched"
            with pytest.raises(Denied):
                await run(theirs, f"touch {mark}")
            assert (await run(theirs, "expr 40 + 2")).outcome == "started"
            with pytest.raises(NeedsApproval) as needs:
                await run(theirs, "printf '%s\\n' h''eld", key="k")
            with pytest.raises(NeedsApproval) as again:  # asked again under its key, it is the same proposal
                await run(theirs, "printf '%s\\n' h''eld", key="k")
            assert again.value.details == needs.value.details
            assert (await (await only(mine)).approve()).state == "executed"
            await shown(mine, "held")
            with pytest.raises(AlreadyDecided):
                await run(theirs, "printf '%s\\n' h''eld", key="k")
            assert not mark.exists()
            await mine.kill()

    story(told())


def test_a_client_cannot_take_the_name_under_which_the_host_types(host: TemporaryHost) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(host.socket)
        line.sendall(framed(wire.Hello(wire.PROTOCOL, "proposal:1", "cli")))
        inbox, heard = client_inbox(), list[wire.ToClient]()
        while data := line.recv(65536):
            heard += inbox.receive(data)
    (failed,) = heard
    assert isinstance(failed, wire.Failed) and failed.code == "bad-message" and "proposal:" in failed.message
