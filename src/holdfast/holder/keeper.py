"""Have holders forked in milliseconds, keep a duplicate of what each of them holds, and replace the ones that die.

One per user and machine, and the subreaper of every execution; no network, parses no output.
It reads PTYs never: while it has a duplicate of a master, the death of a holder costs the execution nothing.
"""

import os
import select
import signal
import socket
import time
from typing import Final, NoReturn

from holdfast.holder import execution, linux, seats, sockets
from holdfast.holder import protocol as p
from holdfast.holder.kept import Fetch, Kept, environment, shortened
from holdfast.holder.memory import Memory, size_of, whole_pages
from holdfast.holder.sockets import Peer, Peers, Refusal

_TICK_S: Final = 3.0
_START_S_MAX: Final = 10.0
_COLLECT_S_MAX: Final = 1.0
_QUICK_DEATH_S: Final = 1.0
_QUICK_DEATHS_MAX: Final = 5
_DIED_STARTING: Final[dict[str, p.Value]] = {"code": "holder", "errno": 0}


class Keeper:
    """The loop. ``run`` ends with the process: on SIGTERM with nothing kept, on LEAVE, or by a kill."""

    def __init__(
        self, *, socket_path: str, holders: str, source: str, inherited: execution.Inheritance, locks: list[int]
    ) -> None:
        self.socket_path, self.holders, self.source = socket_path, holders, source
        self._inherited, self._locks = inherited, locks
        self.kept: dict[str, Kept] = {}
        self._fetches: dict[int, Fetch] = {}
        self._reports: dict[int, Kept] = {}
        self._handles: dict[int, Kept] = {}
        self._leaving = False
        self._ready = -1
        self._ready_by = 0.0
        self._tick_at = time.monotonic() + _TICK_S
        self._epoll = select.epoll()
        self._peers = Peers(self._epoll, self._dispatch, frame_bytes_max=p.KEEPER_FRAME_MAX)
        self._signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._listener: socket.socket | None = None
        self._inode = 0
        for fd in (self._signals, locks[0]):
            self._epoll.register(fd, select.EPOLLIN)
        self._seats = seats.Seats(inherited)
        self._seats.prepare()

    def listen(self, listener: socket.socket | None = None, *, inode: int = 0) -> None:
        """Listen at the socket path, or go on with ``listener``, which does so at ``inode``."""
        if self._listener is not None:
            self._epoll.unregister(self._listener.fileno())
            self._listener.close()
        self._listener = listener or sockets.listen(self.socket_path)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._inode = inode or sockets.inode(self.socket_path)

    def run(self, ready: int = -1) -> NoReturn:
        """Serve. ``ready`` is told once the living holders have handed over, or have had a second to do so."""
        self._ready, self._ready_by = ready, time.monotonic() + _COLLECT_S_MAX
        self.collect()
        self._reap()
        while True:
            if self._ready >= 0 and (not self._fetches or time.monotonic() >= self._ready_by):
                os.write(self._ready, b"ready\n")
                os.close(self._ready)
                self._ready = -1
            due = min(self._tick_at, self._ready_by if self._ready >= 0 else self._tick_at)
            for fd, event in self._epoll.poll(max(0.0, due - time.monotonic())):
                self._event(fd, event)
            if time.monotonic() >= self._tick_at:
                self._tick()

    def _event(self, fd: int, event: int) -> None:
        if fd in self._peers.all:
            self._peers.event(fd, event)
            self._leave_if_empty()
        elif fd == self._signals:
            self._signalled()
        elif fd in self._reports:
            self._started(self._reports[fd])
        elif fd in self._handles:
            kept = self._handles[fd]
            self._let_go_of_handle(kept)
            self._holder_died(kept)
        elif fd in self._fetches:
            self._fetched(self._fetches[fd])
        elif self._listener is not None and fd == self._listener.fileno():
            self._peers.accept(self._listener)
        elif fd == self._locks[0]:
            self._poked()

    def _tick(self) -> None:
        self._tick_at = time.monotonic() + _TICK_S
        self._check_sockets()
        self.collect()
        for kept in list(self.kept.values()):
            if not kept.holder:
                self._replace(kept)
            if kept.holder and kept.report >= 0 and time.monotonic() - kept.born > _START_S_MAX:
                os.kill(kept.holder, signal.SIGKILL)  # our child, unreaped: its pid cannot be another's

    def _check_sockets(self) -> None:
        """Come back where something removed our socket, and wake holders whose socket is gone."""
        if sockets.inode(self.socket_path) != self._inode:
            try:
                self.listen()
            except (OSError, sockets.Unsafe):
                pass  # the folder is not ours at the moment; the next tick looks again
        try:
            present = set(os.listdir(self.holders))
        except OSError:
            present = set()
        for kept in self.kept.values():
            if os.path.basename(kept.socket_path) not in present and kept.report < 0:
                self._signal(kept, signal.SIGUSR1)

    def _signal(self, kept: Kept, number: int) -> None:
        """Signal a holder, never another process that took its pid: ours is unreaped, others are named by a pidfd."""
        try:
            if kept.handle >= 0:
                signal.pidfd_send_signal(kept.handle, number)
            elif kept.holder:
                os.kill(kept.holder, number)
        except OSError:
            pass

    def _poked(self) -> None:
        """Another keeper tried to start and met our lock: our socket must be gone. It waits for our close."""
        sock = socket.socket(fileno=os.dup(self._locks[0]))
        try:
            poke, _ = sock.accept()
        except OSError:
            return
        finally:
            sock.close()
        self._check_sockets()
        poke.close()

    def _signalled(self) -> None:
        try:
            numbers = set(os.read(self._signals, 4096))
        except BlockingIOError:
            return
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGUSR1 in numbers:
            self._check_sockets()
        if signal.SIGTERM in numbers:
            self._leaving = True
            self._leave_if_empty()

    def _leave_if_empty(self) -> None:
        if self._leaving and not self.kept and not self._fetches:
            if sockets.inode(self.socket_path) == self._inode:
                os.unlink(self.socket_path)
            os._exit(0)

    # --- children -------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap holders, orphaned roots, and whatever else was left to us. A root's status is recorded first."""
        while (ended := linux.dead_child()) is not None:
            pid, raw = ended
            dead: Kept | None = None
            for kept in self.kept.values():
                if kept.holder == pid and kept.handle < 0:
                    dead = kept
                elif kept.saver == pid:
                    kept.saver = 0
                elif kept.slot(p.S_ROOT_PID) == pid and kept.slot(p.S_STATUS_STATE) == p.RUNNING:
                    kept.set_slot(p.S_KEEPER_REAPED, raw + 1)
                    self._signal(kept, signal.SIGUSR2)
                    if not kept.holder:
                        self._save(kept, raw)
            os.waitpid(pid, 0)
            if dead is not None:
                dead.holder = 0
                self._holder_died(dead, killed=raw == signal.SIGKILL)

    def _save(self, kept: Kept, raw: int) -> None:
        """No holder is there and none can be made just now: keep the exit status ourselves."""
        about = p.unpacked(os.pread(kept.memory, kept.slot(p.S_ABOUT_BYTES), p.ABOUT_AT))
        path = p.text(about, "exit_file")
        try:
            kept.saver = execution.save_exit(path, raw, time.time_ns(), "keeper") if path else 0
        except OSError:
            pass  # the memory has it; the next holder writes the file

    def _holder_died(self, kept: Kept, *, killed: bool = True) -> None:
        kept.holder = 0
        if kept.report >= 0:
            self._started(kept)
        elif self.kept.get(kept.session) is kept:
            if kept.slot(p.S_RELEASED):
                self.discard(kept, over=True)
                return
            quick = not killed and time.monotonic() - kept.born < _QUICK_DEATH_S
            kept.quick_deaths = kept.quick_deaths + 1 if quick else 0
            if kept.quick_deaths <= _QUICK_DEATHS_MAX:  # else the tick tries: a defect must not become a fork bomb
                self._replace(kept)

    def _replace(self, kept: Kept) -> None:
        """Fork a holder for what a dead one left; with no process to be had, the tick tries again."""
        fresh = sockets.inode(kept.socket_path) == kept.slot(p.S_SOCKET_INODE) == kept.inode
        if not fresh:
            try:
                self._listen_for(kept)
            except (OSError, sockets.Unsafe):
                pass  # it listens on what nobody finds, and looks for its path itself
        try:
            kept.holder, told = self._seats.give(seats.SUCCEED, kept.master, kept.memory, kept.listener)
        except OSError:
            return
        os.close(told)
        kept.born = time.monotonic()
        self._seats.prepare()

    def _listen_for(self, kept: Kept) -> None:
        sock = sockets.listen(kept.socket_path)
        if kept.listener >= 0:
            os.close(kept.listener)
        kept.listener = sock.detach()
        kept.inode = sockets.inode(kept.socket_path)
        kept.set_slot(p.S_SOCKET_INODE, kept.inode)

    # --- requests -------------------------------------------------------------------------------------------------

    def _dispatch(self, peer: Peer, kind: int, request: int, fields: dict[str, p.Value]) -> bool:
        answer: p.Fields | None = None
        if kind == p.HELLO:
            peer.role = p.text(fields, "role", "host")
            self._peers.say(peer, p.WELCOME, request, self._welcome())
            return True
        if kind == p.SPAWN:
            self._spawn(peer, request, fields)
            return True  # the answer follows when the command runs
        if kind == p.KEPT:
            self._check_sockets()
            answer = self._list()
        elif kind == p.FORGET:
            self._forget(p.text(fields, "session"))
        elif kind == p.UPGRADE:
            self._upgrade(fields)
        elif kind == p.LEAVE:
            if left := [one for one in self.kept.values() if not one.slot(p.S_RELEASED)]:
                raise Refusal("keeps", f"{len(left)} sessions are kept")
            self._leaving = True
        else:
            return False
        self._peers.say(peer, p.OK, request, answer)
        return True

    def _welcome(self) -> dict[str, p.Value]:
        return {"version": p.VERSION, "oldest": 1, "features": p.FEATURES, "pid": os.getpid(), "source": self.source}

    def _list(self) -> dict[str, p.Value]:
        found = [one for one in self.kept.values() if one.report < 0 and not one.slot(p.S_RELEASED)]
        return {
            "sessions": [one.session for one in found],
            "sockets": [one.socket_path for one in found],
            "holders": [one.holder for one in found],
            "roots": [one.slot(p.S_ROOT_PID) for one in found],
            "started": [one.slot(p.S_ROOT_STARTED) for one in found],
        }

    def _spawn(self, peer: Peer, request: int, fields: dict[str, p.Value]) -> None:
        session, argv = p.text(fields, "session"), p.texts(fields, "argv")
        if not session or len(session) > 64 or not session.replace("-", "").isalnum():
            raise Refusal("bad-session", f"{session!r} is no session id")
        if session in self.kept:
            raise Refusal("taken", f"session {session} is kept already")
        if not argv or not argv[0]:
            raise Refusal("bad-command", "there is no command")
        cgroups = p.texts(fields, "cgroup_procs")
        env, cwd = environment(p.texts(fields, "env")), p.text(fields, "cwd")
        kept = self._prepare(session, fields, argv, cgroups)
        also: list[int] = []
        try:
            also.append(linux.open_slave(kept.master))
            linux.expect_utf8(also[0])
            marks = p.data_of(fields, "marks") if "marks" in fields else b""
            job, group = execution.packed_job(argv, env, cwd, cgroups, marks)
            also += [job] if group < 0 else [job, group]
            kept.holder, kept.report = self._seats.give(seats.BEGIN, kept.master, kept.memory, kept.listener, *also)
        except OSError:
            self.discard(kept, over=True)
            raise
        finally:
            for one in also:
                os.close(one)
        kept.asked = (peer, request)
        self._reports[kept.report] = kept
        self._epoll.register(kept.report, select.EPOLLIN)
        self._seats.prepare()  # now: whoever waits for this start leaves a processor idle, and afterwards works again

    def _prepare(self, session: str, fields: dict[str, p.Value], argv: list[str], cgroups: list[str]) -> Kept:
        """Make terminal, memory and socket of a new session."""
        rows, cols = p.number(fields, "rows"), p.number(fields, "cols")
        if not (1 <= rows <= 0xFFFF and 1 <= cols <= 0xFFFF):
            raise Refusal("bad-size", f"{rows} rows and {cols} columns are no size of a terminal")
        path = f"{self.holders}/{session}.sock"
        kept = Kept(session, path)
        try:
            kept.master = linux.open_master()
            linux.set_size(kept.master, rows, cols)
            size = size_of(whole_pages(p.number(fields, "ring_bytes", 0)))
            kept.memory = linux.sealed_memory(f"hf-{session}", size)
            about: dict[str, p.Value] = {
                "session": session, "socket": path, "exit_file": p.text(fields, "exit_file", ""),
                "cgroup_procs": cgroups, "argv": shortened(argv),
            }  # fmt: skip
            Memory(kept.memory).format(about, rows=rows, cols=cols)
            self._listen_for(kept)
        except BaseException:
            self.discard(kept, over=True)
            raise
        self.kept[session] = kept
        return kept

    def _started(self, kept: Kept) -> None:
        """A starting holder said how it went, or died over it."""
        try:
            said = os.read(kept.report, 65536)
        except OSError:
            said = b""
        del self._reports[kept.report]
        self._epoll.unregister(kept.report)
        os.close(kept.report)
        kept.report = -1
        try:
            frames = p.Frames(p.KEEPER_FRAME_MAX).receive(said)
        except p.BadFrame:
            frames = []
        kind, _, fields = frames[0] if frames else (p.REFUSED, 0, _DIED_STARTING)
        if kind != p.OK:
            self._kill_root(kept)
            self.discard(kept, over=True)
        answer: dict[str, p.Value] = {**fields, "holder_pid": kept.holder, "socket": kept.socket_path}
        if kept.asked is not None:
            self._peers.say(kept.asked[0], kind, kept.asked[1], answer)
            kept.asked = None
        if kind == p.OK and not kept.holder:  # it started the command, said so, and died
            self._replace(kept)

    def _kill_root(self, kept: Kept) -> None:
        root = kept.slot(p.S_ROOT_PID)
        if root and linux.started(root) == kept.slot(p.S_ROOT_STARTED):
            execution.send((root,), signal.SIGKILL)

    def _forget(self, session: str) -> None:
        if kept := self.kept.get(session):
            self.discard(kept)

    def discard(self, kept: Kept, *, over: bool = False) -> None:
        """Close our duplicates; the terminal hangs up when the holder has closed its own. ``over``: the socket goes."""
        if self.kept.get(kept.session) is kept:
            del self.kept[kept.session]
        if over and kept.inode and sockets.inode(kept.socket_path) == kept.inode:
            os.unlink(kept.socket_path)
        self._let_go_of_handle(kept)
        for fd in (kept.master, kept.memory, kept.listener):
            if fd >= 0:
                os.close(fd)
        kept.master = kept.memory = kept.listener = -1
        self._leave_if_empty()

    def _let_go_of_handle(self, kept: Kept) -> None:
        if kept.handle >= 0:
            self._epoll.unregister(kept.handle)
            del self._handles[kept.handle]
            os.close(kept.handle)
            kept.handle = -1

    # --- a new keeper ---------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Ask every living holder that we do not keep for its descriptors; remove sockets nobody listens on."""
        try:
            names = os.listdir(self.holders)
        except OSError:
            return
        asked = {one.path for one in self._fetches.values()}
        for name in names:
            path = f"{self.holders}/{name}"
            if not name.endswith(".sock") or name[:-5] in self.kept or path in asked:
                continue
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                sock.connect(path)
            except ConnectionRefusedError:  # its holder died while no keeper was there: the terminal is gone too
                sock.close()
                os.unlink(path)
                continue
            except OSError:
                sock.close()
                continue
            pid, uid = linux.peer_of(sock)
            if uid != os.getuid():
                sock.close()
                continue
            peer = Peer(sock, frame_bytes_max=p.HOLDER_FRAME_MAX)
            hello: dict[str, p.Value] = {"version": p.VERSION, "features": p.FEATURES, "role": "keeper"}
            if not (peer.send(p.HELLO, 1, hello) and peer.send(p.HANDOVER, 2)):
                peer.close()
                continue
            self._fetches[peer.fd] = Fetch(peer, pid, path)
            self._epoll.register(peer.fd, select.EPOLLIN)

    def _fetched(self, fetch: Fetch) -> None:
        try:
            messages = fetch.peer.receive()
        except p.BadFrame:
            messages = None
        for kind, request, fields in messages or ():
            if request == 1 and kind == p.WELCOME and len(fetch.peer.descriptors) in (1, 4):
                os.close(fetch.peer.descriptors.pop(0))  # the ring for reading: we get it for writing next
            elif request == 2 and kind == p.OK and len(fetch.peer.descriptors) == 3:
                self._keep(fetch, fields)
            elif request == 2:
                messages = None
        if messages is None or (fetch.path[len(self.holders) + 1 : -5] in self.kept):
            del self._fetches[fetch.peer.fd]
            self._epoll.unregister(fetch.peer.fd)
            fetch.peer.close()

    def _keep(self, fetch: Fetch, fields: dict[str, p.Value]) -> None:
        master, descriptor, listener = fetch.peer.descriptors
        fetch.peer.descriptors.clear()
        kept = Kept(
            p.text(fields, "session"), p.text(fields, "socket"), master=master, memory=descriptor, listener=listener,
            inode=p.number(fields, "inode"), holder=p.number(fields, "holder_pid"),
        )  # fmt: skip
        self.kept[kept.session] = kept
        self.watch(kept)

    def watch(self, kept: Kept) -> None:
        """Notice the death of a holder that is not our child."""
        try:
            kept.handle = os.pidfd_open(kept.holder)
        except OSError:
            self._holder_died(kept)
            return
        self._handles[kept.handle] = kept
        self._epoll.register(kept.handle, select.EPOLLIN)

    # --- in-place upgrade -----------------------------------------------------------------------------------------

    def _upgrade(self, fields: dict[str, p.Value]) -> None:
        """UPGRADE: the same process under other code; success is the end of every link."""
        python, source = p.text(fields, "python"), p.text(fields, "source")
        linux.check_upgrade(python, source, p.KEEPER_MODULE)
        if self._reports or self._fetches or self._listener is None:
            raise Refusal("busy", "a session is being started; try again")
        state = os.memfd_create("hf-keeper")
        kept = list(self.kept.values())
        about: dict[str, p.Value] = {
            "socket": self.socket_path, "holders": self.holders, "source": source, "inode": self._inode,
            "listener": self._listener.fileno(), "locks": self._locks,
            "nursery": [self._inherited.umask, *self._inherited.files, self._inherited.oom],
            "sessions": [one.session for one in kept],
            "paths": [one.socket_path for one in kept],
            "numbers": [n for one in kept for n in (
                one.master, one.memory, one.listener, one.inode, one.holder, int(one.handle >= 0))],
        }  # fmt: skip
        os.write(state, p.packed(about))
        keep = [state, self._listener.fileno(), *self._locks]
        keep += [fd for one in kept for fd in (one.master, one.memory, one.listener)]
        linux.brace_for_exec()
        try:
            for fd in keep:
                os.set_inheritable(fd, True)
            argv = [python, "-I", "-S", "-c", p.BOOT, source, p.KEEPER_MODULE, "resume", self.socket_path, str(state)]
            os.execv(python, argv)
        finally:  # only reached when the exec failed
            for fd in keep:
                os.set_inheritable(fd, False)
            os.close(state)
            linux.heed_signals()
