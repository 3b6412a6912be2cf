"""Several operators at one session, seen and steered from the page: control, approvals, pairing by a number."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from holdfast.core.invitations import parse_join_code
from holdfast.core.signed import KeyPair
from holdfast.faces.demo.chromium import Browser, Page
from holdfast.wire.joining import Issue, digest
from holdfast.wire.messages import Failed, Joined
from tests.remote.places import World
from tests.web.core import Core
from tests.web.desk import OPENED, Desk, Pairing, profiles, shows

AI = """
const profile = await m['client/joining'].join(a[0], new m['client/profile'].Memory(), {name: 'bot'});
const meeting = new m['client/meeting'].Meeting(profile);
kept.host = new m['client/host'].Host(meeting, profile.host, m['core/ids'].clientId());
kept.session = (await kept.host.ask({t: 'list', ended: false})).sessions.find((each) => each.name === a[1]).id;
return profile.kind;
"""
TYPES = """
await kept.host.ask({t: 'who', session: kept.session});
try { return (await kept.host.type(kept.session, new TextEncoder().encode(a[0]))).outcome; } catch (error) { return error.code; }
"""
PROPOSES = """
const said = await kept.host.ask({t: 'propose', session: kept.session, number: a[0], verb: 'input', data: new TextEncoder().encode(a[1]), signal: 0, tree: false, why: a[2]});
return said.proposal.state;
"""


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[Desk]:
    with World() as world:
        world.run_in("work", "bash", "--norc", "--noprofile")
        world.run_in("ask", "bash", "--norc", "--noprofile")
        one = Desk(world, browser)
        first = one.tab()
        one.join(first, one.code("ben"))
        yield one
        one.close()


@pytest.fixture
def page(desk: Desk) -> Iterator[Page]:
    one = desk.tab()
    yield one
    assert one.said == [], "the console said something"
    desk.pages.remove(one)
    one.close()


def button(page: Page, label: str) -> None:
    """Press a button of the open session by what stands on it."""
    found = f"[...document.querySelectorAll('{OPENED} button')].find((each) => each.textContent === {json.dumps(label)} && each.checkVisibility())"
    page.until(f"!!{found}", 30)
    page.run(f"{found}.click()")


def test_a_person_takes_from_an_ai_and_sees_who_had_it(desk: Desk, page: Page, core: Core) -> None:
    assert core.run(AI, desk.code("bot", "ai", "--operate"), "work") == "ai"
    desk.open(page, "work")
    assert core.run(TYPES, "echo by-the-ai\r") == "applied"
    shows(page, "by-the-ai")
    page.until(f"document.querySelector('{OPENED} .control').textContent.startsWith('ai ')", 30)
    button(page, "Take control")
    page.until(f"document.querySelector('{OPENED} .control').textContent.startsWith('You have control')", 30)
    assert core.run(TYPES, "echo too-late\r") != "applied"
    page.write("echo mine\n")
    shows(page, "mine")
    button(page, "Release")
    page.until(f"document.querySelector('{OPENED} .control').textContent === ''", 30)
    assert b"too-late" not in desk.world.output("work")
    kinds = {(each["kind"], each["operator"][:2]) for each in desk.record("work")}
    assert ("control", "o-") in kinds


def test_ai_operators_are_paused_and_let_go_on(desk: Desk, page: Page, core: Core) -> None:
    core.run(AI, desk.code("bot2", "ai", "--operate"), "work")
    desk.open(page, "work")
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    button(page, "Pause AI")
    page.until(f"document.querySelector('{OPENED} .control').textContent.startsWith('AI paused')", 30)
    assert core.run(TYPES, "echo paused\r") != "applied"
    button(page, "Let AI act")
    page.until(f"document.querySelector('{OPENED} .control').textContent === ''", 30)
    assert "you" in page.run(f"document.querySelector('{OPENED} .people').textContent")


def test_what_an_ai_proposes_is_shown_to_the_byte_and_done_once_it_is_approved(
    desk: Desk, page: Page, core: Core
) -> None:
    core.run(AI, desk.code("bot3", "ai", "--propose"), "ask")
    desk.open(page, "ask")
    assert core.run(PROPOSES, 1, "echo approved-$((6*7))\r", "to see it") == "proposed"
    page.until(f"document.querySelector('{OPENED} .badge').textContent === '1'", 40)
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    button(page, "Approvals")
    card = page.until(f"document.querySelector('{OPENED} .card')?.textContent", 20)
    assert "echo approved-$((6*7))⏎" in card and "to see it" in card
    button(page, "Approve")
    shows(page, "approved-42", 40)
    page.until(f"document.querySelector('{OPENED} .badge').hidden", 20)
    assert core.run(PROPOSES, 2, "echo never\r", "") == "proposed"
    page.until(f"document.querySelector('{OPENED} .badge').textContent === '1'", 40)
    button(page, "Deny")
    page.until(f"document.querySelector('{OPENED} .badge').hidden", 20)
    page.until(f"document.querySelector('{OPENED} .cards').textContent.includes('denied')", 20)
    assert b"never" not in desk.world.output("ask")


def opened_with(page: Page, desk: Desk, url: str) -> str:
    """Open the page that `hold pair` printed; return the number that it shows."""
    page.go(desk.base + "/#" + url.partition("#")[2])
    return str(page.until("document.querySelector('.digits')?.textContent", 60)).replace(" ", "")


def test_a_phone_is_paired_by_a_number_on_both_screens_and_acts_as_its_person(desk: Desk) -> None:
    pairing = Pairing(desk.world)
    try:
        with Browser() as own:
            page = own.page()
            page.size(390, 844, phone=True)
            shown = opened_with(page, desk, pairing.said["page"])
            asking = pairing.asking()
            assert asking["number"] == shown and len(shown) == 6
            assert page.run("document.querySelector('.work').hidden"), "nothing is given before the answer"
            assert pairing.answer(shown) == 0
            page.until("document.querySelectorAll('button.session').length >= 2", 60)
            assert page.said == []
            assert profiles(page, "each.kind") == ["human"]
            page.close()
    finally:
        pairing.end()
    listed = json.loads(desk.world.hold("operator", "ls", "--json").stdout)
    assert any(each["name"] == asking["asks"] for each in listed)


def test_whoever_is_not_recognised_gets_nothing_and_the_code_is_used_up(desk: Desk) -> None:
    pairing = Pairing(desk.world)
    try:
        with Browser() as own:
            page = own.page()
            opened_with(page, desk, pairing.said["page"])
            pairing.asking()
            assert pairing.answer("no") == 122
            page.until("document.querySelector('.welcome .said').textContent.includes('did not recognise')", 40)
            page.go("about:blank")
            page.go(desk.base + "/#" + pairing.said["page"].partition("#")[2])
            page.until("document.querySelector('.welcome .said').textContent.length > 30", 60)
            assert page.run("document.querySelector('.work').hidden")
            page.close()
    finally:
        pairing.end()


def test_a_host_that_says_a_person_agreed_is_not_believed(desk: Desk) -> None:
    """The program that signs looks for the person's word beside the keys, where the host cannot write it."""
    pairing = Pairing(desk.world)
    try:
        code = parse_join_code(pairing.said["code"], now=int(time.time()))
        ask = Issue(digest(code.secret), KeyPair(os.urandom(32)).key, b"", "thief")
        done = subprocess.run(
            [sys.executable, "-m", "holdfast.client.issuing"],
            env=desk.world.env,
            input=msgspec.msgpack.encode(ask),
            capture_output=True,
            timeout=60,
        )
        answer = msgspec.msgpack.decode(done.stdout, type=Failed | Joined)
        assert isinstance(answer, Failed) and answer.code == "not-invited"
    finally:
        pairing.end()
