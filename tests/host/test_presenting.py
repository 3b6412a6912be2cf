"""A local client that presents keys is that operator and nobody else: what it may, what is signed, what an attacker gets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import holdfast as hf
from holdfast.client import ai
from holdfast.client.acting import sealed
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store
from holdfast.core import identity
from holdfast.core.errors import HoldError
from holdfast.core.identity import operator_id
from holdfast.core.journal import decoded
from holdfast.testing import TemporaryHost
from holdfast.wire import messages as wire
from holdfast.wire.presenting import presentation
from tests.host.talk import Talk, talk


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with TemporaryHost() as one:
        one.env["HOLDFAST_WARM"] = "0"
        with one.chosen():
            one.start()
            yield one


@pytest.fixture
def keys(host: TemporaryHost) -> Store:
    return ai.ready("ai", path=host.socket).store


def presented(line: Talk, store: Store, **changed: Any) -> dict[str, Any]:
    """The fields of a presentation on this connection; ``changed``: what an attacker says instead."""
    welcome = line.hello.result()
    signed = {"host": welcome.host, "client": "c-test", "nonce": welcome.nonce} | {
        name: changed.pop(name) for name in ("host", "client", "nonce") if name in changed
    }
    return {
        "certificates": store.certificates,
        "grants": store.grant_chains(now=int(time.time())),
        "signature": store.operator.sign(presentation(**signed)),
    } | changed


@contextlib.asynccontextmanager
async def as_ai(host: TemporaryHost, store: Store) -> AsyncIterator[Talk]:
    async with talk(host) as line:  # type: ignore[arg-type]
        await line.ask(wire.Present, **presented(line, store))
        yield line


async def refused(line: Talk, kind: type[wire.Message], **fields: Any) -> str:
    with pytest.raises(HoldError) as raised:
        await line.ask(kind, **fields)
    return raised.value.code


def test_who_presents_keys_is_that_operator_and_no_longer_the_owner(host: TemporaryHost, keys: Store) -> None:
    """Promise M1."""

    async def story() -> None:
        async with talk(host, client="c-owner") as owner:  # type: ignore[arg-type]
            session = await owner.open("cat", name="mine")
            async with as_ai(host, keys) as line:
                assert [each.name for each in (await line.ask(wire.List)).sessions] == ["mine"]
                # what it does is signed, or not done
                assert await refused(line, wire.Signal, session=session.id, signal=18) == "bad-signature"
                signal = wire.Signal(99, session.id, 18)
                answer = asyncio.get_running_loop().create_future()
                line._answers[99] = answer
                line.send(sealed(signal, about=session.id, client="c-test", seq=1, pair=keys.operator, term=1))
                assert isinstance(await answer, wire.Done)
                # the rights are its own, not its user's
                for kind, more in ((wire.Kill, {}), (wire.Keep, {"for_s": 60.0}), (wire.Rename, {"name": "other"})):
                    wrapped = kind(100, session.id, *more.values())
                    line._answers[100] = asyncio.get_running_loop().create_future()
                    line.send(sealed(wrapped, about=session.id, client="c-test", seq=100, pair=keys.operator))
                    with pytest.raises(HoldError) as raised:
                        await line._answers[100]
                    assert raised.value.code == "forbidden"
                assert await refused(line, wire.HostStop) == "forbidden"
            records = (await owner.ask(wire.ReadJournal, session=session.id)).records
            [by] = [each for each in map(decoded, records) if each.kind == "signal"]
            assert by.operator == operator_id(keys.operator.key)
            assert by.key == keys.operator.key
            assert by.signature
            await owner.ask(wire.Kill, session=session.id, grace_s=0.0)

    asyncio.run(story())


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": b"n" * 16},
        {"host": "h-another"},
        {"client": "c-another"},
        {"signature": bytes(64)},
        {"certificates": ()},
    ],
    ids=["another connection", "another host", "another client", "no signature", "no certificates"],
)
def test_a_presentation_is_for_one_connection_alone(host: TemporaryHost, keys: Store, changed: dict[str, Any]) -> None:
    """Promise M1. Who fails is not let go on as the machine's user either."""

    async def story() -> None:
        async with talk(host) as line:  # type: ignore[arg-type]
            assert await refused(line, wire.Present, **presented(line, keys, **changed)) != ""
            await asyncio.wait_for(line.lost.wait(), 10)

    asyncio.run(story())


def test_it_is_said_once_and_first(host: TemporaryHost, keys: Store) -> None:
    async def story() -> None:
        async with as_ai(host, keys) as line:
            with pytest.raises(ConnectionError):
                await line.ask(wire.Present, **presented(line, keys))
        async with talk(host) as line:  # type: ignore[arg-type]
            waiting = line.begin(wire.WaitEnd, session=(await line.open("cat", name="first")).id)
            with pytest.raises(ConnectionError):
                await line.ask(wire.Present, **presented(line, keys))
            with contextlib.suppress(ConnectionError):
                await waiting
        with Connection(host.socket) as owner:
            owner.kill("first", 0)

    asyncio.run(story())


