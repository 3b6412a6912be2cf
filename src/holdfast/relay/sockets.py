"""Listen, and let the gate decide about each socket before anything is spent on it."""

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from holdfast.core.errors import HoldError
from holdfast.relay.gate import Gate, Ticket

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

BACKLOG: Final = 512
NOT_SENT_BYTES: Final = (
    128 * 1024
)  # what the kernel may queue unsent per socket: the rest waits here, where it is counted
_NOT_SENT_LOWAT: Final = 25  # TCP_NOTSENT_LOWAT of Linux, which Python 3.11 does not name


class CannotListen(HoldError):
    code = "cannot-listen"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"the relay cannot listen on {where}: {why}; it did not start", do="choose another address or port"
        )


def address_of(text: str) -> Address | None:
    """Return the IP address that ``text`` is; an IPv4 address in IPv6 clothes is IPv4. None if it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def among(address: Address | None, networks: Iterable[Network]) -> bool:
    """Tell whether ``address`` lies in one of ``networks``."""
    return address is not None and any(address in network for network in networks)


def counted_as(address: Address | None) -> str:
    """Return what sockets of ``address`` are counted under: an IPv4 address, or the /64 that one household has."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address) if address is not None else "?"


class _Accepted(socket.socket):
    """A socket that says when it is closed, whoever closes it and whatever stage it was in."""

    closing: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        closing, self.closing = self.closing, None
        if closing is not None:
            closing()


class Listener(socket.socket):
    """A listening socket with a gate. Sockets of ``trusted`` proxies are counted by address only once one is named."""

    def __init__(self, family: int, gate: Gate, trusted: Iterable[Network]) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._gate, self._trusted = gate, tuple(trusted)
        self._tickets: dict[Any, Ticket] = {}

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next socket that may stay. Raises ConnectionAbortedError for one that may not."""
        raw, peername = super().accept()
        accepted = _Accepted(fileno=raw.detach())
        address = address_of(peername[0])
        where = "" if among(address, self._trusted) else counted_as(address)
        ticket = self._gate.enter(where, lambda: _shut(accepted))
        if ticket is None:
            accepted.close()
            raise ConnectionAbortedError
        self._tickets[peername] = ticket

        def closing() -> None:
            del self._tickets[peername]
            self._gate.leave(ticket)

        accepted.closing = closing
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, _NOT_SENT_LOWAT, NOT_SENT_BYTES)
        except OSError:
            pass  # a kernel without it queues more by itself; nothing else changes
        return accepted, peername

    def ticket(self, peername: Any) -> Ticket | None:
        """Return the ticket of the connected socket with that peer name."""
        return self._tickets.get(peername)


def _shut(accepted: socket.socket) -> None:
    try:
        accepted.shutdown(socket.SHUT_RDWR)  # its transport sees the end and closes it
    except OSError:
        pass


def listening(host: str, port: int, gate: Gate, trusted: Iterable[Network]) -> Listener:
    """Return a bound socket for ``host`` and ``port`` (0: any free one). Raises CannotListen."""
    try:
        [(family, _, _, _, where), *_] = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = Listener(family, gate, trusted)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host in ("", "::"):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
    except OSError as error:
        raise CannotListen(f"{host}:{port}", error.strerror or str(error)) from None
    return listener
