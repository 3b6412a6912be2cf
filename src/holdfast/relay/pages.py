"""Answer for the web client's files: a table made at the start, so that no path ever reaches the disk. Source: docs/web.md.

A relay serves the page and routes ciphertext; whoever opens a page served by a relay trusts that relay with the page itself
(docs/threats.md). Not here: HTTP (server), what the page does (faces/web).
"""

import gzip
import hashlib
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from websockets.datastructures import Headers
from websockets.http11 import Response

APP: Final = Path(__file__).resolve().parent.parent / "faces" / "web" / "app"
INDEX: Final = "index.html"
ENTRANCES: Final = ("/", "/s", "/join")  # share links and join codes stand behind the # of these
WORKER: Final = "sw.js"
GZIP_MIN: Final = 1024  # bytes below which packing saves nothing
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self' wss:",  # a relay of a list may be another one than the page's
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
ALWAYS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",  # asked for each time, answered with 304: an update is seen at once
    "Connection": "close",
}


class Page(NamedTuple):
    kind: str
    body: bytes
    packed: bytes  # with gzip; empty: not worth it
    tag: str


class Pages:
    """The files below ``folder`` by the path they are served at: ``/app/...``, and the first page at ``ENTRANCES``."""

    def __init__(self, folder: Path = APP) -> None:
        self._pages: dict[str, Page] = {}
        for file in sorted(folder.rglob("*")):
            kind = TYPES.get(file.suffix)
            if kind is not None and file.is_file():
                self._pages[f"/app/{file.relative_to(folder).as_posix()}"] = _page(kind, file.read_bytes())
        if (first := self._pages.get(f"/app/{INDEX}")) is not None:
            self._pages |= dict.fromkeys(ENTRANCES, first)

    def answer(self, path: str, asked: Headers) -> Response | None:
        """Return the answer to GET ``path`` (without its query), None if it is no page of ours."""
        page = self._pages.get(path)
        if page is None:
            return None
        headers = Headers(Date=formatdate(usegmt=True), ETag=page.tag, Vary="Accept-Encoding", **ALWAYS)
        if path == f"/app/{WORKER}":
            headers["Service-Worker-Allowed"] = "/"
        if page.tag in [each.strip() for each in asked.get("If-None-Match", "").split(",")]:
            return Response(HTTPStatus.NOT_MODIFIED.value, HTTPStatus.NOT_MODIFIED.phrase, headers)
        body = page.body
        if page.packed and "gzip" in asked.get("Accept-Encoding", ""):
            body = page.packed
            headers["Content-Encoding"] = "gzip"
        headers["Content-Type"] = page.kind
        headers["Content-Length"] = str(len(body))
        return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, headers, body)

    def paths(self) -> list[str]:
        """Return every path that is served."""
        return sorted(self._pages)


def _page(kind: str, body: bytes) -> Page:
    packs = len(body) >= GZIP_MIN and not kind.startswith("image/png")
    packed = gzip.compress(body, 6, mtime=0) if packs else b""
    return Page(kind, body, packed, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
