"""Cut a byte stream into messages and back. Sans-I/O: bytes in, messages out. Source: docs/wire.md, "Framing"."""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

from holdfast.core.errors import BadMessage
from holdfast.wire.messages import Message, ToClient, ToHost

HEAD: Final = 4  # bytes of big-endian length before each body
TO_HOST_BYTES_MAX: Final = 1 << 20
TO_CLIENT_BYTES_MAX: Final = 4 << 20

M = TypeVar("M")
_encoder = msgspec.msgpack.Encoder()


def framed(message: Message) -> bytearray:
    """Return ``message`` as one frame: 4-byte big-endian length, then its msgpack body."""
    frame = bytearray(HEAD)
    _encoder.encode_into(message, frame, HEAD)
    frame[:HEAD] = (len(frame) - HEAD).to_bytes(HEAD, "big")
    return frame


class Inbox(Generic[M]):
    """Bytes of one peer in, its messages out. Holds at most one unfinished frame of ``most`` bytes."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[M]", most: int) -> None:
        self._decoder, self._most = decoder, most
        self._buffer = bytearray()

    @property
    def partial(self) -> int:
        """Bytes of an unfinished frame held; 0 between frames, where alone a stream may end."""
        return len(self._buffer)

    def receive(self, data: bytes | bytearray | memoryview) -> Iterator[M]:
        """Yield every message that ``data``, however split, completes.

        Raises BadMessage for a length over the bound (before the body arrives: no peer may reserve our memory) and for
        a body that is no message of ours. The connection is of no further use then.
        """
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        try:
            while end - start >= HEAD:
                size = int.from_bytes(buffer[start : start + HEAD], "big")
                if size > self._most:
                    raise BadMessage(
                        f"a frame of {size} bytes is over the limit of {self._most}; nothing of it was read"
                    )
                if end - start < HEAD + size:
                    break
                with memoryview(buffer) as whole:
                    body = whole[start + HEAD : start + HEAD + size]
                    try:
                        message = self._decoder.decode(body)
                    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
                        raise BadMessage(f"a frame of {size} bytes is no message of this protocol: {error}") from None
                    finally:
                        body.release()
                start += HEAD + size
                yield message
        finally:
            del buffer[:start]


def host_inbox() -> Inbox[ToHost]:
    """Return an inbox for what a client says to a host."""
    return Inbox(msgspec.msgpack.Decoder(ToHost), TO_HOST_BYTES_MAX)


def client_inbox() -> Inbox[ToClient]:
    """Return an inbox for what a host says to a client."""
    return Inbox(msgspec.msgpack.Decoder(ToClient), TO_CLIENT_BYTES_MAX)
