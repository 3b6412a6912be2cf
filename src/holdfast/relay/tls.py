"""TLS for a relay: settings, and one read buffer for all connections instead of 256 KiB for each.

asyncio's TLS protocol keeps a buffer of its own for what a socket gives, and empties it before it returns to the loop:
``get_buffer``, ``recv_into`` and ``buffer_updated`` are one uninterrupted step. So one buffer serves every connection.
Where a later Python keeps the buffer elsewhere, connections weigh more again and nothing else changes.
Measured: docs/relay.md, "Figures".
"""

import ssl
from asyncio import sslproto
from pathlib import Path
from typing import Any, Final

from holdfast.core.errors import HoldError

READ_BYTES: Final = 64 * 1024  # taken from a socket in one turn; also what bounds one connection's turn

_buffer: Final = bytearray(READ_BYTES)
_view: Final = memoryview(_buffer)


class BadTls(HoldError):
    code = "bad-tls"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"certificate or key cannot be used: {why}", do="give a PEM chain with --cert and its key with --key"
        )


class SharedBuffer(sslproto.SSLProtocol):
    """asyncio's own TLS protocol, reading into the one buffer. For loops that read sockets in the loop's own thread."""

    max_size = READ_BYTES

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._ssl_buffer, self._ssl_buffer_view = _buffer, _view


def share_read_buffer() -> None:
    """Let every TLS connection that this process makes from now on read into one buffer."""
    sslproto.SSLProtocol = SharedBuffer  # type: ignore[misc]


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's TLS settings: 1.2 or newer, HTTP/1.1. Raises BadTls."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Use this certificate for connections from now on. Raises BadTls; what was used before still is then."""
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")  # never ask at a terminal
    except (OSError, ssl.SSLError) as error:
        raise BadTls(str(error)) from None
