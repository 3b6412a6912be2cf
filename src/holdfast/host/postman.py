"""Send notices to push services (RFC 8030, 8291, 8292), as a process of its own that ends when they are sent.

``python -m holdfast.host.postman`` reads one msgpack ``Errand`` from standard input and writes what became of each letter to
standard output as soon as it is known, a line of JSON each (``Told``). A process of its own, because what it needs takes memory
and half a second to load, and because nothing that a push service does may reach the host. Secrets come on standard input alone.

Whoever subscribes chooses the endpoint, the keys and thereby the service: none of these may keep another's letter back. So every
service has lanes of its own, no letter's failure ends the process, and all is over after ``ERRAND_S``.
"""

from __future__ import annotations

import http
import http.client
import importlib.util
import ipaddress
import os
import queue
import socket
import ssl
import sys
import threading
import time
from base64 import urlsafe_b64encode
from collections import defaultdict
from typing import Final, NoReturn
from urllib.parse import urlsplit

import msgspec

from holdfast.core.errors import Refused

SEND_S: Final = 10.0  # for a push service to take a connection, some bytes, or say something
ERRAND_S: Final = 20.0  # for all letters: new ones wait for it, so it is what one bad service costs the others
LANES: Final = 4  # letters on their way to one service at once
LANES_MAX: Final = 64  # and to all: eight operators who each name as many services as they may
NAME_MAX: Final = 253  # RFC 1035
LABEL_MAX: Final = 63
ANSWER_MAX: Final = 4096
TOKEN_S: Final = 3600  # a push service takes a signature for so long; RFC 8292 allows a day
NEEDED: Final = "pywebpush"


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """``key`` and ``auth`` are the browser's; ``topic``: a later letter of the same one replaces what was not delivered."""

    endpoint: str
    key: bytes
    auth: bytes
    payload: bytes
    ttl_s: int
    urgency: str
    topic: str

    def __repr__(self) -> str:
        return f"<Letter to {self.service}>"

    @property
    def service(self) -> str:
        """The push service, without what makes the endpoint a secret."""
        return urlsplit(self.endpoint).hostname or "?" if well_formed(self.endpoint) else "?"


class Errand(msgspec.Struct, frozen=True, array_like=True):
    """``secret``: the host's P-256 key for push services. ``near``: names of services that may be at a private address."""

    secret: bytes
    contact: str
    near: tuple[str, ...]
    letters: tuple[Letter, ...]

    def __repr__(self) -> str:
        return f"<Errand of {len(self.letters)}>"


class Fate(msgspec.Struct, frozen=True, array_like=True):
    """``status``: what the service answered, 0 if it did not. ``after_s``: how long it wants to be left alone."""

    status: int
    why: str = ""
    after_s: float = 0.0

    @property
    def sent(self) -> bool:
        return 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """The browser has given the subscription up."""
        return self.status in (404, 410)

    @property
    def passing(self) -> bool:
        """It may go better later."""
        return self.status in (0, 408, 425, 429) or self.status >= 500


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What became of a letter, by its place in the errand."""

    letter: int
    fate: Fate


def missing() -> str:
    """Return what this machine lacks to send anything, empty if nothing."""
    if importlib.util.find_spec(NEEDED) is None:
        return "this host's machine cannot send notices; install it there as holdfast[push]"
    return ""


def well_formed(endpoint: str) -> bool:
    """Whether ``endpoint`` is an https URL that can be asked as it stands: what is found out only when a notice is due helps
    nobody. Raises nothing, whatever it is."""
    try:
        parts = urlsplit(endpoint)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    labels = name.split(".") if not name.startswith("[") else []
    return (
        endpoint.startswith("https://")
        and all("!" <= each <= "~" for each in endpoint)  # as HTTP takes it: no blank, nothing to encode
        and 0 < len(name) <= NAME_MAX
        and all(0 < len(each) <= LABEL_MAX for each in labels)
        and port != 0
        and parts.username is None
        and "#" not in endpoint
    )


def public(address: str) -> bool:
    """Whether anybody may be made to speak to ``address``. What holds an IPv4 address that a translator (RFC 6052) or a tunnel
    (RFC 3056) takes out again is as public as that one; Python calls those, and multicast, global."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not found.is_multicast
    if found in _TRANSLATED:
        return public(str(ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)))
    if found.sixtofour is not None:
        return public(str(found.sixtofour))
    return found in _UNICAST and found.is_global


_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # RFC 4291: what is assigned as global unicast


def addresses(endpoint: str, near: tuple[str, ...]) -> list[str]:
    """Return the addresses of a push service. Raises Refused: an endpoint comes from a client, and must not make this
    machine speak to what only it can reach. OSError if the name is unknown."""
    if not well_formed(endpoint):
        raise Refused("a push service is reached by https and nothing else", do="subscribe anew")
    parts = urlsplit(endpoint)
    name = parts.hostname or ""
    found = [str(info[4][0]) for info in socket.getaddrinfo(name, parts.port or 443, type=socket.SOCK_STREAM)]
    if name not in near and not all(public(each) for each in found):
        raise Refused(
            f"{name} is at a private address", do="name it in push_near of the host's settings if that is meant"
        )
    return found


