"""Seal what client and host say to each other, end to end: one Noise IK handshake per carrier, then numbered frames.

Not here: who the client is (its first message proves that, against ``binding``), what survives a carrier (link), what is
said (messages). Sans-I/O: bytes in, bytes out; ephemeral keys are arguments, so nothing in here draws randomness.

Source: docs/channel.md; The Noise Protocol Framework, revision 34, protocol ``Noise_IK_25519_AESGCM_SHA256``. Names of
that specification are kept where they are its own: section numbers in the docstrings below are of it.
"""

import hashlib
import hmac
import struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.core.errors import HoldError

PROTOCOL: Final = b"Noise_IK_25519_AESGCM_SHA256"
KEY_BYTES: Final = 32  # of every key, public or private, and of every hash
TAG_BYTES: Final = 16
FRAME_BYTES_MAX: Final = 65_535  # of any Noise message (section 3)
PLAINTEXT_BYTES_MAX: Final = FRAME_BYTES_MAX - TAG_BYTES  # 65,519
MESSAGE1_BYTES: Final = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + TAG_BYTES  # e, sealed s, an empty payload: 96
MESSAGE2_BYTES: Final = KEY_BYTES + TAG_BYTES  # e, an empty payload: 48
REKEY_AFTER: Final = 1 << 16  # messages under one key: at most 2**28 AES blocks, far below what AES-GCM bears
NONCE_END: Final = (1 << 64) - 1  # never a message's number: it is the one that REKEY uses (section 4.2)

_PROLOGUE: Final = b"holdfast/channel/1\0"
_BINDING: Final = b"holdfast/channel-binding/1\0"
_nonce = struct.Struct(">4xQ").pack  # 32 zero bits, then the number, big-endian (section 12.3)

Buffer = bytes | bytearray | memoryview


class BadHandshake(HoldError):
    """The other side did not prove to be who it should, or bytes changed on the way. Nothing was said, nothing learnt."""

    code = "bad-handshake"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"no secure channel came about: {why}; nothing was sent over it",
            do="dial again; if it goes on, the host's key is not the one expected, or somebody in between alters messages",
            why=why,
        )


class BadSeal(HoldError):
    """A frame was altered, repeated, moved, or follows one that was dropped. The channel is dead; its key is gone."""

    code = "bad-seal"

    def __init__(self, number: int, why: str) -> None:
        super().__init__(
            f"frame {number} of a secure channel does not verify ({why}); nothing of it was used and the channel is dead",
            do="dial again: what was not acknowledged is resent; if it goes on, somebody in between alters frames",
            number=number,
            why=why,
        )


class PeerClosed(HoldError):
    """The other side said, under its seal, that nothing more follows: this is an end, not a cut."""

    code = "peer-closed"

    def __init__(self) -> None:
        super().__init__(
            "the other side closed the channel; all it sent before has arrived", do="dial again to say more"
        )


class ChannelClosed(HoldError):
    """A channel that is over was asked to seal or open. Nothing was sealed, nothing opened."""

    code = "channel-closed"

    def __init__(self, why: str) -> None:
        super().__init__(f"this secure channel is over: {why}", do="dial again: every carrier gets a new one", why=why)


def prologue(host_key: bytes) -> bytes:
    """Return what both sides must agree on before the handshake: this protocol and the host's Ed25519 key, 32 bytes.

    Raises ValueError for a key of another length: it comes from a record that was verified before.
    """
    if len(host_key) != KEY_BYTES:
        raise ValueError(f"a host's key has {KEY_BYTES} bytes, not {len(host_key)}")
    return _PROLOGUE + host_key


def binding(handshake_hash: bytes) -> bytes:
    """Return what an operator's Ed25519 key signs to say "this channel is mine": it fits one channel only (11.2)."""
    if len(handshake_hash) != KEY_BYTES:
        raise ValueError(f"a handshake hash has {KEY_BYTES} bytes, not {len(handshake_hash)}")
    return _BINDING + handshake_hash


# ---- Noise, section 5 ------------------------------------------------------------------------------------------------


