"""Send notices to push services (RFC 8030, 8291, 8292), as a process of its own that ends when they are sent.

``python -m holdfast.host.postman`` reads one msgpack ``Errand`` from standard input and writes the ``Fate`` of each letter to
standard output, in order, a line of JSON each. A process of its own, because what it needs takes memory and half a second to
load, and because nothing that a push service does may reach the host. Secrets come on standard input alone.
"""

from __future__ import annotations

import http.client
import importlib.util
import ipaddress
import socket
import ssl
import sys
import time
from base64 import urlsafe_b64encode
from typing import Final
from urllib.parse import urlsplit

import msgspec

from holdfast.core.errors import Refused

SEND_S: Final = 10.0  # for one letter
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
        return urlsplit(self.endpoint).hostname or "?"


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


def missing() -> str:
    """Return what this machine lacks to send anything, empty if nothing."""
    if importlib.util.find_spec(NEEDED) is None:
        return "this host's machine cannot send notices; install it there as holdfast[push]"
    return ""


def addresses(endpoint: str, near: tuple[str, ...]) -> list[str]:
    """Return the addresses of a push service. Raises Refused: an endpoint comes from a client, and must not make this
    machine speak to what only it can reach. OSError if the name is unknown."""
    parts = urlsplit(endpoint)
    name = parts.hostname or ""
    if parts.scheme != "https" or not name or parts.username or parts.fragment:
        raise Refused("a push service is reached by https and nothing else", do="subscribe anew")
    found = [str(info[4][0]) for info in socket.getaddrinfo(name, parts.port or 443, type=socket.SOCK_STREAM)]
    if name not in near and not all(ipaddress.ip_address(each.partition("%")[0]).is_global for each in found):
        raise Refused(
            f"{name} is at a private address", do="name it in push_near of the host's settings if that is meant"
        )
    return found


class _To(http.client.HTTPSConnection):
    """A connection to the address that was looked at, whatever the name resolves to next."""

    def __init__(self, name: str, port: int, address: str) -> None:
        super().__init__(name, port, timeout=SEND_S, context=ssl.create_default_context())
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]


def deliver(errand: Errand, letter: Letter) -> Fate:
    """Send one letter; no redirect is followed."""
    from py_vapid import Vapid02
    from pywebpush import WebPusher

    parts = urlsplit(letter.endpoint)
    try:
        [address, *_] = addresses(letter.endpoint, errand.near)
    except Refused as error:
        return Fate(400, error.message)
    except OSError as error:
        return Fate(0, f"its name is not known now: {error}")
    keys = {"p256dh": urlsafe_b64encode(letter.key).decode(), "auth": urlsafe_b64encode(letter.auth).decode()}
    body = WebPusher({"endpoint": letter.endpoint, "keys": keys}).encode(letter.payload)["body"]
    port = f":{parts.port}" if parts.port else ""
    claims = {"aud": f"https://{parts.hostname}{port}", "sub": errand.contact, "exp": int(time.time()) + TOKEN_S}
    signer = Vapid02.from_raw(urlsafe_b64encode(errand.secret).rstrip(b"="))
    headers = {
        **signer.sign(claims), "Content-Encoding": "aes128gcm", "Content-Type": "application/octet-stream",
        "TTL": str(letter.ttl_s), "Urgency": letter.urgency, "Topic": letter.topic,
    }  # fmt: skip
    line = _To(parts.hostname or "", parts.port or 443, address)
    try:
        line.request("POST", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", body, headers)
        answer = line.getresponse()
        answer.read(ANSWER_MAX)
        after = answer.getheader("Retry-After", "")
        return Fate(answer.status, answer.reason or "", float(after) if after.isdecimal() else 0.0)
    except (OSError, http.client.HTTPException) as error:
        return Fate(0, f"{type(error).__name__}: {error}")
    finally:
        line.close()


def main() -> int:
    errand = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Errand)
    for letter in errand.letters:
        sys.stdout.buffer.write(msgspec.json.encode(deliver(errand, letter)) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