def test_another_tenants_operator_is_nobody_here(host: TemporaryHost) -> None:
    with TemporaryHost() as other:
        other.env["HOLDFAST_WARM"] = "0"
        with other.chosen():
            other.start()
            theirs = ai.ready("ai", path=other.socket).store

            async def story() -> None:
                async with talk(host) as line:  # type: ignore[arg-type]
                    assert await refused(line, wire.Present, **presented(line, theirs)) == "bad-certificate"

            asyncio.run(story())


def test_who_is_taken_back_is_cut_off_at_once_also_here(host: TemporaryHost) -> None:
    """Promise M2."""
    ready = ai.ready("goner", path=host.socket)

    async def story() -> None:
        async with hf.connect(host.socket, operator="goner", patience=1) as client, hf.connect(host.socket) as owner:
            session = await owner.open("watched", argv=["cat"])
            seen = await client.attach(session.id)
            async with seen:
                began = time.monotonic()
                done = await asyncio.to_thread(host.hold, "revoke", "goner")
                assert done.returncode == 0, done.stderr
                with pytest.raises(HoldError):
                    async for _ in seen.events():
                        pass
                    await client.sessions()
                assert time.monotonic() - began < 15
            await session.kill(grace=0)

    asyncio.run(story())
    with pytest.raises(hf.Refused, match="taken back"):
        ai.ready("goner", path=host.socket)
    again = ai.allow("goner", ai.Limits(), path=host.socket)
    assert again.id != ready.id


def test_keys_are_made_once_and_say_on_whose_behalf(host: TemporaryHost) -> None:
    """Promise M2."""
    one, other = ai.ready("twice", path=host.socket), ai.ready("twice", path=host.socket)
    assert one.id == other.id
    member = one.store.member
    assert member.kind is identity.Kind.AI
    with Connection(host.socket) as owner:
        tenant = owner.ask(wire.GetIdentity(owner.ref()), wire.Identity).tenant
    assert one.store.tenant == tenant
    person = member.certificate.on_behalf_of
    assert person and person != one.store.operator.key
    assert "twice" in host.hold("operator", "ls").stdout
    assert (
        host.hold("profile", "ls").stdout.count("twice") == 0
    )  # it is no profile of the user's: no command acts with it


def test_an_ai_with_one_session_sees_that_one(host: TemporaryHost) -> None:
    """Promise M2."""
    with Connection(host.socket) as owner:
        for name in ("its", "ours"):
            owner.ask(wire.Open(owner.ref(), ("cat",), {}, "/", wire.Size(24, 80), name), wire.Opened)
        its = next(each for each in owner.sessions() if each.name == "its")
    ai.allow("narrow", ai.Limits(sessions=(its.id,), named=("its",)), path=host.socket)

    async def story() -> None:
        async with hf.connect(host.socket, operator="narrow") as client:
            assert [each.name for each in await client.sessions()] == ["its"]
            with pytest.raises(hf.NoSuchSession):
                await client.attach("ours")
            with pytest.raises(hf.Refused):
                await client.open("more", argv=["cat"])

    asyncio.run(story())
    with Connection(host.socket) as owner:
        for name in ("its", "ours"):
            owner.kill(name, 0)


_INSIDE = """
import asyncio, sys, json
import holdfast as hf
from holdfast.client import ai
from holdfast.client.acting import Actor
from holdfast.client.channel import Channel
from holdfast.client.credentials import Store
from holdfast.client.meeting import keys_folder
from holdfast.core.errors import HoldError

async def told(client):
    found = {}
    async with client:
        for name in ("own", "other"):
            session = await client.attach(name)
            try:
                await session.rename("renamed")
                found[name] = "done"
            except HoldError as error:
                found[name] = error.code
    return found

async def main():
    found = {}
    for who, store in (("ai", lambda: ai.store("manager")), ("person", lambda: Store(keys_folder(), "default"))):
        channel = Channel(sys.argv[1], start=False, patience=5, face="test", inside="", actor=Actor(store))
        try:
            found[who] = await told(hf.Client(channel))
        except HoldError as error:
            found[who] = error.code
    with open(sys.argv[2], "w") as file:
        json.dump(found, file)

asyncio.run(main())
"""


def test_inside_a_session_nobody_becomes_a_person_nor_manages(host: TemporaryHost) -> None:
    """Promise M1: the keys of the user lie in files that a program inside can read."""
    import json
    import sys

    from holdfast.core.grants import Capability

    ai.allow("manager", ai.Limits(Capability.MANAGE), path=host.socket)
    out = host.folder / "inside.json"
    with host.connect() as owner:
        other = owner.open("other", argv=["cat"])
        own = owner.open("own", argv=[sys.executable, "-c", _INSIDE, host.socket, str(out)], env=host.env)
        assert own.wait(timeout=60).status == 0, b"".join(
            each.data for each in own.output() if isinstance(each, hf.Output)
        )
        other.kill(grace=0)
    assert json.loads(out.read_text()) == {"ai": {"own": "forbidden", "other": "forbidden"}, "person": "refused"}