class Cipher:
    """A CipherState: one key and the number ``n`` of the next message; rekeys after ``rekey_after`` messages (11.3).

    Both sides count alike, so no message says so. The number goes on across a rekey, as REKEY has it.
    """

    __slots__ = ("_aead", "_rekey_after", "n")

    def __init__(self, key: bytes, *, n: int = 0, rekey_after: int = REKEY_AFTER) -> None:
        if rekey_after < 1:
            raise ValueError("a key serves at least one message")
        self._aead, self._rekey_after, self.n = AESGCM(key), rekey_after, n

    def encrypt(self, plaintext: Buffer, ad: bytes | None = None) -> bytes:
        """Return ``plaintext`` sealed. Raises ChannelClosed when the numbers are used up."""
        sealed = self._aead.encrypt(_nonce(self._number()), plaintext, ad)
        self._advance()
        return sealed

    def decrypt(self, sealed: Buffer, ad: bytes | None = None) -> bytes:
        """Return what is sealed. Raises InvalidTag, and stays where it was, if it is not the very next message."""
        plaintext = self._aead.decrypt(_nonce(self._number()), sealed, ad)
        self._advance()
        return plaintext

    def _number(self) -> int:
        if self.n >= NONCE_END:
            raise ChannelClosed("its message numbers are used up")
        return self.n

    def _advance(self) -> None:
        self.n = n = self.n + 1
        if n % self._rekey_after == 0:  # at once, not with the next message: a key that is done is not kept
            self._aead = AESGCM(self._aead.encrypt(_nonce(NONCE_END), bytes(KEY_BYTES), None)[:KEY_BYTES])


class Symmetric:
    """A SymmetricState: everything said so far, hashed into ``h``, and every secret so far, mixed into one key."""

    __slots__ = ("_cipher", "_ck", "h")

    def __init__(self, prologue: bytes, responder_static: bytes, *, protocol: bytes = PROTOCOL) -> None:
        self.h = protocol.ljust(KEY_BYTES, b"\0") if len(protocol) <= KEY_BYTES else hashlib.sha256(protocol).digest()
        self._ck = self.h
        self._cipher: Cipher | None = None
        self.mix_hash(prologue)
        self.mix_hash(responder_static)  # the premessage of IK: <- s

    def mix_hash(self, data: bytes) -> None:
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_dh(self, ours: X25519PrivateKey, theirs: bytes) -> None:
        """MixKey(DH(ours, theirs)). Raises BadHandshake for a public key of low order: it would fix the secret."""
        try:
            secret = ours.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            raise BadHandshake("a public key is none that X25519 can use") from None
        if hmac.compare_digest(secret, bytes(KEY_BYTES)):  # the library refuses it already; we do not rely on that
            raise BadHandshake("a public key is of low order")
        self._ck, key = _hkdf(self._ck, secret)
        self._cipher = Cipher(key)

    def seal(self, plaintext: bytes) -> bytes:
        """EncryptAndHash."""
        sealed = plaintext if self._cipher is None else self._cipher.encrypt(plaintext, self.h)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """DecryptAndHash. Raises BadHandshake if it does not verify."""
        try:
            plaintext = sealed if self._cipher is None else self._cipher.decrypt(sealed, self.h)
        except InvalidTag:
            raise BadHandshake("a message does not verify") from None
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """Return the key of the initiator's frames and that of the responder's."""
        return _hkdf(self._ck, b"")


