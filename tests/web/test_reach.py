"""How far an approval reaches is chosen on the page, as with `hold approve` (R67)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.faces.demo.chromium import Browser
from tests.remote.places import World
from tests.web.core import Core, Failed
from tests.web.desk import OPENED, Desk, shows
from tests.web.test_together import AI, TYPES, button

POLICY = '[class.ai]\ndefault = "ask"\nkeys = "ask"\nline = "ask"\n'
CHOICE = f"{OPENED} .decision select"


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[Desk]:
    world = World()
    (Path(world.env["HOLDFAST_CONFIG"]).parent / "policy.toml").write_text(POLICY)
    with world:
        world.run_in("work", "bash", "--norc", "--noprofile")
        yield Desk(world, browser)


def typed(core: Core, line: str) -> str:
    try:
        return str(core.run(TYPES, line))
    except Failed as error:
        return error.code


def test_the_same_again_is_approved_for_an_hour(desk: Desk, core: Core) -> None:
    """Promise B12: chosen by keyboard or touch, labelled, and what was not meant asks again."""
    page = desk.tab(width=320, height=640)
    desk.join(page, desk.code("maria"))
    core.run(AI, desk.code("bot", "ai", "--operate"), "work")
    desk.open(page, "work")
    assert typed(core, "echo yes-$((6*7))\r") == "needs-approval"
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    button(page, "Approvals")
    page.until(f"!!document.querySelector('{CHOICE}')", 30)
    assert page.run(f"document.querySelector('{CHOICE}').getAttribute('aria-label')") == "How far an approval reaches"
    assert page.run(f"[...document.querySelectorAll('{CHOICE} option')].map((each) => each.textContent)") == [
        "This once",
        "The same again, for an hour",
    ]
    page.run(f"document.querySelector('{CHOICE}').value = '1'")
    button(page, "Approve")
    shows(page, "yes-42", 40)
    assert typed(core, "echo yes-$((6*7))\r") == "applied"
    assert typed(core, "echo no\r") == "needs-approval"
    page.until(f"!!document.querySelector('{CHOICE}')", 30)
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")
    button(page, "Deny")
    assert page.said == []


def test_what_a_command_begins_with_is_offered_where_that_says_what_it_does(core: Core) -> None:
    def offered(line: str, **more: object) -> list[list[str]]:
        proposal = {"verb": "input", "data": line.encode(), "only_proposes": False} | more
        found: list[list[str]] = core.run(
            "return m['face/panels'].reach(a[0]).map((each) => each.words ?? [])", proposal
        )
        return [each for each in found if each]

    assert offered("make test\r") == [["make", "test"], ["make"]]
    assert offered("git push origin main\r") == [["git", "push"], ["git"]]
    assert offered("ls\r") == [["ls"]]
    for odd in ("rm -rf / ; ls\r", "echo $(id)\r", 'sh -c "x"\r', "a | b\r", "one\rtwo\r", " make\r", "\x03", ""):
        assert offered(odd) == []
    assert offered("make\r", only_proposes=True) == []


def test_news_of_a_session_is_what_changed_while_nobody_looked(core: Core) -> None:
    """What the window of `hold desktop` tells of, by the page's own rules."""
    steps = [
        ({"waiting": "running"}, 0, ""), ({"waiting": "line"}, 2, ""), ({"waiting": "line"}, 4, "input"), ({"waiting": "line"}, 6, ""),
        ({"waiting": "running"}, 8, ""), ({"waiting": "prompt"}, 12, ""), ({"waiting": "running"}, 14, ""), ({"waiting": "prompt"}, 30, "command"),
        ({"waiting": "prompt", "control": {"holder": "me"}}, 32, ""), ({"waiting": "prompt", "control": {"holder": "other"}}, 34, "control"),
        ({"waiting": "prompt", "ending": {"how": "exited"}}, 36, "command"), ({"waiting": "", "ending": {"how": "exited"}}, 38, ""),
    ]  # fmt: skip
    code = (
        "const { noted, news } = m['face/watching']; const was = noted(a[0][0][0], 0);"
        " return a[0].map(([info, at]) => news(was, info, 'me', at))"
    )
    assert core.run(code, [list(step) for step in steps]) == [wanted for _, _, wanted in steps]
