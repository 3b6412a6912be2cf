"""Who may type now, on a real host: a person and AI operators by their own keys, at real programs (R58 to R62, I10)."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import pytest

import holdfast as hf
from holdfast.core.errors import (
    HoldError,
    LineBusy,
    NoControl,
    NotYourTurn,
    Paused,
    Private,
    StaleBasis,
    StaleTerm,
    Timeout,
    TooFast,
)
from holdfast.testing import TemporaryHost
from tests.host.operators import house, people
from tests.remote.places import story

CAT = ("sh", "-c", "stty -echo; echo ready; cat")


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with house() as made:
        yield made


async def shown(session: hf.Session, text: str, within_s: float = 20) -> str:
    """Return the screen once ``text`` is on it."""
    async with asyncio.timeout(within_s):
        while True:
            seen = await session.text(history=200)
            if text in str(seen):
                return str(seen)
            await asyncio.sleep(0.05)  # the screen has no event of its own for one who is not attached


def test_an_ai_claims_a_free_line_and_a_person_who_types_takes_it(host: TemporaryHost) -> None:
    """R59, R61: and everybody attached is told, in order and by name."""

    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("claim", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("claim")
            await theirs.send("from the ai\r")
            await shown(mine, "from the ai")  # read by the program: what is not, a takeover throws away
            here = await mine.who()
            assert (here.control.state, here.control.kind) == ("held", "ai")
            assert here.control.on_behalf_of
            await mine.send("from a person\r")
            here = await mine.who()
            assert (here.control.state, here.control.kind) == ("held", "human")
            with pytest.raises(NotYourTurn) as no:
                await theirs.send("again\r")
            assert no.value.details["kind"] == "human"
            text = await shown(mine, "from a person")
            assert "from the ai" in text and "again" not in text
            await mine.kill()

    story(told())


def test_control_goes_from_an_ai_to_a_person_and_back_in_one_execution(host: TemporaryHost) -> None:
    """R60: the same process throughout, and three changes, each by name."""

    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("hands", argv=CAT, cwd="/")
            await shown(mine, "ready")
            root = mine.last.root_pid
            async with mine:
                theirs = await ai.attach("hands")
                await theirs.send("one\r")
                await shown(mine, "one")
                taken = await mine.take("let me see")
                await mine.send("two\r")
                ai_id = (await mine.who()).attached  # nobody else is attached: the AI only types
                assert len(ai_id) == 1
                with pytest.raises(NotYourTurn):
                    await theirs.take()
                await theirs.request("the tests are not done")
                asked = (await mine.who()).asked
                assert [each.why for each in asked] == ["the tests are not done"]
                given = await mine.give(asked[0].operator)
                with pytest.raises(StaleTerm):
                    await theirs.send("unseen\r")
                await theirs.text()  # looks again
                await theirs.send("three\r")
                text = await shown(mine, "three")
                assert [word for word in ("one", "two", "three", "unseen") if word in text] == ["one", "two", "three"]
                assert (await mine.info()).root_pid == root
                assert taken.control.term < given.control.term
                acts = []
                async for event in mine.events():
                    if isinstance(event, hf.Happened) and event.kind == "control":
                        acts.append((event.body["act"], event.operator.partition(":")[0][:2], event.body.get("kind")))
                        if event.body["act"] == "give":
                            break
                acts = [each for each in acts if each[0] != "cut"]
                assert [each[0] for each in acts] == ["claim", "take", "request", "give"]
                assert [each[2] for each in acts if each[0] != "request"] == ["ai", "human", "ai"]
            await mine.kill()

    story(told())


def test_a_half_typed_line_of_an_ai_is_taken_off_the_prompt(host: TemporaryHost) -> None:
    """R62: it is cleared, not continued by the person's keys; the record says so."""

    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("half", argv=("bash", "--norc", "-i"), cwd="/")
            await shown(mine, "$")
            theirs = await ai.attach("half")
            await theirs.send("echo dang")
            await shown(mine, "echo dang")
            taken = await mine.take()
            assert taken.cleared
            await mine.send("echo $((6*7))\r")
            assert "dang" not in (await shown(mine, "42")).splitlines()[-2]
            await mine.kill()

    story(told())


