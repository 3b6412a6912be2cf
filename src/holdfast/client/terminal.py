"""Attach this terminal to a session: bytes through, raw, until it ends or the user leaves. Source: DESIGN 7.

One poll loop over the terminal, the host and a signal pipe. The host's output goes to the terminal as it comes, one
write a message, or is read from the session's memory where the host hands that over (window); what is typed goes to
the host under rising numbers. When the host comes back the attach resumes at the last offset it has and sends again,
under its old number, what was never acknowledged.
Not here: the connection and its replacement (conversation), the prefix key (prefix), the terminal's answers (replies),
raw mode and giving the terminal back (tty).
"""

from __future__ import annotations

import os
import signal
from collections import deque
from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll
from time import monotonic

from holdfast.client import endings, lean, where, witnessing
from holdfast.client.line import Refusal, refusal
from holdfast.client.prefix import DETACH, HELP, Prefix, prefix_name
from holdfast.client.replies import Replies
from holdfast.client.tty import Tty
from holdfast.client.typist import ACTS, NOTICE_S, PIECE, Typist
from holdfast.client.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

CREDIT = 1 << 20  # bytes of output the host may have on the way to us
GRANT = CREDIT >> 2  # bytes written out before the host hears of it
INPUT_MAX = 1 << 20  # bytes typed and not yet sent; then the keyboard waits
FLOOD = 1 << 12  # bytes read from the memory in one look, after which the next waits for ``CALM_S``
CALM_S = 0.001
DRAIN_S = 5.0  # seconds the last output may take to reach a slow terminal
QUIET_S = 1.5  # seconds without a host before the user is told
# What a host, or whoever leads to it, may say on a connection that has worked before: then it is tried again.
PASSING = (
    "host-unreachable",
    "host-failed",
    "timeout",
    "relay-unreachable",
    "relay-busy",
    "relay-draining",
    "no-such-host",
)
_SIGNALS = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Over(Exception):
    """The attach is over: ``status`` to exit with, ``line`` to say (empty: nobody is there to read it)."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


class Viewer(Typist):
    """One terminal on one session. ``path`` is the host's socket, ``inside`` the session this program runs in."""

    def __init__(
        self, session: str, tty: Tty, *, path: str, prefix: int | None, observe: bool = False, inside: str = ""
    ) -> None:
        super().__init__(path, inside)
        self.session, self.tty, self.observe = session, tty, observe
        self.info: dict[str, Any] = {"name": session}
        self.prefix, self.replies = Prefix(prefix), Replies()
        self.signals: deque[int] = deque()
        # output
        self.attach_ref = 0
        self.attachment = 0
        self.attached = False  # the present attachment was answered
        self.offset: int | None = None  # after the last byte received; None: the next state tells
        self.pending: deque[memoryview] = deque()  # for the terminal, not yet taken by it
        self.taken = 0  # bytes done with since the last grant
        self.finish: Over | None = None  # what to raise once the output is out
        self.finish_by = 0.0
        self.upto = 0  # output up to here belongs to it
        self.window: Window | None = None  # where the output is read, if the host does not send it
        self.follow = True  # bytes follow the last state; False: only states do
        self.look_at: float | None = None  # when to look next, without waiting for the bell
        self.told = 0  # offset the host knows we have seen
        # what lies over the session's screen: then output is discarded, and a repaint follows
        self.overlay = ""  # help, notice or lost
        self.overlay_until: float | None = None

    @property
    def label(self) -> str:
        """What the user calls the session."""
        name = str(self.info["name"])
        return f"{name}@{where.parts(self.path)[1]}" if where.elsewhere(self.path) else name

    # ---- what the host says ----

    def _greeted(self) -> None:
        self._attach(None if self.overlay else self.offset)

    def _parted(self) -> None:
        self.attached = False
        self._close_window()

    def _attach(self, offset: int | None) -> None:
        self.ref += 1
        self.attachment += 1
        self.attach_ref, self.attached = self.ref, False
        self.taken = 0
        self._close_window()
        size = self.tty.size()
        self.out += lean.attach(self.ref, self.attachment, self.session, size, offset, self.observe, CREDIT, True)

    def _repaint(self) -> None:
        """Have the host paint the screen again: a fresh attachment begins with state."""
        self.overlay, self.overlay_until = "", None
        if self.socket is not None:
            former = self.attachment
            self._attach(None)
            self.out += lean.detach(former, "repaint")
            self._flush()

    def _heard(self, message: list[Any]) -> None:
        tag = message[0]
        if tag in ("output", "keyframe", "gap", "detached", "event"):
            if message[1] == self.attachment:
                getattr(self, "_" + tag)(message)
        elif tag == "direct":
            self._direct(message)
        elif tag == "silent":
            self._silent(float(message[1]))
        elif tag == "witnessed" and self.asked is not None:
            head, first, end, newest = message[4:8]
            self._compare(witnessing.answered(self.asked, head=head, first=first, end=end, newest=newest))
        elif tag == "set-back":
            self._compare(witnessing.said(str(message[2])))
        elif tag in ("attached", "typed", "failed", "controlled", "pending", "decided"):
            getattr(self, "_" + tag)(message)
        elif tag == "ping":
            self.out += lean.pong(message[1])
            self._flush()

    def _attached(self, message: list[Any]) -> None:
        if message[2] != self.attachment:
            return
        self.info = message[3]
        if self.inside and self.inside in (self.info["id"], self.info["name"]):
            raise Refusal(
                "nested",
                f"this terminal runs inside {self.info['name']!r} itself; nothing was changed",
                "detach first",
                {},
            )
        if not self.ever:
            self.ever = True
            self.session = self.info["id"]  # a rename must not lead a reconnect astray
            self.tty.raw()
        self.attached, self.lost_at, self.started_at = True, None, 0.0
        if self.overlay == "lost":
            self.overlay = ""
        self._introduced(message)
        self._say_again()
        self._send_typed()

    def _warn(self, text: str) -> None:
        self._cover("notice", text, monotonic() + 4 * NOTICE_S)

    def _failed(self, message: list[Any]) -> None:
        ref, no = message[1], refusal(message)
        if self._not_typed(message) or ref not in (0, self.attach_ref):
            return
        if self.ever and no.code == "session-ended":
            self._over(no.details)
        elif self.ever and no.code in PASSING:
            self._broken(no.message)
        elif self.ever and where.elsewhere(self.path):
            # Who may not see a session is told that there is none: of one that we saw, that is no news of the session.
            raise self._right_ended("" if no.code == "no-such-session" else no.message)
        else:
            raise no

    # ---- output ----

    def _keyframe(self, message: list[Any]) -> None:
        _, _, offset, repaint, _, lost, self.follow = [*message, True][:7]
        self.offset = self.told = offset
        if lost and self.pending:  # what was skipped need not be painted first; CAN ends a sequence cut in half
            self.taken += sum(map(len, self.pending))
            self.pending.clear()
            repaint = b"\x18" + repaint
        self._show(repaint)
        self._compare_once(self.info, self.attachment)

    def _output(self, message: list[Any]) -> None:
        _, _, offset, data = message
        if self.offset is not None and offset != self.offset:
            if offset > self.offset:  # never silently: a state shows what the bytes would have
                self._repaint()
                return
            data = data[self.offset - offset :]
        self.offset = max(offset + len(data), self.offset or 0)
        self._show(data)

    def _gap(self, message: list[Any]) -> None:
        self.offset = message[3]

    def _direct(self, message: list[Any]) -> None:
        """From here on the output is read by ourselves."""
        memory, doorbell = self.descriptors[:2]
        del self.descriptors[:2]
        if message[1] != self.attachment or self.window is not None:
            os.close(memory)
            os.close(doorbell)
            return
        self.window = Window(message, memory, doorbell)
        if self.offset != message[2]:
            self._repaint()
            return
        self.told = message[2]
        self.poll.register(doorbell, POLLIN)
        self._look()

    def _close_window(self) -> None:
        window, self.window, self.look_at = self.window, None, None
        if window is not None:
            self._forget(window.doorbell)
            window.close()

    def _look(self) -> None:
        """Show what the session's memory has for us, as fast as the terminal takes it."""
        window, self.look_at = self.window, None
        if window is None or not self.follow or self.offset is None or self.pending:
            return
        if (data := window.read(self.offset, PIECE)) is None:  # it was too fast for us: a state shows what bytes cannot
            self._repaint()
            return
        self.offset += len(data)
        self.taken -= len(data)  # what the host did not send needs no credit: it counts when it is written out
        if self.offset - self.told >= GRANT:
            self.told = self.offset
            self.out += lean.seen(self.attachment, self.offset)
            self._flush()
        if data and not self.overlay:
            self.tty.alternate.wrote(data)
            self._write(data)
        if self.pending or len(data) >= FLOOD:
            # A flood rings for every 4 KiB. Looking a thousand times a second costs no visible delay and saves a core.
            self._forget(window.doorbell)
            if not self.pending:
                self.look_at = monotonic() + (0 if len(data) == PIECE else CALM_S)
        elif self.window is window:
            self.look_at = None
            self.poll.register(window.doorbell, POLLIN)
        self._end_if_shown()

    def _end_if_shown(self) -> None:
        """End, if that is what is waited for: everything that belongs to the attachment is on the terminal."""
        reads = self.window is not None and self.follow and (self.offset or 0) < self.upto
        if self.finish is not None and not self.pending and not reads:
            raise self.finish

    def _show(self, data: bytes) -> None:
        if self.overlay:
            self._took(len(data))
            return
        self.tty.alternate.wrote(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        self.tty.used = True
        self.replies.wrote(data, monotonic())
        self.pending.append(memoryview(data))
        if len(self.pending) == 1:
            self._drain()

    def _drain(self) -> None:
        """Give the terminal what it takes."""
        pending = self.pending
        try:
            while pending:
                wrote = self.tty.write(pending[0])
                self._took(wrote)
                if wrote < len(pending[0]):
                    pending[0] = pending[0][wrote:]
                    if wrote == 0 or self.tty.patient:
                        break
                else:
                    pending.popleft()
        except OSError:
            raise Over(endings.DETACHED, "") from None  # the terminal is gone
        if pending:
            self.poll.register(self.tty.out_fd, POLLOUT)
            return
        self._forget(self.tty.out_fd)
        self._end_if_shown()
        if self.window is not None and self.look_at is None:
            self.look_at = 0.0

    def _forget(self, fd: int) -> None:
        try:
            self.poll.unregister(fd)
        except KeyError:
            pass

    def _took(self, size: int) -> None:
        self.taken += size
        if self.taken >= GRANT and self.attached:
            self.out += lean.credit(self.attachment, self.taken)
            self.taken = 0
            self._flush()

    def _detached(self, message: list[Any]) -> None:
        _, _, cause, _, ending, self.upto = [*message, 0][:6]
        if ending is not None:
            self._over(ending)
        elif cause in ("host-stopping", "gone"):
            self._broken(cause)
        elif cause == "revoked":
            self._finish(self._right_ended())
        else:
            self._finish(Over(endings.DETACHED, self._leaving(f"by the host: {cause}")))

    def _right_ended(self, why: str = "") -> Over:
        """Whoever is quicker says it, the host that detaches us or whoever does not let us in again: the status is one."""
        because = f" ({why})" if why else ""
        return Over(endings.REFUSED, f"[your right to {self.label} was revoked or has expired{because}; it runs on]")

    def _over(self, ending: dict[str, Any]) -> None:
        line = endings.told(str(self.info["name"]), ending, float(self.info.get("created_at", 0)))
        self._finish(Over(endings.exit_status(ending), f"[{line}]"))

    def _finish(self, over: Over) -> None:
        self.finish, self.finish_by = over, monotonic() + DRAIN_S
        self._look()
        self._end_if_shown()

    # ---- input ----

    def _typed_in(self, now: float) -> None:
        try:
            data = os.read(self.tty.read_fd, PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise Over(endings.DETACHED, self._leaving("its input ended"))
        self._acts(self.prefix.feed(self.replies.typed(data, now), now), now)

    def _acts(self, acts: list[bytes | str], now: float) -> None:
        for act in acts:
            if act == DETACH:
                raise Over(*self._left())
            if self.overlay == "asked" and isinstance(act, bytes):
                self._vote(act)
            elif self.overlay in ("help", "asked"):  # any key returns, and is not typed
                self._repaint()
            elif act == HELP:
                key = prefix_name(self.prefix.code)
                self._cover(
                    "help",
                    f"{self.info['name']}: {key} d detach | t take control, g give it back, p pause AI, a approvals | "
                    f"{key} twice: type {key} | any key returns",
                    None,
                )
            elif act in ACTS and not self.observe:
                self._act_control(str(act))
            elif isinstance(act, str):
                self._write(b"\a")
            elif self.observe:
                self._cover("notice", f"observing {self.info['name']}: what you type is not sent", now + NOTICE_S)
            elif not self._said_by_itself(act):
                self.unsent += act
                if self.overlay == "notice":
                    self._repaint()
        self._send_typed()

    def _left(self) -> tuple[int, str]:
        if self.lost_at is not None and monotonic() - self.lost_at > QUIET_S:
            return (
                endings.UNREACHABLE,
                f"[detached from {self.label} (no host answers; it may be running); hold attach {self.label}]",
            )
        return endings.DETACHED, self._leaving("")

    def _leaving(self, why: str) -> str:
        because = f", {why}" if why else ""
        return f"[detached from {self.label} ({self.info.get('state', 'running')}{because}); hold attach {self.label}]"

    # ---- what we say over the session's screen ----

    def _cover(self, kind: str, text: str, until: float | None) -> None:
        """Show ``text`` on the bottom lines. What follows is discarded until a repaint takes them away again."""
        rows, cols = self.tty.size()
        lines = [f" {line} "[: cols - 1].encode("utf-8", "replace") for line in text.split("\n")[-rows:]]
        self.overlay, self.overlay_until = kind, until
        over = b"".join(b"\x1b[%d;1H\x1b[2K%s" % (rows - len(lines) + 1 + at, line) for at, line in enumerate(lines))
        self._write(b"\x18\x1b[?2026l\x1b[?6l\x1b[r\x1b[0;7m" + over + b"\x1b[0m")

    def _silent(self, for_s: float) -> None:
        """Our own link says how old the last proof of the host is (never: a socket is open)."""
        if for_s > 0 and self.overlay in ("", "lost"):
            self._say_lost(for_s)
        elif not for_s and self.overlay == "lost":
            self._repaint()

    def _say_lost(self, for_s: float = 0.0) -> None:
        leave = (
            f"{prefix_name(self.prefix.code)} d leaves" if self.prefix.code is not None else "close the window to leave"
        )
        if for_s:
            said = f"no sign of the host for {round(for_s)} s; {self.info['name']} may be running"
        else:
            said = f"no answer from the host; {self.label} runs on without it"
        self._cover("lost", f"{said}; {leave}", None)

    # ---- the loop ----

    def run(self) -> Over:
        """Run until it is over. The terminal is raw only from the first answer on; giving it back is the caller's.

        Raises Refusal if the host does not let us in, Unreachable if it hangs up before it has.
        """
        wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        former = {number: signal.signal(number, lambda got, _: self.signals.append(got)) for number in _SIGNALS}
        former_fd = signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        self.poll.register(wake_r, POLLIN)
        try:
            while True:
                self._turn(wake_r)
        except Over as over:
            if self.socket is not None:
                self._goodbye()
            if over.line:
                self._late_answers()
            return over
        finally:
            signal.set_wakeup_fd(former_fd)
            for number, handler in former.items():
                signal.signal(number, handler)
            os.close(wake_r)
            os.close(wake_w)

    def _turn(self, wake_fd: int) -> None:
        watch = self.ever and len(self.unsent) < INPUT_MAX
        if watch:
            self.poll.register(self.tty.read_fd, POLLIN)
        else:
            self._forget(self.tty.read_fd)
        ready = self.poll.poll(self._timeout(monotonic()))
        now = monotonic()
        fds = dict(ready)
        if wake_fd in fds:
            os.read(wake_fd, 64)
        while self.signals:
            self._signalled(self.signals.popleft())
        if fds.get(self.tty.read_fd, 0) & (POLLIN | POLLHUP | POLLERR | POLLNVAL):
            self._typed_in(now)
        if self.pending and self.tty.out_fd in fds:
            self._drain()
        if self.window is not None and self.window.doorbell in fds:
            self.window.rang()
            self._look()
        if self.socket is not None and (seen := fds.get(self.socket.fileno())):
            if seen & POLLOUT:
                self._flush()
            if self.socket is not None and seen & ~POLLOUT:
                self._receive()
        self._due(monotonic())

    def _timeout(self, now: float) -> int | None:
        """Milliseconds until something is due."""
        due = [at for at in (self.prefix.deadline, self.replies.deadline, self.overlay_until) if at is not None]
        if self.socket is None:
            due.append(self.retry_at)
        if self.lost_at is not None and self.overlay != "lost":
            due.append(self.lost_at + QUIET_S)
        if self.finish is not None:
            due.append(self.finish_by)
        if self.look_at is not None:
            due.append(self.look_at)
        return max(0, round((min(due) - now) * 1000 + 0.5)) if due else None

    def _due(self, now: float) -> None:
        if self.finish is not None and now >= self.finish_by:
            raise self.finish
        if self.look_at is not None and now >= self.look_at:
            self._look()
        if held := self.replies.wake(now):
            self._acts(self.prefix.feed(held, now), now)
        if self.prefix.deadline is not None:
            self._acts(self.prefix.wake(now), now)
        if self.overlay_until is not None and now >= self.overlay_until:
            self._repaint()
        if self.socket is None and now >= self.retry_at and self.ever:
            self._reconnect(now)
        if self.lost_at is not None and now - self.lost_at >= QUIET_S and self.overlay != "lost":
            self._say_lost()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self.attached:
                self.ref += 1
                self.out += lean.resize(self.ref, self.session, self.tty.size(), self.attachment)
                self._flush()
        elif number == signal.SIGCONT:
            if self.ever:  # whoever had the terminal meanwhile set it as they liked
                self.tty.raw()
                self._repaint()
        elif number == signal.SIGHUP:
            raise Over(endings.DETACHED, "")
        else:
            raise Over(endings.DETACHED, self._leaving(signal.Signals(number).name))

    def _goodbye(self) -> None:
        """Tell the host, if it listens; hanging up would do as well."""
        assert self.socket is not None
        try:
            self.socket.send(self.out + lean.detach(self.attachment, "asked"))
            self.socket.close()
        except OSError:
            pass

    def _late_answers(self) -> None:
        """Take the answers to the last queries in, that the user's shell would see as typed. Bounded by 0.1 s."""
        if not self.ever:
            return
        until = monotonic() + 0.1
        ready = poll()
        ready.register(self.tty.read_fd, POLLIN)
        while (left := until - monotonic()) > 0 and self.replies.outstanding(monotonic()):
            if ready.poll(left * 1000) and not self._swallowed():
                return

    def _swallowed(self) -> bool:
        try:
            data = os.read(self.tty.read_fd, PIECE)
        except OSError:
            return False
        self.replies.typed(data, monotonic())
        return bool(data)


def attach(session: str, *, path: str, connection: socket, frames: lean.Frames | None = None, client: str = "",
           prefix: int | None = 0x1C, observe: bool = False, inside: str = "") -> int:  # fmt: skip
    """Attach standard input and output to ``session`` over ``connection`` and return the exit status.

    ``frames`` and ``client`` are given when the connection was greeted already. The terminal is given back whatever
    happens, and the last line on standard error says how it ended. Raises Refusal or Unreachable if it never began.
    """
    tty = Tty()
    viewer = Viewer(session, tty, path=path, prefix=prefix, observe=observe, inside=inside)
    viewer.client = client or viewer.client
    try:
        viewer.begin(connection, frames)
        over = viewer.run()
    finally:
        tty.restore()
    if over.line:
        try:
            os.write(2, f"{viewer.warning}{over.line}\n".encode("utf-8", "replace"))
        except OSError:
            pass
    return over.status
