"""Letters go out by a process of their own: whatever one subscription or one push service does, the others get theirs."""

import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.core.errors import Refused
from holdfast.host import postman
from holdfast.host.postman import Errand, Fate, Letter, Told
from tests.host.pushes import Browser, PushService

SECRET = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
NEAR = ("127.0.0.1", "localhost")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PushService]:
    with PushService(tmp_path) as one:
        yield one


def letter(endpoint: str, browser: Browser | None = None, *, key: bytes = b"") -> Letter:
    browser = browser or Browser()
    return Letter(endpoint, key or browser.key, browser.auth, b'{"why":"input"}', 60, "high", "topic")


def carried(service: PushService, *letters: Letter, errand_s: float = postman.ERRAND_S) -> dict[int, Fate]:
    """What the process says became of each letter; ``errand_s``: how long it may take."""
    program = f"from holdfast.host import postman; postman.ERRAND_S = {errand_s}; postman.main()"
    errand = msgspec.msgpack.encode(Errand(SECRET, "mailto:a@example.com", NEAR, letters))
    done = subprocess.run(
        [sys.executable, "-c", program], input=errand, capture_output=True, timeout=60,
        env=os.environ | {"SSL_CERT_FILE": str(service.ca)}, check=True,
    )  # fmt: skip
    said = [msgspec.json.decode(line, type=Told) for line in done.stdout.splitlines()]
    assert len({each.letter for each in said}) == len(said)
    return {each.letter: each.fate for each in said}


ODD = [
    "https://127.0.0.1:99999/x", "https://127.0.0.1:abc/x", "https://127.0.0.1:0/x", "https://[::1/x",
    f"https://{'a' * 70}.example/x", "https://a..b/x", "https://127.0.0.1/\u00e9", "https://127.0.0.1/secret path",
    "https://127.0.0.1/x#y", "https://b\u00fccher.example/x",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ODD)
def test_a_subscription_that_cannot_be_sent_to_is_recognised(endpoint: str) -> None:
    assert not postman.well_formed(endpoint)
    with pytest.raises(Refused):
        postman.addresses(endpoint, NEAR)
    assert letter(endpoint).service  # what a log says of it is had without an error


def test_letters_that_cannot_be_sent_take_no_other_with_them(service: PushService) -> None:
    """I11: an operator whose subscription is broken, by accident or not, silences nobody."""
    browser = Browser()
    broken = [letter(each) for each in ODD]
    broken.append(letter(f"{service.address}/off-the-curve", key=b"\x04" + b"\xff" * 64))
    fates = carried(service, *broken, letter(f"{service.address}/good", browser))
    assert len(fates) == len(broken) + 1
    assert not any(fates[at].sent or fates[at].passing for at in range(len(broken)))
    assert fates[len(broken)] == Fate(201, "Created")
    push = service.got.get(timeout=10)
    assert (push.path, browser.read(push.body)) == ("/good", {"why": "input"})
    assert "secret" not in str(fates)  # an endpoint is one, and what is said of a letter is logged


def test_a_service_that_answers_without_end_keeps_no_other_waiting(service: PushService) -> None:
    """I11: a push service is chosen by whoever subscribes. One that drips its answer is left when time is up."""
    drips = [letter(f"{service.address}/drips") for _ in range(postman.LANES + 2)]
    other = service.address.replace("127.0.0.1", "localhost")  # another name is another service; its certificate is not
    began = time.monotonic()
    fates = carried(service, *drips, letter(f"{other}/x"), errand_s=4.0)
    assert time.monotonic() - began < 15
    assert all(fates[at].passing and not fates[at].sent for at in range(len(drips)))
    assert "CERTIFICATE" in fates[len(drips)].why.upper()  # it was reached meanwhile, and refused for that alone


def test_no_redirect_is_followed(service: PushService) -> None:
    """Promise R4: a public service cannot send the host on to a private address."""
    service.answers = [307]
    assert carried(service, letter(f"{service.address}/moved"))[0].status == 307
    assert service.got.get(timeout=10).path == "/moved"
    with pytest.raises(queue.Empty):
        service.got.get(timeout=0.5)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_no_notation_makes_a_private_address_public(address: str) -> None:
    """Promise R4: also not an IPv4 address inside an IPv6 one, where a translator or tunnel would take it out again."""
    assert not postman.public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2607:f8b0::1", "64:ff9b::808:808", "2002:808:808::1"])
def test_a_public_address_is_public(address: str) -> None:
    assert postman.public(address)
