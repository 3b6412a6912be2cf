"""Relays serve the web client as it lies in the package, strictly, and nothing else from their disk."""

import gzip
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.datastructures import Headers

from holdfast.relay.pages import APP, ENTRANCES, Pages
from tests.relay.peers import Relay

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for file in APP.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    one = Relay(tmp_path_factory.mktemp("relay") / "state", "--open").up()
    yield one
    one.kill()


def get(relay: Relay, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    address = urlsplit(relay.url)
    line = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=20)
    line.request("GET", path, headers=headers)
    answer = line.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    line.close()
    return found


@pytest.mark.parametrize("path", ENTRANCES)
def test_the_page_comes_with_a_policy_that_lets_nothing_in(relay: Relay, path: str) -> None:
    status, headers, body = get(relay, path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body == (APP / "index.html").read_bytes()
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split("; ")}
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == (["'none'"], ["'self'"], ["'self'"])
    assert policy["connect-src"] == ["'self'", "wss:"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(APP)))
def test_every_file_is_served_as_it_is_with_its_type(file: Path) -> None:
    answer = Pages().answer(f"/app/{file.relative_to(APP).as_posix()}", Headers())
    assert answer is not None
    assert answer.body == file.read_bytes()
    wanted = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".png": "image/png"}
    if file.suffix in wanted:
        assert answer.headers["Content-Type"].startswith(wanted[file.suffix])


def test_what_a_browser_has_is_not_sent_again(relay: Relay) -> None:
    status, headers, body = get(relay, "/app/vendor/xterm.mjs", **{"Accept-Encoding": "gzip, br"})
    assert status == 200 and headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == (APP / "vendor" / "xterm.mjs").read_bytes()
    assert len(body) < 100_000
    status, _, body = get(relay, "/app/vendor/xterm.mjs", **{"If-None-Match": headers["etag"]})
    assert (status, body) == (304, b"")
    assert get(relay, "/app/vendor/xterm.mjs", **{"If-None-Match": '"another"'})[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/app/", "/app", "/app/../index.html", "/app/%2e%2e/%2e%2e/__init__.py", "/app/..%2f__init__.py", "//etc/passwd",
     "/app/vendor", "/app/face/", "/app/index.html/", "/etc/passwd", "/app/./start.js", "/favicon.ico"],
)  # fmt: skip
def test_no_path_reaches_the_disk(relay: Relay, path: str) -> None:
    assert get(relay, path)[0] == 404


def test_the_service_worker_alone_may_look_after_the_whole_page(relay: Relay) -> None:
    assert get(relay, "/app/sw.js")[1]["service-worker-allowed"] == "/"
    assert "service-worker-allowed" not in get(relay, "/app/start.js")[1]


def test_a_relay_and_its_pages_share_one_port(relay: Relay) -> None:
    assert get(relay, "/healthz")[2] == b"ok\n"
    assert get(relay, "/relay")[0] == 426  # a WebSocket is spoken there


def test_the_first_page_names_every_module_so_that_none_waits_for_another() -> None:
    named = set(re.findall(r'rel="modulepreload" href="/app/([^"]+)"', (APP / "index.html").read_text()))
    modules = {file.relative_to(APP).as_posix() for file in FILES if file.suffix in (".js", ".mjs")}
    assert named == modules - {"sw.js", "start.js"}


def test_modules_import_only_what_is_served_and_point_one_way() -> None:
    """core <- wire <- client <- face: as the packages that they mirror."""
    allowed = {
        "core": {"core"},
        "wire": {"core", "wire"},
        "client": {"core", "wire", "client"},
        "face": {"core", "client", "face", "vendor"},
    }
    for file in FILES:
        layer = file.relative_to(APP).parts[0]
        if file.suffix != ".js" or layer not in allowed:
            continue
        for target in re.findall(r"""(?:import|from) '([^']+)'""", file.read_text()):
            found = (file.parent / target).resolve()
            assert found.is_file(), f"{file}: {target}"
            assert found.relative_to(APP).parts[0] in allowed[layer], f"{file}: {target}"


def test_no_text_becomes_markup_or_code_and_nothing_comes_from_elsewhere() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|https?://(?!127)(?!www\.w3\.org)"
    )
    for file in FILES:
        if file.suffix in (".js", ".html", ".css") and "vendor" not in file.parts:
            found = [line for line in file.read_text().splitlines() if forbidden.search(line)]
            assert found == [], file
    assert not re.search(r"<script(?![^>]*src=)|\bon[a-z]+=|style=", (APP / "index.html").read_text())


def test_what_others_made_is_as_it_was_published() -> None:
    """Hashes of every vendored file, and a licence for each package."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "vendor"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    manifest: dict[str, Any] = json.loads((APP / "vendor" / "manifest.json").read_text())
    for name, package in manifest.items():
        licences = [file for file in package["files"] if file.endswith("LICENSE.txt")]
        assert len(licences) == 1, name
        assert "Permission is hereby granted, free of charge" in (APP / "vendor" / licences[0]).read_text()


@pytest.mark.parametrize("file", [file for file in FILES if "vendor" not in file.parts and file.suffix == ".js"],
                         ids=lambda file: str(file.relative_to(APP)))  # fmt: skip
def test_every_module_says_what_it_is_and_fits_in_a_head(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0].startswith("/**")
    assert len(lines) <= 600
