"""Run views in a process of their own: ``python -m holdfast.view.worker --fd N``, started by host.views.

The native engine may crash on what a program prints, so nothing lives here that cannot be had again: orders come over
the socketpair ``N``, one after the other, and when it closes the process ends. Not here: pace, watchdog, recovery
(host.views).
"""

import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Final

from holdfast.view import protocol
from holdfast.view.protocol import Ask, Changed, Close, Feed, Frames, Open, Orders, Ready, Resize, Result, Skip

NICE: Final = 10
TELL_EVERY_S: Final = 0.1
ASIDE_S: Final = 0.00005
"""After every piece, for whoever waits for this processor: a scheduler lets the view go on for 20 ms and more (ADR 0017)."""
MEMORY_MAX: Final = 4 << 30
"""Address space of a worker: 64 sessions with full histories need a tenth of it. Beyond, it dies and is replaced."""


def main(arguments: list[str]) -> int:
    """Serve orders until the other end closes. Exit status 0 then, 3 if the engine cannot be loaded."""
    if len(arguments) != 2 or arguments[0] != "--fd":
        print(
            "usage: python -m holdfast.view.worker --fd N\nStarted by the host; nothing to run by hand.",
            file=sys.stderr,
        )
        return 2
    link = socket.socket(fileno=int(arguments[1]))
    _settle()
    try:
        from holdfast.view import engine, projection

        engine.proven()
        projection.Projection(rows=24, cols=80, offset=0, epoch=1, now=0.0).keyframe(0)  # pay for first calls now
    except (ImportError, RuntimeError) as error:
        link.sendall(protocol.framed(Ready(os.getpid(), str(error))))
        return 3
    os.nice(NICE)  # not before: whoever attaches after a crash waits for the engine to load
    link.sendall(protocol.framed(Ready(os.getpid())))
    return _Worker(link).serve()


def _settle() -> None:
    """Be the process that suffers first: first to go when memory is short, no core dumps of other's
    output.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # meant for whoever runs the host, who decides when this ends
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass  # a matter of politeness, and not ours to insist on


class _Worker:
    def __init__(self, link: socket.socket) -> None:
        from holdfast.view.projection import Projection

        self._make = Projection
        self._link = link
        self._views: dict[int, Projection] = {}
        self._news: set[int] = set()
        self._told_at = 0.0

    def serve(self) -> int:
        frames = Frames()
        while True:
            if self._news:
                wait = self._told_at + TELL_EVERY_S - time.monotonic()
                if wait <= 0 or not select.select([self._link], [], [], wait)[0]:
                    self._tell()
            try:
                data = self._link.recv(1 << 18)
            except ConnectionError:
                return 0
            if not data:
                return 0
            for body in frames.feed(data):
                order = protocol.ORDERS.decode(body)
                try:
                    self._link.sendall(protocol.framed(self._carried_out(order)))
                except ConnectionError:
                    return 0
                if isinstance(order, Feed):
                    time.sleep(ASIDE_S)

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        for number in self._news:
            view = self._views.get(number)
            state = view.news() if view is not None else None
            if state is not None:
                self._link.sendall(protocol.framed(Changed(number, state)))
        self._news.clear()

    def _carried_out(self, order: Orders) -> Result:
        """Do what ``order`` says. An error of one view is reported, not raised: others go on."""
        try:
            replies, body = self._carry_out(order)
        except Exception as error:
            return Result(order.seq, error=f"{type(error).__name__}: {error}")
        return Result(order.seq, tuple(replies), body)

    def _carry_out(self, order: Orders) -> tuple[list[tuple[int, bytes]], bytes]:
        if isinstance(order, Open):
            self._open(order)
            return [], b""
        if isinstance(order, Close):
            view = self._views.pop(order.session, None)
            if view is not None:
                view.close()
            return [], b""
        view = self._views[order.session]
        if isinstance(order, Ask):
            return [], protocol.packed(self._answer(order))
        self._news.add(order.session)
        if isinstance(order, Feed):
            return view.feed(order.offset, order.data, now=time.monotonic()), b""
        if isinstance(order, Resize):
            view.resize(order.rows, order.cols)
        elif isinstance(order, Skip):
            view.skip(order.start, order.end, order.why)
        return [], b""

    def _open(self, order: Open) -> None:
        old = self._views.pop(order.session, None)
        if old is not None:
            old.close()
        view = self._make(
            rows=order.rows, cols=order.cols, offset=order.offset, stored=order.keyframe, now=time.monotonic(),
            epoch=int.from_bytes(os.urandom(3), "big") + 1,
        )  # fmt: skip
        view.incomplete |= order.incomplete
        self._views[order.session] = view
        self._news.add(order.session)

    def _answer(self, order: Ask) -> protocol.Painted | protocol.Rows | protocol.Text | protocol.Kept:
        view = self._views[order.session]
        if order.what == "repaint":
            return view.repaint(order.rows, order.cols, careful=order.careful)
        if order.what == "screen":
            return view.screen(order.since)
        if order.what == "text":
            return view.text(order.history)
        return view.keyframe(order.history, careful=order.careful)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
