"""Let a key that SSH keeps vouch for a key of ours: one signature a day, never one for input.

Speaks to the service at SSH_AUTH_SOCK that holds SSH keys and signs with them, so the key itself is never seen here.
Source: OpenSSH, its protocol for asking that service, and PROTOCOL.sshsig. Not here: what the signature is worth
(core.identity accepts it for what a human vouches for, core.grants for links that are not the first).
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast.core import grants, identity
from holdfast.core.errors import HoldError
from holdfast.core.identity import Kind
from holdfast.core.signed import KEY_BYTES, SIGNATURE_BYTES, SSH_NAMESPACE, Form, genuine, signable

LIST_S: Final = 5.0
SIGN_S: Final = 60.0  # a person may have to confirm, or touch a token
REPLY_BYTES_MAX: Final = 256 * 1024
_LIST, _LISTED, _SIGN, _SIGNED = 11, 12, 13, 14
_ED25519: Final = b"ssh-ed25519"


class SshFailed(HoldError):
    """The service that keeps SSH keys did not do it. ``details["reason"]``: absent, silent, refused, malformed."""

    code = "ssh-failed"

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(
            f"the SSH key service {why}; nothing was signed",
            do="check with `ssh-add -l` that it runs and holds an Ed25519 key",
            reason=reason,
        )


class SshKey(NamedTuple):
    """An Ed25519 key that the service holds."""

    key: bytes
    comment: str


def keys(where: str | None = None) -> list[SshKey]:
    """Return the Ed25519 keys of the service at ``where`` (default: SSH_AUTH_SOCK). Raises SshFailed."""
    reply = _asked(where, bytes([_LIST]), LIST_S)
    if reply.take(1) != bytes([_LISTED]):
        raise SshFailed("refused", "did not list its keys")
    found: list[SshKey] = []
    for _ in range(int.from_bytes(reply.take(4), "big")):
        blob, comment = _Reader(reply.string()), reply.string()
        if blob.string() == _ED25519:
            found.append(SshKey(blob.string(), comment.decode("utf-8", "replace")))
    return [each for each in found if len(each.key) == KEY_BYTES]


class SshSigner:
    """A signer of core.signed whose key the service keeps."""

    form: Final = Form.SSH

    def __init__(self, key: bytes, where: str | None = None) -> None:
        self.key, self._where = key, where

    def __repr__(self) -> str:
        return f"SshSigner({self.key.hex()[:16]})"

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``, checked. Raises SshFailed."""
        blob = _string(_string(_ED25519) + _string(self.key))
        ask = bytes([_SIGN]) + blob + _string(signable(message, Form.SSH)) + bytes(4)
        reply = _asked(self._where, ask, SIGN_S)
        if reply.take(1) != bytes([_SIGNED]):
            raise SshFailed("refused", "refused to sign: it does not hold this key, or nobody confirmed")
        inner = _Reader(reply.string())
        algorithm, signature = inner.string(), inner.string()
        if algorithm != _ED25519 or len(signature) != SIGNATURE_BYTES:
            raise SshFailed("malformed", "answered with another kind of signature")
        if not genuine(self.key, signature, message, Form.SSH):
            raise SshFailed("malformed", "answered with a wrong signature")
        return signature


def vouch(
    signer: SshSigner, certificates: Sequence[bytes], *, device: bytes, serials: tuple[bytes, bytes], now: int,
    grant: bytes, life_s: int = identity.VOUCHED_S_MAX, name: bytes = b"",
) -> tuple[tuple[bytes, ...], bytes]:  # fmt: skip
    """Return chain and grant with which the key ``device`` acts for the human whose key SSH keeps, for up to a day.

    ``certificates`` and ``grant`` are that human's own; all it may do the device may, except to pass it on. Two signatures.
    Raises SshFailed, BadCertificate, BadGrant.
    """
    chain = identity.issue(
        signer, certificates, kind=Kind.DEVICE, key=device, serial=serials[0], now=now, life_s=life_s, name=name,
        on_behalf_of=signer.key,
    )  # fmt: skip
    until = min(identity.read(chain).certificate.not_after, grants.read(grant).not_after)
    return chain, grants.attenuate(grant, signer, holder=device, serial=serials[1], not_after=until, depth=0)


def armored(key: bytes, signature: bytes) -> str:
    """Return a signature as `ssh-keygen -Y verify -n holdfast` reads it, for whoever wants to check with other code."""
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + _string(_string(_ED25519) + _string(key))
    blob += _string(SSH_NAMESPACE) + _string(b"") + _string(b"sha512")
    blob += _string(_string(_ED25519) + _string(signature))
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class _Reader:
    """Takes an answer apart; what is not there is SshFailed, never an empty value."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise SshFailed("malformed", "sent an answer that makes no sense")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))


def _asked(where: str | None, message: bytes, within_s: float) -> _Reader:
    path = where or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise SshFailed("absent", "is not there (SSH_AUTH_SOCK is not set)")
    until = time.monotonic() + within_s
    try:
        with socket.socket(socket.AF_UNIX) as service:
            service.settimeout(within_s)
            service.connect(path)
            service.sendall(_string(message))
            size = int.from_bytes(_received(service, 4, until), "big")
            if size > REPLY_BYTES_MAX:
                raise SshFailed("malformed", "sent too long an answer")
            return _Reader(_received(service, size, until))
    except TimeoutError:
        raise SshFailed("silent", f"did not answer within {within_s:.0f} s") from None
    except OSError as error:
        raise SshFailed("absent", f"cannot be reached ({error.strerror or error})") from None


def _received(service: socket.socket, count: int, until: float) -> bytes:
    data = b""
    while len(data) < count:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        service.settimeout(left)
        more = service.recv(count - len(data))
        if not more:
            raise SshFailed("refused", "hung up")
        data += more
    return data
