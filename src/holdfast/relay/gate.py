"""Decide which sockets may stay before anybody proved who they are. Pure; not here: admission by certificate.

A socket is counted from its acceptance to its end, whatever happens in between: a TLS handshake that never finishes, an
HTTP request of one byte a second. When too many wait unadmitted, the oldest is put out and not the newest refused: a
crowd that only holds sockets open then has to keep coming, faster than honest peers need to be admitted.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

from holdfast.relay.limits import Limits


class Ticket:
    """One socket's stay. ``address`` is what it is counted under; empty: under none (a trusted proxy)."""

    __slots__ = ("address", "put_out", "waiting")

    def __init__(self, address: str, put_out: Callable[[], None]) -> None:
        self.address, self.put_out = address, put_out
        self.waiting = True  # until it is admitted, put out or closed


class Gate:
    """Counts sockets in all, by address, and unadmitted. Bounded by ``Limits``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = 0
        self._unadmitted: OrderedDict[Ticket, None] = OrderedDict()
        self._by_address: Counter[str] = Counter()
        self._waiting_by_address: Counter[str] = Counter()
        self.refused, self.put_out = 0, 0  # since the start

    @property
    def inside(self) -> int:
        return self._all

    @property
    def unadmitted(self) -> int:
        return len(self._unadmitted)

    def enter(self, address: str, put_out: Callable[[], None]) -> Ticket | None:
        """Let a socket in, or return None. ``put_out`` closes it, later and at most once."""
        if self._all >= self._limits.connections_max or self._full(address):
            self.refused += 1
            return None
        ticket = Ticket(address, put_out)
        self._all += 1
        self._count(ticket, 1)
        self._unadmitted[ticket] = None
        if len(self._unadmitted) > self._limits.unadmitted_max:
            oldest = next(iter(self._unadmitted))
            self.put_out += 1
            self._leave_the_line(oldest)
            oldest.put_out()
        return ticket

    def comes_from(self, ticket: Ticket, address: str) -> bool:
        """Count a proxy's socket under the ``address`` that the proxy names; tell whether it may stay."""
        if address == ticket.address:
            return True
        if self._full(address):
            self.refused += 1
            return False
        self._count(ticket, -1)
        ticket.address = address
        self._count(ticket, 1)
        return True

    def admit(self, ticket: Ticket) -> None:
        """Note that this one proved who it is."""
        self._leave_the_line(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Note that this socket is closed. Once for each ticket."""
        self._leave_the_line(ticket)
        self._all -= 1
        if ticket.address:
            self._less(self._by_address, ticket.address)

    def _full(self, address: str) -> bool:
        return bool(address) and (
            self._by_address[address] >= self._limits.address_connections_max
            or self._waiting_by_address[address] >= self._limits.address_unadmitted_max
        )

    def _count(self, ticket: Ticket, by: int) -> None:
        if not ticket.address:
            return
        for counter in (self._by_address, *((self._waiting_by_address,) if ticket.waiting else ())):
            if by > 0:
                counter[ticket.address] += by
            else:
                self._less(counter, ticket.address)

    def _leave_the_line(self, ticket: Ticket) -> None:
        if not ticket.waiting:
            return
        ticket.waiting = False
        self._unadmitted.pop(ticket, None)
        if ticket.address:
            self._less(self._waiting_by_address, ticket.address)

    @staticmethod
    def _less(counter: Counter[str], address: str) -> None:
        counter[address] -= 1
        if counter[address] <= 0:
            del counter[address]  # addresses come and go: only those inside are remembered