class _To(http.client.HTTPSConnection):
    """A connection to one of the addresses that were looked at, whatever the name resolves to next."""

    def __init__(self, name: str, port: int, found: list[str], context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=SEND_S, context=context)
        self._found = found

    def connect(self) -> None:
        plain = self._reached()
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]

    def _reached(self) -> socket.socket:
        *others, last = self._found
        for address in others:  # a machine without IPv6 still finds such addresses of a name
            try:
                return socket.create_connection((address, self.port), self.timeout)
            except OSError:
                continue
        return socket.create_connection((last, self.port), self.timeout)


def deliver(errand: Errand, letter: Letter, context: ssl.SSLContext) -> Fate:
    """Send one letter; no redirect is followed. ``why`` of what it returns says nothing of the endpoint: it is logged."""
    try:
        found = addresses(letter.endpoint, errand.near)
    except Refused as error:
        return Fate(400, error.message)
    except OSError:
        return Fate(0, "its name is not known now")
    try:
        body, headers = _sealed(errand, letter)
    except ValueError as error:  # keys of no browser: it will not go better later
        return Fate(400, f"nothing can be sealed for it ({type(error).__name__})")
    parts = urlsplit(letter.endpoint)
    line = _To(parts.hostname or "", parts.port or 443, found, context)
    try:
        line.request("POST", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers)
        answer = line.getresponse()
        answer.read(ANSWER_MAX)
        after = answer.getheader("Retry-After", "")
        return Fate(answer.status, _phrase(answer.status), float(after) if after.isdecimal() else 0.0)
    except ssl.SSLError as error:
        return Fate(0, f"{type(error).__name__}: {error.reason}")
    except OSError as error:
        return Fate(0, f"{type(error).__name__}: {error.strerror or 'it took too long'}")
    except http.client.HTTPException as error:  # its text may quote the endpoint
        return Fate(0, type(error).__name__)
    finally:
        line.close()


def _phrase(status: int) -> str:
    """The usual words for ``status``, not the service's: those could be anything."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _sealed(errand: Errand, letter: Letter) -> tuple[bytes, dict[str, str]]:
    """Return what is sent, sealed and signed. Raises ValueError for keys that are none."""
    from py_vapid import Vapid02
    from pywebpush import WebPusher

    keys = {"p256dh": urlsafe_b64encode(letter.key).decode(), "auth": urlsafe_b64encode(letter.auth).decode()}
    body = WebPusher({"endpoint": letter.endpoint, "keys": keys}).encode(letter.payload)["body"]
    parts = urlsplit(letter.endpoint)
    port = f":{parts.port}" if parts.port else ""
    claims = {"aud": f"https://{parts.hostname}{port}", "sub": errand.contact, "exp": int(time.time()) + TOKEN_S}
    signer = Vapid02.from_raw(urlsafe_b64encode(errand.secret).rstrip(b"="))
    return body, {
        **signer.sign(claims), "Content-Encoding": "aes128gcm", "Content-Type": "application/octet-stream",
        "TTL": str(letter.ttl_s), "Urgency": letter.urgency, "Topic": letter.topic,
    }  # fmt: skip


Lane = list[tuple[int, Letter]]


def lanes(letters: tuple[Letter, ...]) -> list[Lane]:
    """Return who waits behind whom: ``LANES`` rows for each service, and never one service behind another."""
    found: dict[tuple[str, int], Lane] = {}
    count: defaultdict[str, int] = defaultdict(int)
    for at, letter in enumerate(letters):
        service = letter.service
        found.setdefault((service, count[service] % LANES), []).append((at, letter))
        count[service] += 1
    return list(found.values())


def carry(errand: Errand, told: queue.Queue[Told]) -> None:
    """Begin to deliver all letters; what became of each is put to ``told``. Returns at once."""
    waiting: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    rows = lanes(errand.letters)
    for row in rows:
        waiting.put(row)
    context = ssl.create_default_context()

    def work() -> None:
        while True:
            try:
                row = waiting.get_nowait()
            except queue.Empty:
                return
            for at, letter in row:
                try:
                    fate = deliver(errand, letter, context)
                except Exception as error:  # nobody foresaw it; its text may quote what is secret
                    fate = Fate(400, type(error).__name__)
                told.put(Told(at, fate))

    for number in range(min(len(rows), LANES_MAX)):
        threading.Thread(target=work, name=f"lane {number}", daemon=True).start()


def main() -> NoReturn:
    over = time.monotonic() + ERRAND_S
    errand = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Errand)
    told: queue.Queue[Told] = queue.Queue()
    carry(errand, told)
    open_ = set(range(len(errand.letters)))
    while open_:
        try:
            each = told.get(timeout=max(0.0, over - time.monotonic()))
        except queue.Empty:
            break
        open_.discard(each.letter)
        _say(each)
    for at in sorted(open_):
        _say(Told(at, Fate(0, "it took too long")))
    os._exit(0)  # whoever still drips is left behind: no thread can be ended, a process can


def _say(what: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
