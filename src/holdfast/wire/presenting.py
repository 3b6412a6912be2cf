"""Say on a local socket which operator one is, beyond what the kernel says: by key. Source: docs/wire.md, "Presenting".
Re-exported by messages. Not here: what certificates and grants are worth (core.identity, core.grants)."""

from typing import Annotated, Final

import msgspec

from holdfast.core.identity import CERTIFICATE_BYTES_MAX, CHAIN_MAX
from holdfast.core.signed import SIGNATURE_BYTES
from holdfast.wire.parts import Message

DOMAIN: Final = b"holdfast/present/1\0"
NONCE_BYTES: Final = 16
GRANTS_MAX: Final = 16
GRANT_BYTES_MAX: Final = 16 * 1024

_Certificate = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
_Grant = Annotated[bytes, msgspec.Meta(max_length=GRANT_BYTES_MAX)]


class Present(Message, frozen=True, tag="present"):
    """From now on this connection is the operator of these certificates and no longer the machine's user. Answer: ``Done``.

    Said once, before anything is asked for. ``signature`` is by the certified key, over ``presentation``. What is done from
    then on needs these grants, and is signed like everything that comes from elsewhere.
    """

    ref: int
    certificates: Annotated[tuple[_Certificate, ...], msgspec.Meta(max_length=CHAIN_MAX)]
    grants: Annotated[tuple[_Grant, ...], msgspec.Meta(max_length=GRANTS_MAX)]
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]
    form: int = 0  # core.signed.Form of the signature


def presentation(*, host: str, client: str, nonce: bytes) -> bytes:
    """Return what is signed: for this host alone, this connection alone (``nonce`` of its ``welcome``), this client.

    ``host`` and ``client`` have at most 255 bytes; raises ValueError for longer ones.
    """
    texts = [host.encode(), client.encode()]
    return b"".join([DOMAIN, *(bytes([len(text)]) + text for text in texts), nonce])
