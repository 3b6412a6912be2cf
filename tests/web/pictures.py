"""What the page looks like: pictures for the docs, made anew on demand (``pytest tests/web/pictures.py``), never compared."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.faces.demo.chromium import Browser, Page
from holdfast.faces.tui.app import Dashboard
from holdfast.testing import TemporaryHost
from tests.faces.realhost import HOLD
from tests.faces.tui.test_dashboard import names, shown, until_so
from tests.host.operators import house, people
from tests.remote.places import World
from tests.web.core import Core
from tests.web.desk import OPENED, Desk, shows
from tests.web.recording import animated
from tests.web.test_together import AI, PROPOSES, TYPES, button

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
RC = "PS1='$ '; unset PROMPT_COMMAND; cd /usr; "


@pytest.fixture(scope="module")
def desk(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with World() as world:
        world.env["HOME"] = str(tmp_path_factory.mktemp("home"))
        Path(world.env["HOME"], ".bashrc").write_text("PS1='\\[\\e[36m\\]\\W\\[\\e[0m\\] \\$ '\ncd /usr\n")
        world.run_in("build", "bash")
        world.run_in("monitor", "top", "-d", "3")
        world.run_in("preview", "python3", "-m", "http.server", "0", "--bind", "127.0.0.1")
        world.run_in("migrate", "sh", "-c", "printf 'Password for admin: '; stty -echo; read x")
        world.run_in("lint", "sh", "-c", "echo '3 problems'; exit 1")
        world.run_in("release", "sh", "-c", "echo done")
        one = Desk(world, browser)
        first = one.tab()
        one.join(first, one.code("ben"))
        yield one
        one.close()


def work(desk: Desk, page: Page) -> None:
    desk.open(page, "build")
    for line, seen in (("ls --color", "share"), ("grep -c . /etc/services", "355"), ("false", "false")):
        page.write(line + "\n")
        shows(page, seen)
        page.run("new Promise((r) => setTimeout(r, 1500))")


def test_a_desk(desk: Desk, core: Core) -> None:
    page = desk.tab(width=1280, height=800)
    work(desk, page)
    core.run(AI, desk.code("helper", "ai", "--operate"), "build")
    assert core.run(TYPES, 'for f in lib share src; do echo "$f: $(ls $f | wc -l) entries"; done\r') == "applied"
    shows(page, "share:")
    page.until(f"document.querySelector('{OPENED} .control').textContent.startsWith('ai ')", 30)
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    page.until(f"document.querySelector('{OPENED} .people')?.children.length > 0", 30)
    page.run(f"document.querySelector('{OPENED}').querySelector('.xterm-helper-textarea').focus()")
    page.run("new Promise((r) => setTimeout(r, 1500))")
    page.picture(IMAGES / "web-desk-dark.png")
    button(page, "Processes")
    page.until(f"document.querySelector('{OPENED} .tree')?.children.length > 0", 30)
    page.scheme("light")
    page.run("new Promise((r) => setTimeout(r, 800))")
    page.picture(IMAGES / "web-desk-light.png")


def test_an_approval(desk: Desk, core: Core) -> None:
    core.run(AI, desk.code("planner", "ai", "--propose"), "build")
    core.run(PROPOSES, 1, "rm -rf /usr/share/doc/old\r", "free 40 MB; nothing refers to it")
    page = desk.tab(width=390, height=844, phone=True)
    desk.open(page, "build")
    page.until(f"document.querySelector('{OPENED} .badge').textContent === '1'", 40)
    page.run(f"document.querySelector(\"{OPENED} button[aria-label^='Details']\").click()")
    button(page, "Approvals")
    page.until(f"!!document.querySelector('{OPENED} .card')", 20)
    page.run("new Promise((r) => setTimeout(r, 500))")
    page.picture(IMAGES / "web-phone-approval.png")


def test_a_phone(desk: Desk) -> None:
    page = desk.tab(width=390, height=844, phone=True)
    page.go(f"{desk.base}/#/")
    page.until("document.querySelectorAll('button.session').length > 4", 60)
    page.run("new Promise((r) => setTimeout(r, 2500))")
    page.picture(IMAGES / "web-phone-list.png")
    desk.open(page, "build")
    page.until(f"document.querySelectorAll('{OPENED} .block').length > 2", 40)
    page.run("new Promise((r) => setTimeout(r, 1500))")
    page.picture(IMAGES / "web-phone-blocks.png")
    desk.open(page, "monitor")
    page.run(f"document.querySelector('{OPENED} [data-mode=screen]').click()")
    page.run("new Promise((r) => setTimeout(r, 1500))")
    page.picture(IMAGES / "web-phone-screen.png")


def test_the_demo(tmp_path: Path) -> None:
    """`hold demo` as a user sees it, recorded in a session of its own and exported from there."""
    with World() as world:
        size = ("--size", "30x112") if "--size" in world.hold("new", "--help").stdout else ()
        world.hold("new", "demo", "-d", *size, "--", *HOLD, "demo")
        assert world.hold("wait", "demo", "--for", "55s").returncode == 0, world.hold("view", "demo").stdout
        cast = tmp_path / "demo.cast"
        assert world.hold("log", "demo", "--asciicast", str(cast)).returncode == 0
    animated(cast, IMAGES / "demo.svg")


def test_the_dashboard() -> None:
    """`hold ui` over sessions of a host, one of which has an AI operator's proposal."""

    async def tell(host: TemporaryHost) -> None:
        async with people(host, "ai") as (person, ai):
            lint = await person.open(
                "lint", argv=["sh", "-c", "printf '\\033[31m3 problems\\033[m in src/app.c\\n'; exec cat"]
            )
            await person.open("migrate", argv=["sh", "-c", "printf 'Password for admin: '; stty -echo; read x"])
            await person.open("server", argv=["python3", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            seen = await ai.attach(lint.id)
            await seen.text()
            await seen.propose("make lint-fix\n", why="to mend what can be mended by itself")
            app = Dashboard()
            async with app.run_test(size=(132, 30)) as pilot:
                await until_so(pilot, lambda: names(app) == ["lint", "migrate", "server"])
                await until_so(
                    pilot, lambda: "3 problems" in shown(app, "#screen") and "lint-fix" in shown(app, "#waiting")
                )
                (IMAGES / "ui.svg").write_text(app.export_screenshot(title="hold ui"))

    with house() as host:
        asyncio.run(tell(host))
