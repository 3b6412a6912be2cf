"""Whoever uses the page with a keyboard, a screen reader, large letters or little room can do everything with it."""

import json
from collections.abc import Iterator

import pytest

from holdfast.faces.demo.chromium import Browser, Page
from tests.remote.places import World
from tests.web.desk import OPENED, Desk

SIZES = {"desktop": (1280, 800), "320 px": (320, 640), "200 % of 1280": (640, 400), "phone": (390, 844)}
NAMED = (
    "button",
    "link",
    "textbox",
    "searchbox",
    "tab",
    "combobox",
    "checkbox",
    "dialog",
    "img",
    "main",
    "navigation",
    "complementary",
)

# Every text that is shown, with the contrast of its colour to what it stands on (WCAG 2.2, relative luminance).
CONTRASTS = """
(() => {
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const colour = parse(getComputedStyle(it).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [0, 0, 0];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    if (!text || !box.width || style.visibility === 'hidden' || element.closest('.xterm, noscript, [aria-hidden=true]')) continue;
    const [a, b] = [luminance(parse(style.color)), luminance(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""

# What is wider than the page, although it scrolls by itself nowhere.
TOO_WIDE = """
(() => {
  const wide = document.documentElement.scrollWidth > innerWidth || document.body.scrollWidth > innerWidth;
  const scrolls = (it) => { for (; it; it = it.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(it).overflowX) && it !== document.body && it !== document.documentElement) return true; return false; };
  const out = [...document.querySelectorAll('body *')].filter((it) => { const b = it.getBoundingClientRect(); return b.width && b.right > innerWidth + 1 && !scrolls(it.parentElement) && getComputedStyle(it).visibility !== 'hidden' && !it.matches('.skip'); });
  return [wide ? 'the page' : '', ...out.map((it) => it.outerHTML.slice(0, 80))].filter(Boolean);
})()
"""
FOCUSED = """
(() => { const it = document.activeElement; const b = it.getBoundingClientRect();
  return [it.tagName, it.getAttribute('aria-label') || it.textContent.trim().slice(0, 30) || it.placeholder || '', b.width > 0 && b.height > 0]; })()
"""


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[Desk]:
    with World() as world:
        world.run_in("build", "bash")
        world.run_in(
            "a-session-with-a-rather-long-name.and-more",
            "sh",
            "-c",
            "echo ready; cat # with a long command line that does not fit",
        )
        world.run_in("failed", "sh", "-c", "exit 3")
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


def everything(desk: Desk, page: Page) -> Iterator[str]:
    """Go through what the page has to show; yields what it is."""
    page.go(f"{desk.base}/#/")
    page.until("document.querySelectorAll('button.session').length > 0", 60)
    yield "list"
    desk.open(page, "build")
    yield "screen"
    page.run(f"document.querySelector('{OPENED} [data-mode=blocks]').click()")
    page.until(f"document.querySelector('{OPENED}').dataset.mode === 'blocks'")
    yield "blocks"
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    for name in ("People", "Approvals", "Processes"):
        page.run(
            f"[...document.querySelectorAll('{OPENED} [role=tab]')].find((each) => each.textContent === '{name}').click()"
        )
        page.until(f"document.querySelector('{OPENED} .panel:not([hidden])').textContent.trim().length > 0", 30)
        yield name
    page.run(f"document.querySelector('{OPENED} .side-close').click()")
    page.run("document.querySelector(\"button[aria-label='New session']\").click()")
    page.until("!!document.querySelector('dialog[open]')")
    yield "dialogue"
    page.run("document.querySelector('dialog').close('')")


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_its_window(desk: Desk, page: Page, size: str) -> None:
    width, height = SIZES[size]
    page.size(width, height, phone=size == "phone")
    found = {what: page.run(TOO_WIDE) for what in everything(desk, page)}
    assert set(found) == {"list", "screen", "blocks", "People", "Approvals", "Processes", "dialogue"}
    assert [each for each in found.items() if each[1]] == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_text_stands_out_enough(desk: Desk, page: Page, scheme: str) -> None:
    page.scheme(scheme)
    assert {what: found for what in everything(desk, page) if (found := page.run(CONTRASTS))} == {}


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_everything_that_can_be_used_has_a_name(desk: Desk, page: Page, size: str) -> None:
    page.size(*SIZES[size], phone=size == "phone")
    nameless = []
    for what in everything(desk, page):
        for node in page.do("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if role in NAMED and not node.get("ignored") and not node.get("name", {}).get("value"):
                nameless.append(f"{what}: {role} {json.dumps(node.get('properties', []))[:200]}")
    assert nameless == []


def test_the_keyboard_reaches_everything_and_is_caught_nowhere(desk: Desk, page: Page) -> None:
    """Tab belongs to programs inside the screen; F6 leaves it, as the screen's own label says."""
    desk.open(page, "build")
    page.until("document.activeElement.matches('.xterm-helper-textarea')")
    assert "F6" in page.run("document.activeElement.getAttribute('aria-label')")
    page.press("F6", key_code=117)
    assert page.run("!!document.activeElement.closest('.list, .head')")
    page.run("document.querySelector('.list input').focus()")
    seen = []
    for _ in range(40):
        page.press("Tab", key_code=9)
        tag, name, visible = page.run(FOCUSED)
        if tag == "TEXTAREA" or tag == "BODY":
            break
        assert visible, f"{name} has the focus and is not to be seen"
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none", (
            f"{name} does not show its focus"
        )
        seen.append(name)
    text = " ".join(seen)
    for wanted in ("New session", "build", "failed", "Blocks", "Screen", "Find", "Use my size", "Details"):
        assert wanted in text, seen
    page.press("F6", key_code=117)
    page.press("F6", key_code=117)


def test_arrows_move_in_the_list_and_in_the_tabs(desk: Desk, page: Page) -> None:
    desk.open(page, "build")
    page.press("k", code="KeyK", key_code=75, modifiers=2 | 8)
    assert page.run("document.activeElement.type") == "search"
    page.do("Input.insertText", text="long-name")
    page.until("document.querySelectorAll('button.session').length === 1")
    page.press("ArrowDown", key_code=40)
    page.press("Enter", code="Enter", key_code=13, text="\r")
    page.until("document.title.startsWith('a-session-with')", 30)
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    page.run(f"document.querySelector('{OPENED} [role=tab]').focus()")
    page.press("ArrowRight", key_code=39)
    assert page.run("document.activeElement.textContent") == "Approvals"
    assert page.run("document.activeElement.getAttribute('aria-selected')") == "true"


def test_the_first_page_can_be_read_and_used(browser: Browser, desk: Desk) -> None:
    with Browser() as own:
        page = own.page()
        for scheme in ("dark", "light"):
            page.scheme(scheme)
            page.size(320, 640, phone=True)
            page.go(f"{desk.base}/")
            page.until("!!document.querySelector('.welcome:not([hidden])')", 40)
            assert page.run(CONTRASTS) == []
            assert page.run(TOO_WIDE) == []
        page.run("document.querySelector('.welcome textarea').value = 'nonsense'")
        page.run("document.querySelector('.welcome form').requestSubmit()")
        page.until("document.querySelector('.said').textContent.includes('HOLD1')")
        assert page.said == []
        page.close()
