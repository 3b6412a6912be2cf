"""What the relay's tests share: tenants made on the spot, a relay as a real process, and peers that speak to it."""

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import itertools
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import ClientConnection, connect

from holdfast.core.identity import Kind, issue, revoke, sign_host_record
from holdfast.core.signed import KeyPair
from holdfast.testing import TemporaryRelay
from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Failed

WAIT_S = 10.0
M = TypeVar("M")
_seeds = itertools.count(1)


def pair() -> KeyPair:
    """Return a key like no other of this run."""
    return KeyPair(hashlib.sha256(f"{os.getpid()} {next(_seeds)}".encode()).digest())


def serial() -> bytes:
    return hashlib.sha256(f"serial {next(_seeds)}".encode()).digest()[:16]


@dataclass(frozen=True)
class Someone:
    """A key with the chain that proves it."""

    keys: KeyPair
    chain: tuple[bytes, ...]
    tenant: bytes
    at: int = field(default_factory=lambda: int(time.time()))

    @property
    def key(self) -> bytes:
        return self.keys.key

    def admit(self, nonce: bytes, role: wire.Role, dialled: str = "127.0.0.1") -> wire.Admit:
        signature = self.keys.sign(wire.admission_bytes(nonce, role, dialled))
        return wire.Admit(wire.PROTOCOL, role, dialled, self.chain, signature)

    def record(self, version: int = 1, *, channel: bytes = b"\x05" * 32) -> bytes:
        return sign_host_record(self.keys, tenant=self.tenant, channel=channel, version=version, now=self.at)


@dataclass
class Realm:
    """A tenant: a root and one issuer, able to enrol anybody at any time."""

    now: int = field(default_factory=lambda: int(time.time()))
    root: KeyPair = field(default_factory=pair)
    issuer: KeyPair = field(default_factory=pair)

    def __post_init__(self) -> None:
        self.above = issue(self.root, (), kind=Kind.ISSUER, key=self.issuer.key, serial=serial(), now=self.now)

    def enrol(self, kind: Kind, *, now: int | None = None, life_s: int | None = None) -> Someone:
        keys, at = pair(), self.now if now is None else now
        chain = issue(self.issuer, self.above, kind=kind, key=keys.key, serial=serial(), now=at, life_s=life_s)
        return Someone(keys, chain, self.root.key, at)

    def host(self) -> Someone:
        return self.enrol(Kind.HOST)

    def human(self) -> Someone:
        return self.enrol(Kind.HUMAN)

    def revoke(self, *keys: bytes, version: int = 1) -> bytes:
        return revoke(self.root, tenant=self.root.key, version=version, at=self.now, keys=keys)


def tls_files(folder: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """Make a certificate for 127.0.0.1; return it, its key, and settings of a client that trusts it alone."""
    keys = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay of a test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(keys.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(keys, hashes.SHA256())
    )
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        keys.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key, ssl.create_default_context(cafile=certificate)


# ---- a relay as a process --------------------------------------------------------------------------------------------


class Relay(TemporaryRelay):
    """A relay process on a free port, with a state directory that survives it."""

    def up(self) -> "Relay":
        super().up()
        return self


@contextlib.contextmanager
def relay(*args: str) -> Iterator[Relay]:
    """A running relay that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hf-relay-") as folder:
        one = Relay(Path(folder) / "state", *(args or ("--open",)))
        try:
            yield one.up()
        finally:
            if one.process is not None and one.process.poll() is None:
                one.kill()


# ---- peers -----------------------------------------------------------------------------------------------------------


class Line:
    """A peer's WebSocket, with what was received and not asked for yet."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.put_by: list[Any] = []
        self.numbers = itertools.count(1)

    async def say(self, message: Any) -> None:
        await self.socket.send(wire.control(message))

    async def send(self, route: int, data: bytes) -> None:
        await self.socket.send(wire.routed(route, data))

    async def next(self) -> Any:
        if self.put_by:
            return self.put_by.pop(0)
        return await self.received()

    async def received(self) -> Any:
        async with asyncio.timeout(WAIT_S):
            said = wire.said_by_relay(await self.socket.recv())
        return said if not isinstance(said, wire.Routed) else (said.route, bytes(said.data))

    async def want(self, kind: type[M]) -> M:
        """Return the next message of ``kind``; what comes before it is put by."""
        for number, said in enumerate(self.put_by):
            if isinstance(said, kind):
                del self.put_by[number]
                return said
        while True:
            said = await self.received()
            if isinstance(said, kind):
                return said
            self.put_by.append(said)

    async def ask(self, message: Any) -> Done | Failed:
        """Send a request and return its answer."""
        await self.say(message)
        while True:
            said = await self.want(Done | Failed)  # type: ignore[arg-type]
            if said.ref == message.ref:
                return said

    async def hosts(self, *, watch: bool = False) -> dict[bytes, wire.Presence]:
        await self.say(wire.ListHosts(next(self.numbers), watch))
        found: dict[bytes, wire.Presence] = {}
        while True:
            page = await self.want(wire.HostsAre)
            found |= {each.host: each for each in page.hosts}
            if not page.more:
                return found

    async def over(self) -> Failed | None:
        """Wait for the end of the connection; return what was said last."""
        last = None
        with contextlib.suppress(Exception):
            while True:
                said = await self.received()
                last = said if isinstance(said, Failed) else last
        async with asyncio.timeout(WAIT_S):
            await self.socket.wait_closed()
        return last


@contextlib.asynccontextmanager
async def dialled(url: str, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[tuple[Line, bytes]]:
    """A connection that got its challenge."""
    async with connect(url, ssl=tls, compression=None, max_size=None, close_timeout=1, **options) as socket:
        line = Line(socket)
        challenge = await line.want(wire.Challenge)
        yield line, challenge.nonce


@contextlib.asynccontextmanager
async def admitted(url: str, who: Someone, role: wire.Role, **options: Any) -> AsyncIterator[Line]:
    async with dialled(url, **options) as (line, nonce):
        await line.say(who.admit(nonce, role))
        said = await line.next()
        assert isinstance(said, wire.Admitted), said
        yield line


@contextlib.asynccontextmanager
async def joining(url: str) -> AsyncIterator[Line]:
    async with dialled(url) as (line, _):
        await line.say(wire.Admit(wire.PROTOCOL, "join"))
        await line.want(wire.Admitted)
        yield line


@contextlib.asynccontextmanager
async def published(url: str, who: Someone, version: int = 1, **options: Any) -> AsyncIterator[Line]:
    """A host that is connected and gave its record."""
    async with admitted(url, who, "host", **options) as line:
        answer = await line.ask(wire.Publish(next(line.numbers), who.chain, who.record(version)))
        assert isinstance(answer, Done), answer
        yield line


async def refusal(one: Relay, who: Someone, role: wire.Role, **changed: object) -> str:
    """Return the code with which the relay refuses ``who``, or an empty text."""
    async with dialled(one.url) as (line, nonce):
        said = who.admit(bytes(changed.pop("nonce", nonce)), role, str(changed.pop("dialled", "127.0.0.1")))  # type: ignore[call-overload]
        await line.say(wire.Admit(*(changed.get(name, getattr(said, name)) for name in said.__struct_fields__)))
        answer = await line.next()
        return answer.code if isinstance(answer, Failed) else ""