def test_a_half_typed_line_in_the_terminals_own_editor_is_thrown_away(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("canon", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("canon")
            await theirs.send("half of the ai ")
            taken = await mine.take()
            assert taken.cleared
            await mine.send("all of mine\r")
            assert "half" not in await shown(mine, "all of mine")
            await mine.kill()

    story(told())


@pytest.mark.parametrize(("job", "state"), [("leave", "S"), ("interrupt", ""), ("stop", "T")])
def test_the_foreground_job_is_left_interrupted_or_stopped_as_asked(host: TemporaryHost, job: str, state: str) -> None:
    """R62"""

    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open(f"job-{job}", argv=("bash", "--norc", "-i"), cwd="/")
            await shown(mine, "$")
            theirs = await ai.attach(f"job-{job}")
            await theirs.send("sleep 1000\r")
            job_pid = await foreground(mine)
            taken = await mine.take(job=job)
            assert (job_pid in taken.signalled) == (job != "leave")
            await until_state(job_pid, state)
            await mine.kill()

    story(told())


async def foreground(session: hf.Session) -> int:
    """Return the pid of the job in the foreground, once there is one besides the shell."""
    async with asyncio.timeout(20):
        while True:
            fields = stat(session.last.root_pid)
            if int(fields[5]) != session.last.root_pid:
                return int(fields[5])
            await asyncio.sleep(0.01)  # an exec is no event of ours


def stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


async def until_state(pid: int, state: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                found = stat(pid)[0]
            except OSError:
                found = ""
            if found in (state or "Z", state):
                return
            await asyncio.sleep(0.01)


def test_a_pause_keeps_ais_from_acting_and_not_from_watching(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("pause", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("pause")
            await theirs.send("before\r")
            await shown(mine, "before")
            await mine.pause_ai("lunch")
            for act in (theirs.send("during\r"), theirs.signal(signal.SIGINT), theirs.resize(10, 40), theirs.take()):
                with pytest.raises(Paused):
                    await act
            for act in (theirs.resume_ai(), theirs.give("local")):
                with pytest.raises(HoldError):
                    await act
            assert "before" in str(await theirs.text())
            await mine.send("person\r")
            await mine.resume_ai()
            await theirs.text()
            await theirs.send("after\r")
            assert "during" not in await shown(mine, "after")
            await mine.kill()

    story(told())


def test_what_is_private_no_ai_sees(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("private", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("private")
            async with theirs:
                await mine.private("a password")
                seen = [event async for event in theirs.events()]
                assert not any(isinstance(each, hf.Output) for each in seen)
            await mine.send("secret\r")
            await shown(mine, "secret")
            for ask in (theirs.text(), theirs.screen(), theirs.live(), theirs.send("x"), theirs._attached()):
                with pytest.raises(Private):
                    await ask
            with pytest.raises(Private):
                async for _ in theirs.output(0):
                    pass
            assert (await theirs.who()).control.state == "private"
            await mine.send("clear\r")
            await mine.public()
            assert await theirs.text()
            host.kill()
            host.start()  # what was private stays so
            kept = [each async for each in theirs.output(0)]
            assert b"secret" not in b"".join(each.data for each in kept if isinstance(each, hf.Output))
            assert [each.why for each in kept if isinstance(each, hf.Gap)] == ["private"]
            again = await ai.attach("private", since=hf.Cursor(mine.id, 1, 0, 0, bytes(32)))
            async for event in again.events():
                if isinstance(event, hf.Gap):
                    assert event.why == "private"
                    break
            all_of_it = b"".join([each.data async for each in mine.output(0) if isinstance(each, hf.Output)])
            assert b"secret" in all_of_it
            await mine.kill()

    story(told())


def test_an_ai_that_did_not_see_what_a_person_typed_is_refused(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("basis", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("basis")
            await mine.send("meanwhile\r")
            with pytest.raises(StaleBasis) as no:
                await theirs.send("stale\r")
            assert no.value.details["changed_by"].startswith("local:")
            await theirs.text()
            await theirs.send("fresh\r")
            assert "stale" not in await shown(mine, "fresh")
            await mine.kill()

    story(told())


def test_nobody_types_into_a_line_that_another_has_begun(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai", "ai2") as (person, ai, ai2):
            mine = await person.open("line", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs, others = await ai.attach("line"), await ai2.attach("line")
            await mine.send("half ")
            await theirs.text()
            with pytest.raises(LineBusy):
                await theirs.send("spliced\r")
            await mine.send("whole\r")
            await theirs.text()
            await theirs.send("ai line\r")
            await others.text()
            with pytest.raises(NotYourTurn):
                await others.send("second ai\r")
            text = await shown(mine, "ai line")
            assert "half whole" in text and "spliced" not in text and "second" not in text
            await mine.kill()

    story(told())


def test_an_ai_asks_and_gets_control_when_a_person_gives_it(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("asks", argv=CAT, cwd="/")
            await shown(mine, "ready")
            await mine.take()
            theirs = await ai.attach("asks")
            with pytest.raises(Timeout):
                async with theirs.control("too soon", timeout=0.2):
                    pass

            async def work() -> None:
                async with theirs.control("run the tests"):
                    await theirs.text()
                    await theirs.send("mine at last\r")

            working = asyncio.create_task(work())
            async with asyncio.timeout(20):
                while not [each for each in (await mine.who()).asked if each.why == "run the tests"]:
                    await asyncio.sleep(0.01)  # until it has asked
            await mine.give("ai")
            await working
            await shown(mine, "mine at last")
            assert (await mine.who()).control.state == "free"
            await mine.kill()

    story(told())


def test_a_program_inside_the_session_takes_and_gives_nothing(host: TemporaryHost) -> None:
    """Inside is not outside."""

    async def told() -> None:
        async with people(host) as (person,):
            script = (
                "import holdfast.sync as hf, os\n"
                f"with hf.connect({host.socket!r}, start=False) as client:\n"
                "    session = client.attach(os.environ['HOLDFAST_SESSION'])\n"
                "    for act in (session.take, session.pause_ai, session.private, lambda: session.give('local')):\n"
                "        try:\n            act(); print('DID IT')\n"
                "        except Exception as no: print('NO', getattr(no, 'code', no))\n"
                "print('done')\n"
            )
            mine = await person.open("inside", argv=(sys.executable, "-c", script), cwd="/", env=dict(os.environ))
            ended = await mine.wait(timeout=60)
            text = "".join([str(b"".join([e.data async for e in mine.output(0) if isinstance(e, hf.Output)]), "utf-8")])
            assert ended.status == 0 and "DID IT" not in text and text.count("NO no-control") >= 3, text

    story(told(), within_s=90)


def test_control_survives_the_host_and_what_was_sent_before_stays_fenced(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("survives", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("survives")
            await theirs.send("before\r")
            taken = await mine.take()
            await mine.pause_ai()
            host.kill()
            host.start()
            here = await mine.who()
            assert here.control.term >= taken.control.term
            assert (here.control.state, here.control.kind, here.control.by) == ("paused", "human", taken.control.holder)
            with pytest.raises((NotYourTurn, Paused)):
                await theirs.send("stale\r")
            await mine.resume_ai()
            await mine.release()
            await theirs.text()
            await theirs.send("after\r")
            assert "stale" not in await shown(mine, "after")
            await mine.kill()

    story(told())


def test_an_ai_that_falls_silent_loses_control_and_its_job_is_treated_as_it_asked() -> None:
    async def told(host: TemporaryHost) -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("silent", argv=("bash", "--norc", "-i"), cwd="/")
            await shown(mine, "$")
            theirs = await ai.attach("silent")
            await theirs.take(job="interrupt")
            await theirs.send("sleep 1000\r")
            job = await foreground(mine)
            async with asyncio.timeout(30):
                while (await mine.who()).control.state != "free":
                    await asyncio.sleep(0.1)
            await until_state(job, "")
            await mine.kill()

    with house("control_silent_s = 1.0\n") as host:
        story(told(host))


def test_an_ai_is_slowed_to_its_rate() -> None:
    async def told(host: TemporaryHost) -> None:
        async with people(host, "ai") as (person, ai):
            mine = await person.open("rate", argv=CAT, cwd="/")
            await shown(mine, "ready")
            theirs = await ai.attach("rate")
            with pytest.raises(TooFast):
                for number in range(20):
                    await theirs.send(f"{number}\r")
            await mine.kill()

    with house("ai_acts_per_s = 0.01\nai_acts_at_once = 5.0\n") as host:
        story(told(host))


def test_nobody_gives_control_to_somebody_who_is_not_there(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host) as (person,):
            mine = await person.open("nobody", argv=CAT, cwd="/")
            await shown(mine, "ready")
            with pytest.raises(HoldError, match="none of those who are here"):
                await mine.give("o-somebody")
            with pytest.raises(NoControl):
                await mine.take(job="explode")
            await mine.kill()

    story(told())
