"""Have the next holder forked ahead of need, by a nursery that does nothing else. Not here: what it will hold (keeper).

A session then starts without waiting for a fork. And what a process writes between two forks is memory that its first
child is left alone with: the keeper, which serves requests, would cost every holder 200 KiB, the nursery next to none.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from holdfast.holder import linux
from holdfast.holder import protocol as p
from holdfast.holder.execution import Inheritance, StartFailed, close_all_but
from holdfast.holder.holder import Holder
from holdfast.holder.memory import Memory

# What a seat is told to do, and what comes with it besides master, memory and listening socket.
BEGIN: Final = b"begin"  # the other side of the terminal; the job; perhaps the version 2 group it is born in
SUCCEED: Final = b"succeed"
_WORD_BYTES: Final = 8
_GIVEN_MAX: Final = 6
_PATIENCE_S: Final = 0.2


class Seats:
    """At most one process that waits to become a holder, and the nursery. Both are children of the keeper, and end
    when it does."""

    def __init__(self, inherited: Inheritance) -> None:
        self._inherited = inherited
        self._nursery: socket.socket | None = None
        self._seat: socket.socket | None = None  # to the process that waits, or is about to

    def prepare(self) -> None:
        """Have a process forked that waits, unless there is one. Does not wait for it, and need not succeed."""
        if self._seat is not None:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return
        with theirs:
            for _ in range(2):  # the nursery may have been killed since
                try:
                    if self._nursery is None:
                        self._nursery = self._forked(_nurse)[1]
                        self._nursery.settimeout(_PATIENCE_S)
                    self._nursery.sendmsg((b"seat",), linux.rights((theirs.fileno(),)))
                except OSError:
                    self._close_nursery()
                else:
                    self._seat = ours
                    return
        ours.close()

    def give(self, what: bytes, *descriptors: int) -> tuple[int, int]:
        """Have a process hold ``descriptors``; return its pid and a descriptor where it says how that began, if at all.

        Raises OSError when no process is to be had.
        """
        self.prepare()
        if self._seat is not None:
            seat, self._seat = self._seat, None
            try:
                if pid := self._pid():
                    seat.sendmsg((what,), linux.rights(descriptors))
                    return pid, seat.detach()
            except OSError:  # it was killed while it waited
                pass
            seat.close()
        pid, seat = self._forked(_sit)
        with seat:
            seat.sendmsg((what,), linux.rights(descriptors))
            return pid, seat.detach()

    def _pid(self) -> int:
        """Return the pid of the seat, which the nursery tells when it has forked; 0 if it did not, or does not answer."""
        if self._nursery is None:
            return 0
        try:
            said = self._nursery.recv(8)
        except OSError:
            said = b""
        if not said:
            self._close_nursery()
        return int.from_bytes(said, "little")

    def _close_nursery(self) -> None:
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def _forked(self, then: Callable[[socket.SocketType, Inheritance], NoReturn]) -> tuple[int, socket.socket]:
        """Fork this very process; return the pid and our end of what links the two. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
            if pid:
                theirs.close()
                return pid, ours
        except OSError:
            ours.close()
            theirs.close()
            raise
        try:
            signal.set_wakeup_fd(-1)
            close_all_but((0, 1, 2, theirs.fileno()))
            then(linux.plain_socket(theirs.detach()), self._inherited)
        except BaseException:
            sys.__excepthook__(*sys.exc_info())
        finally:
            os._exit(70)


def _nurse(link: socket.SocketType, inherited: Inheritance) -> NoReturn:
    """Fork a seat whenever asked for one, for as long as the keeper lives."""
    linux.call_me("hf-nursery")
    while True:
        word, given = linux.receive_with_descriptors(link, 8, 1)
        if not word:
            os._exit(0)
        try:
            pid = linux.fork_beside()
        except OSError:  # no process to be had, or no such call: the keeper will fork by itself
            pid = -1
        if not pid:
            link.close()
            _sit(linux.plain_socket(given[0]), inherited)
        os.close(given[0])
        try:
            link.send(max(pid, 0).to_bytes(8, "little"))
        except OSError:
            os._exit(0)


def _sit(link: socket.SocketType, inherited: Inheritance) -> NoReturn:
    """Wait for a session, and hold it."""
    os.setsid()
    linux.call_me("hf-seat")
    what, given = linux.receive_with_descriptors(link, _WORD_BYTES, _GIVEN_MAX)
    if not what:
        os._exit(0)
    linux.become_subreaper("hf-holder")
    holder, rest = holder_of(given[:3]), given[3:]
    if what == SUCCEED:
        link.close()
        holder.succeed()
    slave, job, *group = rest
    try:
        said = p.frame(p.OK, 0, holder.begin(slave, job, group[0] if group else -1, inherited))
    except StartFailed as failed:
        link.send(p.frame(p.REFUSED, 0, {"code": failed.stage, "errno": failed.number}))
        os._exit(0)
    for one in (job, *group):
        os.close(one)
    link.send(said)
    link.close()
    holder.run(begun=True)


def holder_of(given: list[int]) -> Holder:
    """Return the holder of master, memory and listening socket."""
    master, memory, listening = given
    return Holder(master, Memory(memory), linux.plain_socket(listening))
