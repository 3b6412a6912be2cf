"""Notices reach a browser whose page is closed, through a real push service, and say nothing of what happened."""

import asyncio
import queue
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from holdfast.client import ai
from holdfast.client.acting import sealed
from holdfast.client.credentials import Store
from holdfast.core.errors import Refused
from holdfast.core.waiting import Waiting, Wants
from holdfast.host import postman
from holdfast.host import push as notices
from holdfast.testing import TemporaryHost
from holdfast.wire import messages as wire
from tests.host.pushes import Browser, Push, PushService, signed_by
from tests.host.talk import Talk, talk
from tests.host.test_presenting import presented

LONG = "sleep 10.2; echo secret-word"  # a shorter one is no news


class House(TemporaryHost):
    """A host with a person and an AI operator, near a push service."""

    def __init__(self, service: PushService) -> None:
        super().__init__()
        (self.folder / "host.toml").write_text('push_near = ["127.0.0.1"]\n')
        self.env |= {"SSL_CERT_FILE": str(service.ca), "HOLDFAST_WARM": "0", "PS1": "$ "}

    @property
    def person(self) -> Store:
        return Store(self.folder / "s" / "keys")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PushService]:
    with PushService(tmp_path) as one:
        yield one


@pytest.fixture
def house(service: PushService) -> Iterator[House]:
    with House(service) as one, one.chosen():
        one.start()
        ai.ready("ai", path=one.socket)
        yield one


def story(house: House, tell: Callable[[Talk, Talk], Awaitable[None]], store: Store | None = None) -> None:
    """``tell`` of the machine's user, and of somebody with keys: the person's, or ``store``'s."""

    async def run() -> None:
        async with talk(house) as local, talk(house, client="c-phone") as phone:  # type: ignore[arg-type]
            await phone.ask(wire.Present, **presented(phone, store or house.person, client="c-phone"))
            await tell(local, phone)

    asyncio.run(run())


async def subscribe(phone: Talk, service: PushService, browser: Browser, path: str = "/push/1") -> wire.Notifying:
    said: wire.Notifying = await phone.ask(
        wire.Notify, endpoint=service.address + path, key=browser.key, auth=browser.auth
    )
    assert said.why_not == ""
    return said


async def pushed(service: PushService, within_s: float = 40) -> Push:
    return await asyncio.to_thread(service.got.get, True, within_s)


def test_my_command_ended_is_told_once_and_without_a_word_of_it(house: House, service: PushService) -> None:
    """Promise R1: the whole way, and what a push service and the disk get to see."""
    browser = Browser()

    async def tell(local: Talk, phone: Talk) -> None:
        said = await subscribe(phone, service, browser)
        assert (len(said.key), said.mine) == (65, 1)
        session = await local.open("bash", name="build")
        await local.attach("build", "stream", offset=0)
        await local.until(b"133;B")  # the prompt
        await local.type("build", LONG.encode() + b"\r")
        push = await pushed(service)
        assert browser.read(push.body) == {"why": "command", "session": session.id, "host": said_host(phone)}
        assert signed_by(push, service.address) == said.key
        assert (push.path, push.headers["content-encoding"]) == ("/push/1", "aes128gcm")
        assert int(push.headers["ttl"]) > 0 and len(push.headers["topic"]) <= 32
        await local.type("build", b"echo short\r")
        await local.until(b"short\r\n")
        stopped = await phone.ask(wire.StopNotifying, endpoint=service.address + "/push/1")
        assert stopped.mine == 0

    story(house, tell)
    with pytest.raises(queue.Empty):
        service.got.get_nowait()
    kept = house.folder / "s" / "notices"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for path in (house.folder / "s").rglob("*"):  # journals, logs, whatever else there is
        if path.is_file() and path != kept:
            data = path.read_bytes()
            assert b"/push/1" not in data and browser.auth not in data and browser.key not in data, path


def said_host(phone: Talk) -> str:
    host: str = phone.hello.result().host
    return host


def test_a_program_that_asks_and_an_ai_that_proposes_call_a_person(house: House, service: PushService) -> None:
    """Promise R2: input wanted, approval wanted; who acted just now is not called for the first."""
    browser = Browser()

    async def tell(local: Talk, phone: Talk) -> None:
        await subscribe(phone, service, browser)
        asks = await local.open("sh", "-c", "printf 'name? '; read x", name="asks")
        push = await pushed(service)
        assert browser.read(push.body)["why"] == "input"
        assert browser.read(push.body)["session"] == asks.id
        assert push.headers["urgency"] == "high"
        async with talk(house, client="c-ai") as model:  # type: ignore[arg-type]
            store = ai.ready("ai", path=house.socket).store
            await model.ask(wire.Present, **presented(model, store, client="c-ai"))
            ask = wire.Propose(9000, asks.id, 1, "input", b"x\n", why="to go on")
            await signed(model, ask, asks.id, "c-ai", store)
        push = await pushed(service)
        assert browser.read(push.body)["why"] == "approval"

    story(house, tell)


