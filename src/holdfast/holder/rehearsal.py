"""Go through a holder's life once in the nursery, so that what the interpreter learns by it is shared by all of them.

CPython adapts its bytecode and caches while code runs, and each such write would cost every forked holder a page of its
own: ten rounds save 150 KiB per holder (measured, 3.11), and take 15 ms of the keeper's start.
"""

import os
import signal
import socket
from typing import Final

from holdfast.holder import execution, linux
from holdfast.holder import protocol as p
from holdfast.holder.holder import Holder
from holdfast.holder.memory import Memory, size_of
from holdfast.holder.seats import BEGIN, holder_of

_ROUNDS: Final = 10
_TALK: Final[tuple[tuple[int, p.Fields], ...]] = (
    (p.RESIZE, {"rows": 25, "cols": 80}),
    (p.WRITE, {"position": 1, "at": 0, "total": 1, "term": 1, "data": b"x"}),
    (p.ANSWER, {"query_end": 1, "data": b"y"}),
    (p.TERMIOS, {}),
    (p.ARCHIVED, {"upto": 1}),
)


def rehearse(inherited: execution.Inheritance) -> None:
    """Be a holder of nothing for some rounds. Nothing of it stays; an error (no terminal to be had) ends it early."""
    try:
        for _ in range(_ROUNDS):
            _start(inherited)
            _round()
    except (OSError, ValueError):
        pass


def _start(inherited: execution.Inheritance) -> None:
    """Start an execution that comes to its end before its exec, for want of a job."""
    try:
        pid, report = execution.start(-1, -1, -1, inherited)
        execution.report_of(report)
    except execution.StartFailed:
        os.waitpid(pid, 0)


def _round() -> None:
    opened = [linux.open_master(), linux.sealed_memory("hf-rehearsal", size_of(p.RING_BYTES_MIN))]
    try:
        about: p.Fields = {"session": "rehearsal", "socket": "", "exit_file": "", "cgroup_procs": [], "argv": ["true"]}
        Memory(opened[1]).format(about, rows=24, cols=80)
        opened.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        keeper, seat = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with keeper, seat, socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as host:
            listener.bind("")  # Linux: an abstract name that nobody else has
            listener.listen(1)
            listener.setblocking(False)
            keeper.sendmsg((BEGIN,), linux.rights((*opened[:2], listener.fileno())))
            holder = holder_of(linux.receive_with_descriptors(seat, len(BEGIN), 3)[1])
            try:
                host.connect(listener.getsockname())
                _play(holder, host, opened[2])
            finally:
                signal.set_wakeup_fd(-1)
                holder.close()
    finally:
        for one in opened:
            os.close(one)


def _play(holder: Holder, host: socket.socket, doorbell: int) -> None:
    slots = holder.slots
    slots[p.S_ROOT_PID] = os.getpid()
    slots[p.S_ROOT_STARTED] = linux.started(os.getpid())
    holder.look_for_root()
    holder.once()  # lets the host in
    hello: p.Fields = {"version": p.VERSION, "features": p.FEATURES, "role": "host", "generation": 1}
    host.sendmsg((p.frame(p.HELLO, 1, hello),), linux.rights((doorbell,)))
    holder.once()
    for kind, fields in _TALK:
        host.sendall(p.frame(kind, 2, fields))
        holder.once()
    host.close()
    holder.once()
