"""Hold one session: its terminal, its processes, its memory; one epoll loop that never waits for anybody.

It parses nothing of what passes through, touches no disk but for the exit file (in a child), and queues no input.
Not here: how descriptors outlive this process (keeper), what the bytes mean (host, view).
"""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final, NoReturn

from holdfast.holder import execution, linux, sockets
from holdfast.holder import protocol as p
from holdfast.holder.memory import Memory
from holdfast.holder.sockets import Peer, Peers, Refusal

_TICK_S: Final = 10.0
_QUIET_S: Final = 0.25
"""The root ended: so long a silence of the terminal means that its last words are in."""
_DRAIN_S_MAX: Final = 2.0
_STATUS_S_MAX: Final = 2.0
_ROOM_RETRY_S: Final = 0.1
_ECHO_S: Final = 0.001
"""A key was typed: so long the program has to echo it before the host is told. Who looks waits for the echo."""
_KEYS_BYTES: Final = 64
"""Input of at most so many bytes is keys; what is pasted is acknowledged at once, since its next piece waits for that."""
_NEVER: Final = float("inf")

Handler = Callable[["Holder", Peer, int, dict[str, p.Value]], None]


class Leave(Exception):
    """The session is over and collected."""


class Holder:
    """The loop of one session. Its descriptors are given; ``run`` ends with the process."""

    def __init__(self, master: int, memory: Memory, listener: socket.SocketType) -> None:
        self.memory, self.slots, self.master = memory, memory.slots, master
        about = memory.about
        self.session, self.socket_path = p.text(about, "session"), p.text(about, "socket")
        self.exit_file, self.cgroup_procs = p.text(about, "exit_file"), p.texts(about, "cgroup_procs")
        self.argv = p.texts(about, "argv")
        self._listener = listener
        self._slave = self._root = -1
        self._saver = 0
        self._leaving = False
        self._eof = False
        self._wants_room = False
        self._owed: tuple[Peer, int, int] | None = None  # who is to be told, of which request, about which input
        self._finish_at = self._drain_until = self._status_until = _NEVER
        self._tick_at = time.monotonic() + _TICK_S
        self._epoll = select.epoll()
        self._peers = Peers(self._epoll, self._serve, frame_bytes_max=p.HOLDER_FRAME_MAX)
        self._signals, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        os.set_blocking(master, False)
        for fd in (self._signals, self._listener.fileno(), master):
            self._epoll.register(fd, select.EPOLLIN)
        self.slots[p.S_HOLDER_PID] = os.getpid()

    def begin(self, slave: int, job: int, group: int, inherited: execution.Inheritance) -> dict[str, p.Value]:
        """Start the execution of a new session; return how it is known. Raises execution.StartFailed."""
        slots = self.slots
        self._slave = slave
        pid, report = execution.start(slave, job, group, inherited)
        slots[p.S_ROOT_STARTED] = linux.started(pid)
        slots[p.S_ROOT_PID] = pid
        self._watch_root(os.pidfd_open(pid))
        execution.report_of(report)
        return {"root_pid": pid, "root_started": slots[p.S_ROOT_STARTED]}

    def succeed(self) -> NoReturn:
        """Continue for a holder that died, on the same descriptors; say in a mark what that may have cost."""
        self.slots[p.S_RESTARTS] += 1
        self.memory.recover(os.getpid())
        self.run()

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self, saver: int = 0, *, begun: bool = False) -> NoReturn:
        """Serve until the host has collected the exit status. A defect ends the process; the keeper replaces it.

        ``saver``: a child of before an upgrade that writes the exit file; ``begun``: the root was started just now.
        """
        self._saver = saver
        try:
            if not begun:
                self.look_for_root()
                self._child_ended()
            while True:
                self.once()
        except Leave:
            os._exit(0)
        except BaseException:
            sys.__excepthook__(*sys.exc_info())
            sys.stderr.flush()
            os._exit(70)

    def once(self) -> None:
        """Wait for whatever is next, and serve it."""
        now = time.monotonic()
        due = min(self._tick_at, self._finish_at, self._drain_until, self._status_until)
        if self._wants_room:
            due = min(due, now + _ROOM_RETRY_S)
        owed = self._owed
        wait = due - now if owed is None else _ECHO_S
        for fd, event in self._epoll.poll(max(0.0, wait)):
            if fd == self.master:
                self._terminal(event)
            elif fd in self._peers.all:
                self._peers.event(fd, event)
            elif fd == self._listener.fileno():
                self._peers.accept(self._listener)
            elif fd == self._signals:
                self._signalled()
            elif fd == self._root:
                self._root_ended()
        if owed is not None:
            self._acknowledge()
        if time.monotonic() >= due:
            self._timers(time.monotonic())

    def _timers(self, now: float) -> None:
        if self._wants_room:  # the kernel's wake-up can come before there is room, and then comes no other
            self._room()
        if now >= self._status_until:
            self._status_until = _NEVER
            self._ended(None, by=3)
        if now >= self._finish_at or now >= self._drain_until:
            self._finish()
        if now >= self._tick_at:
            self._tick_at = now + _TICK_S
            self._check_socket()
            if self._eof:  # a program may have opened the terminal again by its name
                self._fill()
            if self.slots[p.S_STATUS_STATE] != p.RUNNING:
                self._save()
                self._leave_if_done()

    def _terminal(self, event: int) -> None:
        if event & select.EPOLLOUT:
            self._room()
        if event & ~select.EPOLLOUT:
            self._fill()

    def _fill(self) -> None:
        """Take what the terminal has, once, and tell the readers."""
        count, ended = self.memory.fill(self.master)
        if count:
            self.ring_bells()
            if self._finish_at != _NEVER:
                self._finish_at = time.monotonic() + _QUIET_S
        if ended != self._eof:
            self._eof = ended
            if ended:
                self._epoll.unregister(self.master)
            else:
                self._epoll.register(self.master, select.EPOLLIN | (select.EPOLLOUT if self._wants_room else 0))
        if ended and self._finish_at != _NEVER:
            self._finish()

    def ring_bells(self) -> None:
        """Tell every reader that there is something new; a bell that rings already rings.

        Viewers that read by themselves first, the latest to come first of all: somebody waits there for the echo of a key.
        """
        for peer in reversed(self._peers.all.values()):
            if peer.doorbell >= 0:
                try:
                    os.eventfd_write(peer.doorbell, 1)
                except OSError:
                    pass

    def _signalled(self) -> None:
        try:
            numbers = set(os.read(self._signals, 4096))
        except BlockingIOError:
            return
        if signal.SIGCHLD in numbers:
            self._child_ended()
        if signal.SIGUSR1 in numbers:
            self._check_socket()
        if signal.SIGUSR2 in numbers and self._root >= 0:  # the keeper reaped what a dead holder had started
            self._root_ended()
        if signal.SIGTERM in numbers:  # the machine goes down: stay as long as the execution does
            self._leaving = True
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        """Leave when the session is over and either collected or safe on the disk with nobody to wait for."""
        if not self.slots[p.S_EXIT_MARKED] or self._saver:
            return
        if self.slots[p.S_RELEASED] or (self._leaving and self.slots[p.S_EXIT_DURABLE]):
            self.slots[p.S_RELEASED] = 1  # to the keeper: this is no death
            try:
                if sockets.inode(self.socket_path) == self.slots[p.S_SOCKET_INODE]:
                    os.unlink(self.socket_path)
            except OSError:
                pass
            raise Leave

    def close(self) -> None:
        """Let go of everything but the session's memory, which stays mapped for as long as somebody looks at it."""
        self._peers.close()
        self._epoll.close()
        self._listener.close()
        for one in (self._signals, self._wake, self._slave, self._root, self.master, self.memory.descriptor):
            if one >= 0:
                os.close(one)

    # --- the socket and who connects ------------------------------------------------------------------------------

    def _check_socket(self) -> None:
        """Come back when something removed the socket. A folder that is not ours is left alone, and tried again."""
        if sockets.inode(self.socket_path) == self.slots[p.S_SOCKET_INODE]:
            return
        try:
            fresh = sockets.listen(self.socket_path)
        except (OSError, sockets.Unsafe):
            return
        self._epoll.unregister(self._listener.fileno())
        self._listener.close()
        self._listener = fresh
        self._epoll.register(fresh.fileno(), select.EPOLLIN)
        self.slots[p.S_SOCKET_INODE] = sockets.inode(self.socket_path)

    def _serve(self, peer: Peer, kind: int, request: int, fields: dict[str, p.Value]) -> bool:
        self._acknowledge()
        handler = HANDLERS.get(kind)
        if handler is None:
            return False
        if peer.role != "host" and kind in HOST_ONLY:
            raise Refusal("not-host", "only the host of this session may ask for that")
        if peer.role == "host" and peer.generation < self.slots[p.S_GENERATION]:
            raise Refusal("fenced", "a newer host took over", generation=self.slots[p.S_GENERATION])
        handler(self, peer, request, fields)
        return True

    def hello(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """HELLO: fence every lower generation, take the doorbell, hand out the ring."""
        theirs, role = p.number(fields, "version"), p.text(fields, "role")
        generation = p.number(fields, "generation", 0)
        if theirs < 1:
            raise Refusal("wrong-version", f"version {theirs} is not spoken here", version=p.VERSION)
        before = self.slots[p.S_GENERATION]
        if role == "host":
            if generation < max(1, before):
                raise Refusal("fenced", "a newer host took over", generation=before)
            self.slots[p.S_GENERATION] = generation
            for other in [
                one for one in self._peers.all.values() if one.role == "host" and one.generation < generation
            ]:
                self._peers.say(other, p.FENCED, 0, {"generation": generation})
                self._peers.drop(other)
        peer.role, peer.generation = role, generation
        if peer.descriptors and peer.doorbell < 0:
            peer.doorbell = peer.descriptors.pop(0)
            os.set_blocking(peer.doorbell, False)
        ring = linux.read_only(self.memory.descriptor)
        try:
            self._peers.say(peer, p.WELCOME, request, {**self._welcome(), "generation": before}, ring)
        finally:
            os.close(ring)
        self.ring_bells()

    def _welcome(self) -> dict[str, p.Value]:
        slots = self.slots
        return {
            "version": p.VERSION, "oldest": 1, "features": p.FEATURES, "session": self.session,
            "holder_pid": os.getpid(), "root_pid": slots[p.S_ROOT_PID], "root_started": slots[p.S_ROOT_STARTED],
            "created_at": slots[p.S_CREATED_AT], "rows": slots[p.S_ROWS], "cols": slots[p.S_COLS],
            "argv": self.argv, "exit_file": self.exit_file, "term": slots[p.S_TERM],
            "restarts": slots[p.S_RESTARTS], "upgrades": slots[p.S_UPGRADES],
            "terminal": linux.terminal_number(self.master),
        }  # fmt: skip

    # --- input ----------------------------------------------------------------------------------------------------

    def write(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """WRITE: type one piece, at most once; or answer what is recorded of that position."""
        position, at, total = p.number(fields, "position"), p.number(fields, "at", 0), p.number(fields, "total")
        term, data, slots = p.number(fields, "term", 1), p.data_of(fields), self.slots
        if len(data) > p.INPUT_PIECE or not 0 <= at <= at + len(data) <= total or position < 1:
            raise Refusal("bad-input", f"a piece is at most {p.INPUT_PIECE} bytes and lies inside its input")
        latest = self.memory.input_position
        if at == 0 and position > latest:
            if slots[p.S_STATUS_STATE] != p.RUNNING:
                raise Refusal("ended", "the execution has ended")
            self._obey(term)
            self.memory.input_begins(position, total)
        elif position != latest or self.memory.input_of(position) != (
            at,
            total,
            0,
        ):  # unless it goes on where it stopped
            self._recorded(peer, request, position)
            return
        else:
            self._obey(term)
        taken = self.memory.type(self.master, data)
        self._owed = peer, request, position
        if taken < len(data) or len(data) > _KEYS_BYTES:
            self._acknowledge()
            self.ring_bells()
        if taken < len(data):
            peer.wants_room = True
            self._watch_room(True)

    def _acknowledge(self) -> None:
        """Tell the host what became of the latest input, if that is still owed: before anything else is done for it."""
        owed, self._owed = self._owed, None
        if owed is not None:
            self._recorded(*owed, fresh=True)

    def _obey(self, term: int) -> None:
        """Refuse to type for a term of control that is over; what is only looked up needs none."""
        if term < self.slots[p.S_TERM]:
            raise Refusal("older-term", "control has changed hands", term=self.slots[p.S_TERM])
        self.slots[p.S_TERM] = term

    def term(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """TERM: control changed hands. From here on nothing of an older term is typed, and with ``flush`` nothing that
        was is delivered which no program has read. Asked again after that, it flushes nothing."""
        term, slots = p.number(fields, "term"), self.slots
        if term < slots[p.S_TERM]:
            raise Refusal("older-term", "control has changed hands again", term=slots[p.S_TERM])
        flushed = 0
        if p.number(fields, "flush", 0) and term > slots[p.S_TERM] and self._slave >= 0:
            flushed = linux.unread(self._slave)
            linux.drop_input(self.master, self._slave)
        slots[p.S_TERM] = term  # last: a holder that died before this is asked again, and flushes
        canonical, echo = linux.line_mode(self.master)
        answer = {"canonical": int(canonical), "echo": int(echo), "foreground": linux.foreground(self.master)}
        self._peers.say(peer, p.OK, request, {"flushed": flushed, **answer})

    def _recorded(self, peer: Peer, request: int, position: int, *, fresh: bool = False) -> None:
        found = self.memory.input_of(position)
        written, total, flight = found or (0, 0, 0)
        outcome = p.UNKNOWN if found is None or flight else p.APPLIED if written == total else p.PARTIAL
        answer = {"position": position, "written": written, "outcome": outcome, "flight": flight}
        self._peers.say(peer, p.WRITTEN, request, {**answer, "recorded": int(not fresh)})

    def _watch_room(self, wanted: bool) -> None:
        self._wants_room = wanted
        if not self._eof:
            self._epoll.modify(self.master, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def _room(self) -> None:
        """The terminal may take input again: say so to whoever holds some."""
        self._watch_room(False)
        for peer in [one for one in self._peers.all.values() if one.wants_room]:
            peer.wants_room = False
            self._peers.say(peer, p.WRITABLE, 0)

    def answer(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """ANSWER: type the reply to a terminal query, at most once per query."""
        end, data, slots = p.number(fields, "query_end"), p.data_of(fields), self.slots
        fresh = end > slots[p.S_QUERY_ANSWERED] and slots[p.S_STATUS_STATE] == p.RUNNING
        written = 0
        if fresh:
            slots[p.S_QUERY_ANSWERED] = end  # first: killed in between, it is not answered rather than twice
            try:
                written = os.write(self.master, data)
            except BlockingIOError:
                pass
        self._peers.say(peer, p.OK, request, {"answered": int(fresh), "written": written})

    # --- control --------------------------------------------------------------------------------------------------

    def resize(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """RESIZE: what the terminal had said is read first, so the mark stands between old size and new."""
        rows, cols = p.number(fields, "rows"), p.number(fields, "cols")
        if not (1 <= rows <= 0xFFFF and 1 <= cols <= 0xFFFF):
            raise Refusal("bad-size", f"{rows} rows and {cols} columns are no size of a terminal")
        if not self._eof:
            self._fill()
        linux.set_size(self.master, rows, cols)
        self.slots[p.S_ROWS], self.slots[p.S_COLS] = rows, cols
        offset = self.slots[p.S_HEAD]
        self.memory.mark(p.M_RESIZE, rows, cols, offset=offset)
        self._peers.say(peer, p.OK, request, {"offset": offset})
        self.ring_bells()

    def signal(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """SIGNAL: reach the foreground group, or every process of the session, also those that left it by a fork."""
        number = p.number(fields, "signal")
        if not 0 <= number <= signal.SIGRTMAX:
            raise Refusal("bad-signal", f"{number} is no signal")  # 0 only says who would be reached
        reached: list[int] = []
        if p.number(fields, "tree"):
            fresh = self._members()
            for _ in range(4):  # a tree that forks while it is walked
                reached += execution.send(fresh, number)
                fresh = self._members() - set(reached)
                if not fresh or number not in (signal.SIGKILL, signal.SIGSTOP):
                    break
        elif (group := linux.foreground(self.master)) > 1:  # to the group of number 1 means to everybody
            inside = [pid for pid in self._members() if linux.stat_fields(pid)[2:3] == [str(group).encode()]]
            reached = execution.send(inside, number)
            if not inside:
                try:
                    os.killpg(group, number)
                    reached = [group]
                except ProcessLookupError:
                    pass
        self._peers.say(peer, p.OK, request, {"pids": reached})

    def _members(self) -> set[int]:
        running = self.slots[p.S_STATUS_STATE] == p.RUNNING
        return execution.members(
            session=self.session,
            root=self.slots[p.S_ROOT_PID] if running else 0,
            terminal=linux.terminal_number(self.master),
            cgroup_procs=self.cgroup_procs,
            spare={self._saver, *(one.pid for one in self._peers.all.values() if one.role == "host")} - {0},
            replaced=self.slots[p.S_RESTARTS] > 0,
        )

    def termios(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """TERMIOS: how the terminal is set, and whose it is."""
        canonical, echo = linux.line_mode(self.master)
        answer = {"canonical": int(canonical), "echo": int(echo), "foreground": linux.foreground(self.master)}
        self._peers.say(peer, p.OK, request, answer)

    def archived(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """ARCHIVED: memory before that offset may go."""
        self.memory.archived(p.number(fields, "upto"))

    def release(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """RELEASE: the host has the exit status."""
        if not self.slots[p.S_EXIT_MARKED]:
            raise Refusal("running", "the execution has not ended")
        self.slots[p.S_RELEASED] = 1
        self._peers.say(peer, p.OK, request)
        self._leave_if_done()

    def handover(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """HANDOVER: give a new keeper the duplicates that the former one took with it."""
        answer = {**self._welcome(), "inode": self.slots[p.S_SOCKET_INODE], "socket": self.socket_path}
        self._peers.say(peer, p.OK, request, answer, self.master, self.memory.descriptor, self._listener.fileno())

    def upgrade(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        """UPGRADE: the same process, children and descriptors under other code. Success is the end of every link."""
        python, source = p.text(fields, "python"), p.text(fields, "source")
        linux.check_upgrade(python, source, p.HOLDER_MODULE)
        keep = (self.master, self.memory.descriptor, self._listener.fileno())
        linux.brace_for_exec()
        argv = [python, "-I", "-S", "-c", p.BOOT, source, p.HOLDER_MODULE]
        argv += [*map(str, keep), str(self._saver), self.socket_path]  # the last is for whoever reads process lists
        try:
            for one in keep:
                os.set_inheritable(one, True)
            os.execv(python, argv)
        finally:  # only reached when the exec failed
            for one in keep:
                os.set_inheritable(one, False)
            linux.heed_signals()

    # --- how it ends ----------------------------------------------------------------------------------------------

    def look_for_root(self) -> None:
        """Find the root process again, after a start, a replacement or an upgrade."""
        slots = self.slots
        if slots[p.S_STATUS_STATE] != p.RUNNING:
            self._settle()
            return
        if self._slave < 0:
            try:
                self._slave = linux.open_slave(self.master)
            except OSError:
                pass
        try:
            handle = os.pidfd_open(slots[p.S_ROOT_PID])
        except OSError:
            handle = -1
        if handle >= 0 and linux.started(slots[p.S_ROOT_PID]) == slots[p.S_ROOT_STARTED]:
            self._watch_root(handle)
            return
        if handle >= 0:
            os.close(handle)
        self._ended(self._keepers_status(), by=2)

    def _watch_root(self, handle: int) -> None:
        self._root = handle
        self._epoll.register(handle, select.EPOLLIN)

    def _keepers_status(self) -> int | None:
        raw = self.slots[p.S_KEEPER_REAPED]
        return raw - 1 if raw else None

    def _child_ended(self) -> None:
        """Reap every child; the root's status is recorded before that, so that a kill in between loses nothing."""
        while (ended := linux.dead_child()) is not None:
            pid, raw = ended
            if pid == self.slots[p.S_ROOT_PID] and self.slots[p.S_STATUS_STATE] == p.RUNNING:
                self._ended(raw, by=1)
            os.waitpid(pid, 0)
            if pid == self._saver:
                self._saver = 0
                self.slots[p.S_EXIT_DURABLE] = int(raw == 0)
                self.ring_bells()
                self._leave_if_done()

    def _root_ended(self) -> None:
        """The root is gone. Not our child if a former holder started it: then ask the kernel, or the keeper."""
        slots = self.slots
        self._child_ended()
        if slots[p.S_STATUS_STATE] != p.RUNNING or self._root < 0:
            return
        if not select.select([self._root], [], [], 0)[0]:
            return
        raw = linux.zombie_status(slots[p.S_ROOT_PID], slots[p.S_ROOT_STARTED])
        if raw is not None:
            self._ended(raw, by=3)
        elif slots[p.S_KEEPER_REAPED]:
            self._ended(self._keepers_status(), by=2)
        elif (raw := linux.pidfd_status(self._root)) is not None:
            self._ended(raw, by=3)
        elif self._status_until == _NEVER:
            self._epoll.unregister(self._root)  # level-triggered: it would ring until the status is known
            self._status_until = time.monotonic() + _STATUS_S_MAX

    def _ended(self, status: int | None, *, by: int) -> None:
        slots = self.slots
        slots[p.S_STATUS] = status or 0
        slots[p.S_EXITED_AT], slots[p.S_EXIT_BY] = time.time_ns(), by
        slots[p.S_STATUS_STATE] = p.LOST if status is None else p.KNOWN
        self._status_until = _NEVER
        if self._root >= 0:
            os.close(self._root)  # which also takes it out of the epoll set
            self._root = -1
        if self._slave >= 0:  # held open so far so that a root without open terminal files is no end of file
            os.close(self._slave)
            self._slave = -1
        self._settle()

    def _settle(self) -> None:
        """The status is known: keep it, and drain the terminal until end of file or silence."""
        self._save()
        if not self.slots[p.S_EXIT_MARKED]:
            now = time.monotonic()
            self._finish_at, self._drain_until = now + _QUIET_S, now + _DRAIN_S_MAX
            if self._eof:
                self._finish()

    def _finish(self) -> None:
        self._finish_at = self._drain_until = _NEVER
        known = self.slots[p.S_STATUS_STATE] == p.KNOWN
        self.memory.mark(p.M_EXIT, self.slots[p.S_STATUS], int(known))
        self.slots[p.S_EXIT_MARKED] = 1
        self.ring_bells()
        self._leave_if_done()

    def _save(self) -> None:
        slots = self.slots
        if slots[p.S_EXIT_DURABLE] or self._saver:
            return
        if not self.exit_file:
            slots[p.S_EXIT_DURABLE] = 1
            return
        status = slots[p.S_STATUS] if slots[p.S_STATUS_STATE] == p.KNOWN else None
        try:
            self._saver = execution.save_exit(self.exit_file, status, slots[p.S_EXITED_AT], p.BY[slots[p.S_EXIT_BY]])
        except OSError:
            pass  # no process to be had: the next tick tries again, the memory has it meanwhile


HANDLERS: Final[dict[int, Handler]] = {
    p.HELLO: Holder.hello,
    p.WRITE: Holder.write,
    p.ANSWER: Holder.answer,
    p.RESIZE: Holder.resize,
    p.SIGNAL: Holder.signal,
    p.TERMIOS: Holder.termios,
    p.ARCHIVED: Holder.archived,
    p.RELEASE: Holder.release,
    p.UPGRADE: Holder.upgrade,
    p.HANDOVER: Holder.handover,
    p.TERM: Holder.term,
}
HOST_ONLY: Final = frozenset((p.WRITE, p.TERM, p.ANSWER, p.RESIZE, p.SIGNAL, p.ARCHIVED, p.RELEASE, p.UPGRADE))


def main(argv: list[str]) -> NoReturn:
    """Continue after ``upgrade``: the arguments are the descriptors master, memory, listener, and the saver's pid."""
    linux.heed_signals()
    linux.call_me("hf-holder")
    master, descriptor, listening, saver = map(int, argv[:4])
    for one in (master, descriptor, listening):
        os.set_inheritable(one, False)
    memory = Memory(descriptor)
    memory.slots[p.S_UPGRADES] += 1
    memory.mark(p.M_UPGRADE, os.getpid())
    Holder(master, memory, linux.plain_socket(listening)).run(saver)