def test_a_program_that_shows_its_progress_asks_once(tmp_path: Path) -> None:
    """Promise R2: what its last line says changes all the time, and it waits for the same line of input all the time."""

    class Sessions:
        id = "s-1"

    async def tell() -> None:
        push = notices.Push(Sessions(), tmp_path / "notices")  # type: ignore[arg-type]
        push._kept = {"https://a": object()}  # type: ignore[dict-item]
        asks = Waiting(Wants.LINE, 7, "sh")
        push.waits(Sessions(), asks)  # type: ignore[arg-type]
        timer = push._asked["s-1"][1]
        push.waits(Sessions(), asks)  # type: ignore[arg-type]
        assert push._asked["s-1"][1] is timer and not timer.cancelled()
        push.waits(Sessions(), Waiting(Wants.RUNNING))  # type: ignore[arg-type]
        assert timer.cancelled() and not push._asked
        push.waits(Sessions(), asks)  # type: ignore[arg-type]
        assert push._asked["s-1"][1] is not timer
        push._asked["s-1"][1].cancel()

    asyncio.run(tell())


def test_who_loses_control_is_told(house: House, service: PushService) -> None:
    """Promise R2: control taken, by the machine's own user from the person at the phone."""
    browser = Browser()

    async def tell(local: Talk, phone: Talk) -> None:
        await subscribe(phone, service, browser)
        cat = await local.open("cat", name="cat")
        await signed(phone, wire.Control(9000, cat.id, "take"), cat.id, "c-phone", house.person)
        await local.ask(wire.Control, session="cat", act="take")
        assert browser.read((await pushed(service)).body)["why"] == "control"

    story(house, tell)


async def signed(line: Talk, message: wire.Message, about: str, client: str, store: Store) -> None:
    """Ask ``message``, number 9000, with the signature of who speaks."""
    answer = line._answers[9000] = asyncio.get_running_loop().create_future()
    line.send(sealed(message, about=about, client=client, seq=time.time_ns(), pair=store.operator, term=1))
    await asyncio.wait_for(answer, 15)


def test_it_outlives_the_host_and_ends_with_the_browser(house: House, service: PushService) -> None:
    """Promise R3: subscriptions outlive a kill; one that the browser gave up is forgotten; a busy service is asked again."""
    browser = Browser()
    service.answers = [503, 201, 410]

    async def before(local: Talk, phone: Talk) -> None:
        await subscribe(phone, service, browser)

    async def after(local: Talk, phone: Talk) -> None:
        await local.open("sh", "-c", "read x", name="one")
        first, second = await pushed(service), await pushed(service)
        assert browser.read(first.body) == browser.read(second.body)
        await local.open("sh", "-c", "read x", name="two")
        await pushed(service)
        while (await phone.ask(wire.Notify)).mine:
            await asyncio.sleep(0.05)

    story(house, before)
    house.kill()
    house.start()
    story(house, after)


def test_a_push_service_that_hangs_holds_up_nobody(house: House, service: PushService) -> None:
    """Promise R3: typing goes on at once while a notice is on its way."""
    browser = Browser()
    service.go.clear()

    async def tell(local: Talk, phone: Talk) -> None:
        await subscribe(phone, service, browser)
        await local.open("sh", "-c", "read x", name="asks")
        await local.open("cat", name="cat")
        async with asyncio.timeout(10):  # the notice of the first is under way by then
            while not any("postman" in Path(f"/proc/{pid}/cmdline").read_text() for pid in members(house)):
                await asyncio.sleep(0.05)
        began = time.monotonic()
        for number in range(20):
            await local.type("cat", b"%d\n" % number)
        assert time.monotonic() - began < 5
        service.go.set()
        await pushed(service)

    story(house, tell)


def members(house: House) -> list[int]:
    mark = str(house.folder).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_ai_operators_subscribe_to_nothing_and_bad_subscriptions_are_refused(
    house: House, service: PushService
) -> None:
    browser = Browser()

    async def an_ai(local: Talk, model: Talk) -> None:
        with pytest.raises(Refused, match="people and their devices"):
            await subscribe(model, service, browser)
        with pytest.raises(Refused, match="key of their own"):
            await local.ask(wire.Notify)

    async def a_person(local: Talk, phone: Talk) -> None:
        for endpoint, key, auth in (
            ("http://127.0.0.1/x", browser.key, browser.auth),
            ("https://127.0.0.1/x\n", browser.key, browser.auth),
            ("https://127.0.0.1/" + 2000 * "x", browser.key, browser.auth),
            ("https://127.0.0.1:99999/x", browser.key, browser.auth),
            ("https://[::1/x", browser.key, browser.auth),
            ("https://127.0.0.1/\u00e9", browser.key, browser.auth),
            ("https://127.0.0.1/x", b"", browser.auth),
            ("https://127.0.0.1/x", b"\x04" + b"\xff" * 64, browser.auth),
            ("https://127.0.0.1/x", browser.key, b"short"),
        ):
            with pytest.raises(Refused, match="no subscription"):
                await phone.ask(wire.Notify, endpoint=endpoint, key=key, auth=auth)
        for number in range(10):  # the oldest go
            said = await subscribe(phone, service, browser, f"/{number}")
        assert said.mine == 8

    story(house, an_ai, ai.ready("ai", path=house.socket).store)
    story(house, a_person)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/",
        "https://localhost/x",
    ],
)
def test_a_push_service_is_never_at_a_private_address(endpoint: str) -> None:
    """Promise R4: a client cannot make the host speak to what only the host's machine reaches."""
    with pytest.raises(Refused, match="private address"):
        postman.addresses(endpoint, ())


@pytest.mark.parametrize(
    "endpoint", ["http://example.com/", "ftp://example.com/", "https:///x", "https://a@example.com/"]
)
def test_a_push_service_is_reached_by_https_alone(endpoint: str) -> None:
    with pytest.raises(Refused, match="https and nothing else"):
        postman.addresses(endpoint, ())
