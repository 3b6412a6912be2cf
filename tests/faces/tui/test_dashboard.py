"""`hold ui` against a real host: what it shows is what is, and its keys do what they say."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

import holdfast as hf
from holdfast import until
from holdfast.faces.tui.app import Ask, Dashboard
from holdfast.faces.tui.watch import Place, Row
from holdfast.testing import HOLD, TemporaryHost
from tests.faces.screen import Screen
from tests.host.operators import house
from tests.remote.places import World, story

SIZE = (140, 40)


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with house() as made:
        yield made


@pytest.fixture(autouse=True)
def empty(host: TemporaryHost) -> Iterator[None]:
    yield
    with host.connect() as client:
        for each in client.sessions():
            client.attach(each.id).kill(grace=0)


def names(app: Dashboard) -> list[str]:
    table = app.query_one("#sessions", DataTable)
    return [str(table.get_row_at(row)[0]) for row in range(table.row_count)]


def shown(app: Dashboard, where: str) -> str:
    return str(app.query_one(where, Static).render())


async def until_so(pilot: "Pilot[None]", what: Callable[[], bool], within_s: float = 20) -> None:
    """Wait until the dashboard shows it: it looks by itself."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "the dashboard does not show it"
        await pilot.pause(0.1)


def tale(work: Callable[["Pilot[None]", Dashboard, hf.Client], Awaitable[None]], host: TemporaryHost) -> None:
    async def run() -> None:
        async with hf.connect(host.socket, start=False) as client:
            app = Dashboard()
            async with app.run_test(size=SIZE) as pilot:
                await work(pilot, app, client)

    story(run(), within_s=100)


def test_sessions_come_and_go_and_are_shown_as_they_are(host: TemporaryHost) -> None:
    """Promise F1."""

    async def work(pilot: "Pilot[None]", app: Dashboard, client: hf.Client) -> None:
        assert names(app) == []
        one = await client.open("one", argv=["sh", "-c", "printf 'first \\033[31mscreen\\033[m'; exec cat"])
        two = await client.open("two", argv=["sh", "-c", "echo second; exec cat"])
        await until_so(pilot, lambda: names(app) == ["one", "two"])
        await until_so(pilot, lambda: "first screen" in shown(app, "#screen"))
        await pilot.press("down")
        await until_so(pilot, lambda: "second" in shown(app, "#screen"))
        await two.send("typed\r")
        await until_so(pilot, lambda: "typed" in shown(app, "#screen"))
        await one.kill(grace=0)
        await until_so(pilot, lambda: names(app) == ["two"])
        await until_so(pilot, lambda: "second" in shown(app, "#screen"))
        await two.kill(grace=0)
        await until_so(pilot, lambda: names(app) == [])

    tale(work, host)


def test_what_a_session_says_drives_nothing(host: TemporaryHost) -> None:
    """Promise F1: neither sequences nor the markup of the toolkit are obeyed, wherever they stand."""

    async def work(pilot: "Pilot[None]", app: Dashboard, client: hf.Client) -> None:
        session = await client.open(
            "odd", argv=["sh", "-c", "printf '\\033]0;[bold]title\\007[red]text[/] \\\\[x]'; exec cat"]
        )
        await until_so(pilot, lambda: "[red]text[/]" in shown(app, "#screen"))
        await until_so(pilot, lambda: "[bold]title" in shown(app, "#about-it"))
        await session.kill(grace=0)

    tale(work, host)


def test_finding_shows_what_fits(host: TemporaryHost) -> None:
    async def work(pilot: "Pilot[None]", app: Dashboard, client: hf.Client) -> None:
        for name in ("apple", "banana", "cherry"):
            await client.open(name, argv=["cat"])
        await until_so(pilot, lambda: len(names(app)) == 3)
        await pilot.press("slash", *"nan")
        await until_so(pilot, lambda: names(app) == ["banana"])
        await pilot.press("escape")
        await until_so(pilot, lambda: len(names(app)) == 3)

    tale(work, host)


def test_taking_pausing_and_releasing_show(host: TemporaryHost) -> None:
    """Promise F2."""

    async def work(pilot: "Pilot[None]", app: Dashboard, client: hf.Client) -> None:
        session = await client.open("shared", argv=["cat"])
        async with hf.connect(host.socket, operator="ai", start=False) as model:
            theirs = await model.attach("shared")
            await theirs.send("from the model\r")
            await until_so(pilot, lambda: "(ai)" in shown(app, "#about-it"))
            await pilot.press("t")
            await until_so(pilot, lambda: "(human)" in shown(app, "#about-it"))
            with pytest.raises(hf.OutOfTurn):
                await theirs.send("no\r")
            await pilot.press("r")
            await until_so(pilot, lambda: "free" in shown(app, "#about-it"))
            await pilot.press("p")
            await until_so(pilot, lambda: "paused" in shown(app, "#about-it"))
            await pilot.press("p")
            await until_so(pilot, lambda: "free" in shown(app, "#about-it"))
        await session.kill(grace=0)

    tale(work, host)


