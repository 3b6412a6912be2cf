"""A key that SSH keeps vouches for a device for a day: against the real service and the real `ssh-keygen`."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from holdfast.client import sshkeys
from holdfast.client.sshkeys import SshFailed, SshSigner, armored, keys, vouch
from holdfast.core import grants, identity, signed
from holdfast.core.admission import Act, Granted, refusals
from holdfast.core.grants import Capability
from holdfast.core.identity import DAY_S, BadCertificate, Kind
from holdfast.core.signed import Form, genuine
from tests.core.tenants import NOW, S1, Tenant, pair, seed

T = Tenant()
MISSING = [name for name in ("ssh-agent", "ssh-add", "ssh-keygen") if shutil.which(name) is None]
needs_ssh = pytest.mark.skipif(bool(MISSING), reason=f"needs openssh-client: {', '.join(MISSING)}")


def quietly(*command: str, **more: str) -> None:
    subprocess.run(
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL, env=os.environ | more, timeout=20
    )


@pytest.fixture
def service(short_dir: Path) -> Iterator[str]:
    """A real service of its own, holding Alice's key and one that is not Ed25519."""
    where = str(short_dir / "s")
    running = subprocess.Popen(["ssh-agent", "-D", "-a", where], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert running.stdout is not None
    try:
        assert running.stdout.readline()  # it says where it listens, once it does
        private = Ed25519PrivateKey.from_private_bytes(seed("acme/alice"))
        file = short_dir / "alice"
        file.touch(0o600)
        file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        quietly("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(short_dir / "other"))
        quietly("ssh-add", "-q", str(file), str(short_dir / "other"), SSH_AUTH_SOCK=where)
        yield where
    finally:
        running.terminate()
        running.wait(10)
        running.stdout.close()


@needs_ssh
def test_the_service_lists_ed25519_keys_and_signs_with_them(service: str) -> None:
    [found] = keys(service)
    assert found.key == T.alice.key
    signature = SshSigner(found.key, service).sign(b"message")
    assert genuine(T.alice.key, signature, b"message", Form.SSH)
    assert not genuine(T.alice.key, signature, b"message", Form.PLAIN)
    assert not genuine(T.alice.key, signature, b"other", Form.SSH)
    with pytest.raises(SshFailed, match="does not hold"):
        SshSigner(T.bot.key, service).sign(b"message")


@needs_ssh
def test_ssh_keygen_agrees_about_what_was_signed(service: str, short_dir: Path) -> None:
    signature = SshSigner(T.alice.key, service).sign(b"message")
    public = Ed25519PrivateKey.from_private_bytes(seed("acme/alice")).public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    (short_dir / "signers").write_text(f"alice {line}\n")
    (short_dir / "sig").write_text(armored(T.alice.key, signature))
    ask = ["ssh-keygen", "-Y", "verify", "-f", str(short_dir / "signers"), "-I", "alice", "-n", "holdfast",
           "-s", str(short_dir / "sig")]  # fmt: skip
    assert subprocess.run(ask, input=b"message", capture_output=True, timeout=20).returncode == 0
    assert subprocess.run(ask, input=b"massage", capture_output=True, timeout=20).returncode != 0


@needs_ssh
def test_what_ssh_keygen_signs_is_what_we_sign(service: str, short_dir: Path) -> None:
    (short_dir / "message").write_bytes(b"message")
    quietly(
        "ssh-keygen", "-q", "-Y", "sign", "-n", "holdfast", "-f", str(short_dir / "alice"), str(short_dir / "message")
    )
    made = (short_dir / "message.sig").read_text()
    assert made == armored(T.alice.key, SshSigner(T.alice.key, service).sign(b"message"))


@needs_ssh
def test_a_device_that_ssh_vouched_for_acts_for_its_human_for_a_day(service: str) -> None:
    device = pair("laptop")
    chain, given = vouch(SshSigner(T.alice.key, service), T.alice_chain, device=device.key,
                         serials=(T.serial(), T.serial()), now=NOW, grant=T.granted(T.alice, Capability.OPERATE))  # fmt: skip
    member = identity.verify(chain, tenant=T.key, now=NOW)
    assert (member.kind, member.key, member.certificate.on_behalf_of) == (Kind.DEVICE, device.key, T.alice.key)
    assert member.certificate.not_after <= NOW + DAY_S
    grant = grants.verify(given, tenant=T.key, now=NOW, holder=device.key, kind=member.kind, principal=T.alice.key)
    assert grant.depth == 0
    assert refusals(Act("input", S1, "build"), Granted(member, (grant,)), now=NOW) == []
    assert refusals(Act("kill", S1, "build"), Granted(member, (grant,)), now=NOW) != []


class Soft:
    """A signer whose signatures have the form of SSH, for what needs no service."""

    form = Form.SSH

    def __init__(self, word: str) -> None:
        self._pair = pair(word)
        self.key = self._pair.key

    def sign(self, message: bytes) -> bytes:
        return self._pair.sign(signed.signable(message, Form.SSH))


def test_root_and_issuer_signatures_never_have_the_form_of_ssh() -> None:
    """Whoever can get one signature out of somebody's key service must not thereby make members."""
    more = {"serial": bytes(16), "now": NOW}
    by_root = identity.issue(Soft("acme/root"), (), kind=Kind.ISSUER, key=pair("i").key, **more)  # type: ignore[arg-type]
    with pytest.raises(BadCertificate, match="not signed"):
        identity.verify_issuer(by_root[0], tenant=T.key, now=NOW)
    by_issuer = identity.issue(Soft("acme/issuer"), T.issuer_chain, kind=Kind.HUMAN, key=pair("h").key, **more)  # type: ignore[arg-type]
    with pytest.raises(BadCertificate, match="not signed"):
        identity.verify(by_issuer, tenant=T.key, now=NOW)
    first = grants.mint(Soft("acme/issuer"), issuer=T.issuer_certificate, holder=T.alice.key, serial=bytes(16), now=NOW,
                        capabilities=Capability.OBSERVE, not_after=NOW + 60)  # fmt: skip
    with pytest.raises(grants.BadGrant, match="not signed"):
        grants.verify(first, tenant=T.key, now=NOW, holder=T.alice.key, kind=Kind.HUMAN)
    by_human = identity.issue(Soft("acme/alice"), T.alice_chain, kind=Kind.GUEST, key=pair("g").key, **more)  # type: ignore[arg-type]
    assert identity.verify(by_human, tenant=T.key, now=NOW).kind is Kind.GUEST


@pytest.mark.parametrize("form", [0, 1, 2, -1])
def test_a_signature_counts_in_the_form_it_was_made_in_and_in_no_other(form: int) -> None:
    chain = identity.issue(
        Soft("acme/alice"), T.alice_chain, kind=Kind.GUEST, key=pair("g").key, serial=bytes(16), now=NOW
    )
    outer = msgspec.msgpack.decode(chain[2])
    relabelled = [*chain[:2], signed.encoded([*outer[:2], form])]
    if form == Form.SSH:
        assert identity.verify(relabelled, tenant=T.key, now=NOW)
    else:
        with pytest.raises(BadCertificate):
            identity.verify(relabelled, tenant=T.key, now=NOW)


# ---- a service that misbehaves ---------------------------------------------------------------------------------------


class Answering:
    """A service that answers every question with the same bytes; None: never; empty: by hanging up."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.answer, self.done = answer, threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.socket.settimeout(20)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        try:
            peer, _ = self.socket.accept()
        except OSError:
            return
        with peer:
            peer.recv(65536)
            if self.answer is None:
                self.done.wait(20)
            elif self.answer:
                peer.sendall(self.answer)

    def close(self) -> None:
        self.done.set()
        self.thread.join(30)
        self.socket.close()


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "refused"),
        (framed(b"\x05"), "refused"),
        (framed(b""), "malformed"),
        (framed(b"\x0c\0\0\0\1"), "malformed"),
        (framed(b"\x0c\0\0\0\1\xff\xff\xff\xff"), "malformed"),
        (b"\x7f\xff\xff\xff", "malformed"),
        (None, "silent"),
    ],
    ids=["hangs up", "failure", "empty", "no key", "endless key", "endless", "silent"],
)
def test_whatever_the_service_answers_it_is_an_error_that_says_so(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, reason: str
) -> None:
    if answer is None:
        monkeypatch.setattr(sshkeys, "LIST_S", 0.1)
    service = Answering(short_dir / "s", answer)
    try:
        with pytest.raises(SshFailed) as failed:
            keys(str(short_dir / "s"))
    finally:
        service.close()
    assert failed.value.details["reason"] == reason


def test_a_wrong_signature_is_not_passed_on(short_dir: Path) -> None:
    service = Answering(short_dir / "s", framed(b"\x0e" + framed(framed(b"ssh-ed25519") + framed(bytes(64)))))
    try:
        with pytest.raises(SshFailed, match="wrong signature"):
            SshSigner(T.alice.key, str(short_dir / "s")).sign(b"message")
    finally:
        service.close()


def test_without_a_service_it_is_said(monkeypatch: pytest.MonkeyPatch, short_dir: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SshFailed, match="SSH_AUTH_SOCK is not set"):
        keys()
    with pytest.raises(SshFailed, match="cannot be reached"):
        keys(str(short_dir / "nobody"))