def _hkdf(chaining_key: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """HKDF with two outputs (section 4.3)."""
    temporary = hmac.digest(chaining_key, secret, "sha256")
    first = hmac.digest(temporary, b"\x01", "sha256")
    return first, hmac.digest(temporary, first + b"\x02", "sha256")


# ---- the pattern IK (section 7.5), payloads and all: published vectors have them, our two messages do not -------------


class FirstRead(NamedTuple):
    remote_ephemeral: bytes
    remote_static: bytes
    payload: bytes


def write_first(
    state: Symmetric, static: X25519PrivateKey, remote_static: bytes, ephemeral: X25519PrivateKey, payload: bytes = b""
) -> bytes:
    """Return message 1: ``-> e, es, s, ss``."""
    e = ephemeral.public_key().public_bytes_raw()
    state.mix_hash(e)
    state.mix_dh(ephemeral, remote_static)
    s = state.seal(static.public_key().public_bytes_raw())
    state.mix_dh(static, remote_static)
    return e + s + state.seal(payload)


def read_first(state: Symmetric, static: X25519PrivateKey, message: bytes) -> FirstRead:
    """Read message 1. Raises BadHandshake."""
    if not MESSAGE1_BYTES <= len(message) <= FRAME_BYTES_MAX:
        raise BadHandshake(f"message 1 has {len(message)} bytes")
    payload_at = MESSAGE1_BYTES - TAG_BYTES
    e = message[:KEY_BYTES]
    state.mix_hash(e)
    state.mix_dh(static, e)
    s = state.open(message[KEY_BYTES:payload_at])
    state.mix_dh(static, s)
    return FirstRead(e, s, state.open(message[payload_at:]))


def write_second(
    state: Symmetric, ephemeral: X25519PrivateKey, remote_ephemeral: bytes, remote_static: bytes, payload: bytes = b""
) -> bytes:
    """Return message 2: ``<- e, ee, se``."""
    e = ephemeral.public_key().public_bytes_raw()
    state.mix_hash(e)
    state.mix_dh(ephemeral, remote_ephemeral)
    state.mix_dh(ephemeral, remote_static)
    return e + state.seal(payload)


def read_second(state: Symmetric, static: X25519PrivateKey, ephemeral: X25519PrivateKey, message: bytes) -> bytes:
    """Read message 2 and return its payload. Raises BadHandshake."""
    if not MESSAGE2_BYTES <= len(message) <= FRAME_BYTES_MAX:
        raise BadHandshake(f"message 2 has {len(message)} bytes")
    e = message[:KEY_BYTES]
    state.mix_hash(e)
    state.mix_dh(ephemeral, e)
    state.mix_dh(static, e)
    return state.open(message[KEY_BYTES:])


# ---- what Holdfast uses ----------------------------------------------------------------------------------------------


class Secure:
    """A channel whose handshake is done. Frames are opened in the order they were sealed, each once, or it is dead.

    ``handshake_hash`` names this one channel (see ``binding``). ``closed``: the other side said that nothing follows; if
    the carrier ends while it is False, the end is a cut, and what was under way may be missing. ``broken``: a frame
    did not verify.
    """

    __slots__ = ("_in", "_out", "_why", "broken", "closed", "handshake_hash")

    def __init__(self, *, outward: Cipher, inward: Cipher, handshake_hash: bytes) -> None:
        self._out: Cipher | None = outward
        self._in: Cipher | None = inward
        self._why = ""
        self.handshake_hash = handshake_hash
        self.closed = self.broken = False

    @property
    def writable(self) -> bool:
        """Whether ``seal`` and ``close`` still work."""
        return self._out is not None

    def seal(self, plaintext: Buffer) -> bytes:
        """Return the frame of 1 to 65,519 bytes of ``plaintext``, 16 bytes longer; send it before any later one.

        Raises ChannelClosed once the channel is over, ValueError for other lengths: an empty frame is the close.
        """
        out = self._out
        if out is None:
            raise ChannelClosed(self._why)
        if not 0 < len(plaintext) <= PLAINTEXT_BYTES_MAX:
            raise ValueError(f"a frame seals 1 to {PLAINTEXT_BYTES_MAX} bytes, not {len(plaintext)}")
        return out.encrypt(plaintext)

    def open(self, frame: Buffer) -> bytes:
        """Return what ``frame`` seals, at least one byte.

        Raises PeerClosed for the close of the other side, BadSeal if this is not its next frame just as it was sealed,
        ChannelClosed once the channel is over. After any of them the channel opens and seals nothing more.
        """
        cipher = self._in
        if cipher is None:
            raise ChannelClosed(self._why)
        number = cipher.n
        if not TAG_BYTES <= len(frame) <= FRAME_BYTES_MAX:
            self._end("a frame did not verify", broken=True)
            raise BadSeal(number, f"it has {len(frame)} bytes")
        try:
            plaintext = cipher.decrypt(frame)
        except InvalidTag:
            self._end("a frame did not verify", broken=True)
            raise BadSeal(number, "altered, repeated, out of order, or one before it was dropped") from None
        if not plaintext:
            self._end("the other side closed it")
            self.closed = True
            raise PeerClosed
        return plaintext

    def close(self) -> bytes:
        """Return the frame that says that nothing follows; ``seal`` refuses from now on.

        What the other side sent before it learns of this still opens. Raises ChannelClosed once the channel is over.
        """
        out = self._out
        if out is None:
            raise ChannelClosed(self._why)
        frame = out.encrypt(b"")
        self._out, self._why = None, "it was closed here"
        return frame

    def _end(self, why: str, *, broken: bool = False) -> None:
        self._in = self._out = None  # the keys go with them
        self._why, self.broken = why, broken


class Initiator:
    """The client's side. ``message1`` is what to send first; it carries no request, for a relay can replay it.

    ``remote_static`` is the host's X25519 key from its verified record, ``prologue`` see there. ``ephemeral_private``
    must be fresh and used for nothing else. Raises BadHandshake if ``remote_static`` is no key X25519 can use.
    """

    def __init__(
        self, *, static_private: X25519PrivateKey, remote_static: bytes, prologue: bytes,
        ephemeral_private: X25519PrivateKey, rekey_after: int = REKEY_AFTER,
    ) -> None:  # fmt: skip
        self._static, self._ephemeral = static_private, ephemeral_private
        self._state: Symmetric | None = Symmetric(prologue, remote_static)
        self._rekey_after = rekey_after
        self.message1 = write_first(self._state, static_private, remote_static, ephemeral_private)

    def finish(self, message2: bytes) -> Secure:
        """Return the channel, if ``message2`` is the host's answer to this very ``message1``.

        Raises BadHandshake otherwise, and ever after: a handshake gets one answer.
        """
        state, self._state = self._state, None
        if state is None:
            raise BadHandshake("this handshake has had its answer")
        if len(message2) != MESSAGE2_BYTES:
            raise BadHandshake(f"message 2 has {len(message2)} bytes, not {MESSAGE2_BYTES}")
        read_second(state, self._static, self._ephemeral, message2)
        ours, theirs = state.split()
        return _secure(state.h, outward=ours, inward=theirs, rekey_after=self._rekey_after)


class Answered(NamedTuple):
    """``remote_static`` is the client's X25519 key: that somebody holds it is proven by the first frame that opens."""

    message2: bytes
    secure: Secure
    remote_static: bytes


class Responder:
    """The host's side. Holds no state of any handshake: it answers any number of them, and a bad one harms no other."""

    def __init__(self, *, static_private: X25519PrivateKey, prologue: bytes, rekey_after: int = REKEY_AFTER) -> None:
        self._static, self._prologue, self._rekey_after = static_private, prologue, rekey_after
        self._public = static_private.public_key().public_bytes_raw()

    def answer(self, message1: bytes, *, ephemeral_private: X25519PrivateKey) -> Answered:
        """Return the answer to ``message1`` and the channel. ``ephemeral_private`` must be fresh for every call.

        A replayed ``message1`` is answered like a new one; the channel is of no use to whoever replayed it, because no
        frame of his will open. So nothing is done for a client before its first frame has opened.
        Raises BadHandshake for what is not a message 1 for this host.
        """
        if len(message1) != MESSAGE1_BYTES:
            raise BadHandshake(f"message 1 has {len(message1)} bytes, not {MESSAGE1_BYTES}")
        state = Symmetric(self._prologue, self._public)
        first = read_first(state, self._static, message1)
        message2 = write_second(state, ephemeral_private, first.remote_ephemeral, first.remote_static)
        theirs, ours = state.split()
        secure = _secure(state.h, outward=ours, inward=theirs, rekey_after=self._rekey_after)
        return Answered(message2, secure, first.remote_static)


def _secure(handshake_hash: bytes, *, outward: bytes, inward: bytes, rekey_after: int) -> Secure:
    return Secure(
        outward=Cipher(outward, rekey_after=rekey_after),
        inward=Cipher(inward, rekey_after=rekey_after),
        handshake_hash=handshake_hash,
    )