def test_operators_are_called_by_the_names_they_were_given(host: TemporaryHost) -> None:
    with host.connect() as client:
        info = client.open("named", argv=["cat"]).info()
    row = Row(Place("box", None), info, {"o-kf7x2m": "phone", "o-long": "a laptop of somebody"})
    called = [row.called(each) for each in ("o-kf7x2m/3", "o-long", "local:ann", "o-2222222222222222")]
    assert called == ["phone", "a laptop o…", "ann", "o-22222222…"]


def test_what_waits_is_shown_exactly_and_decided(host: TemporaryHost) -> None:
    """Promise F2."""

    async def work(pilot: "Pilot[None]", app: Dashboard, client: hf.Client) -> None:
        session = await client.open("asked", argv=["cat"])
        async with hf.connect(host.socket, operator="ai", start=False) as model:
            theirs = await model.attach("asked")
            first = await theirs.propose("rm -rf build\r", "it is in the way")
            await until_so(pilot, lambda: "1 wait" in shown(app, "#waiting"))
            await until_so(pilot, lambda: "rm -rf build^M" in shown(app, "#waiting"))
            await pilot.press("a")
            await until_so(pilot, lambda: isinstance(app.screen, Ask))
            about = str(app.screen.query_one("#about", Static).render())
            assert "rm -rf build^M" in about and "it is in the way" in about and first.digest.hex()[:16] in about
            await pilot.press("escape")  # leaves it as it is
            await until_so(pilot, lambda: not isinstance(app.screen, Ask))
            assert [each.id for each in await session.proposals()] == [first.id]
            await pilot.press("a")
            await until_so(pilot, lambda: isinstance(app.screen, Ask))
            await pilot.press("y")
            assert (await first.decided(timeout=20)).state == "executed"
            await session.wait_for(until.match("rm -rf build"), timeout=20, since=0)
            await until_so(pilot, lambda: not app.pending)
            second = await theirs.propose("more\r")
            await until_so(pilot, lambda: bool(app.pending))
            await pilot.press("a")
            await until_so(pilot, lambda: isinstance(app.screen, Ask))
            await pilot.press("n")
            assert (await second.decided(timeout=20)).state == "denied"
        await session.kill(grace=0)

    tale(work, host)


def test_ending_asks_first(host: TemporaryHost) -> None:
    async def work(pilot: "Pilot[None]", app: Dashboard, client: hf.Client) -> None:
        await client.open("doomed", argv=["cat"])
        await until_so(pilot, lambda: names(app) == ["doomed"])
        await pilot.press("k")
        await until_so(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("n")
        await asyncio.sleep(0)
        assert [each.name for each in await client.sessions()] == ["doomed"]
        await pilot.press("k")
        await until_so(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("y")
        await until_so(pilot, lambda: names(app) == [])

    tale(work, host)


@pytest.mark.timeout(200)
def test_enter_attaches_and_leaving_comes_back(host: TemporaryHost) -> None:
    """Promise F1: in a real terminal, through `hold ui`."""
    with host.connect() as client:
        session = client.open("inside", argv=["sh", "-c", "stty -echo; echo here I am; exec cat"])
        with Screen([*HOLD, "ui"], host.env, rows=40, cols=140) as terminal:
            terminal.expect(b"here I am", timeout=90)
            terminal.type(b"\r")
            terminal.expect(b"here I am", timeout=60)
            session.wait_for(until.quiet(0.5), timeout=5)
            terminal.type(b"typed through it\r")
            session.wait_for(until.match("typed through it"), timeout=30, since=0)
            terminal.type(b"\x1cd")
            terminal.expect(b"inside", timeout=60)
            terminal.type(b"q")
            assert terminal.wait(60) == 0
        session.kill(grace=0)


@pytest.mark.timeout(200)
def test_sessions_elsewhere_are_shown() -> None:
    """Promise F1."""

    async def run() -> None:
        app = Dashboard()
        async with app.run_test(size=SIZE) as pilot:
            await until_so(pilot, lambda: names(app) == ["far"], 60)
            await until_so(pilot, lambda: "from far away" in shown(app, "#screen"), 30)
            await until_so(pilot, lambda: "box" in shown(app, "#about-it"))

    with World() as world:
        world.new("far", "echo from far away; exec cat")
        with world.away.chosen():
            story(run(), within_s=120)
