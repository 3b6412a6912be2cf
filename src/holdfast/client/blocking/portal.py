"""Run the asynchronous SDK for blocking callers: one event loop in one thread a process, whatever the number of clients.

Not here: what is run (the modules beside this one, generated). Any thread may call; calls of several threads go on side by
side. An interrupt (Ctrl-C) in a waiting caller cancels what it waited for, there and then, and is raised as ever.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
CANCEL_S: Final = 5.0  # that what was interrupted gets to clean up after itself
EXIT_S: Final = 2.0  # that open clients get to hang up when the process ends
_END: Final = object()


class Portal:
    """The loop and its thread, begun by the first call. A forked child begins its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(self, work: Coroutine[Any, Any, R]) -> R:
        """Run ``work`` in the loop and return its result, or raise what it raises.

        Raises RuntimeError in the loop's own thread, where it would wait for itself.
        """
        loop = self._running()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "a blocking call cannot be made from the SDK's own thread; use the asynchronous SDK there"
            )
        done: Future[R] = Future()
        under_way: list[asyncio.Task[R]] = []

        def begin() -> None:
            task = loop.create_task(work)
            under_way.append(task)
            task.add_done_callback(lambda task: _settle(done, task))

        def end() -> None:
            for task in under_way:
                task.cancel()
            if not under_way:  # interrupted before the loop was told to begin
                work.close()
                done.cancel()

        try:
            loop.call_soon_threadsafe(begin)
            return done.result()
        except BaseException:
            if not done.done():  # not what the work raised: this very thread was interrupted
                loop.call_soon_threadsafe(end)
                with contextlib.suppress(BaseException):
                    done.result(CANCEL_S)
            raise

    def do(self, what: Callable[[], R]) -> R:
        """Call ``what`` in the loop's thread and return what it returns: for what is no coroutine and touches the loop."""

        async def work() -> R:
            return what()

        return self.call(work())

    def iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        """Yield what ``items`` yields. However the caller's loop ends, ``items`` is closed before the caller goes on."""
        try:
            while (item := self.call(_next(items))) is not _END:
                yield item  # type: ignore[misc]
        finally:
            if isinstance(items, AsyncGenerator):
                self.call(items.aclose())

    @contextlib.contextmanager
    def within(self, manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Have ``manager`` entered and left in one and the same task, as whatever holds a task group needs it."""
        loop = self._running()
        entered: Future[T] = Future()
        leave = asyncio.Event()
        raised: list[BaseException | None] = [None]

        async def hold() -> bool:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()
                if raised[0] is not None:
                    raise raised[0]
                return False
            return True  # the manager took the error for its own

        holding = asyncio.run_coroutine_threadsafe(hold(), loop)
        holding.add_done_callback(lambda over: _never_entered(entered, over))
        try:
            value = entered.result()
        except BaseException:
            holding.cancel()
            raise
        try:
            yield value
        except BaseException as error:
            raised[0] = error
            loop.call_soon_threadsafe(leave.set)
            if not holding.result():
                raise
        else:
            loop.call_soon_threadsafe(leave.set)
            holding.result()

    def close(self) -> None:
        """Cancel what goes on and end the thread. The next call begins another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(_wind_up, loop)
        thread.join(EXIT_S)

    def forked(self) -> None:
        """This is a child process: the parent's thread is not here, and its connections are the parent's."""
        self.__init__()  # type: ignore[misc]

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    self._thread = threading.Thread(target=_serve, args=(loop,), name="holdfast", daemon=True)
                    self._thread.start()
                    self._loop = loop
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()

    async def rest() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # sockets that were closed just now are let go in the next turn
        await loop.shutdown_asyncgens()
        loop.stop()

    loop._holdfast_rest = loop.create_task(rest())  # type: ignore[attr-defined] # the loop itself keeps only a weak hold


async def _next(items: AsyncIterator[T]) -> T | object:
    return await anext(items, _END)


def _settle(done: Future[R], task: asyncio.Task[R]) -> None:
    if task.cancelled():
        done.set_exception(asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


def _never_entered(entered: Future[T], over: Future[Any]) -> None:
    """Tell whoever waits to enter that it will not be: ``over`` ended before."""
    if not entered.done():
        error = asyncio.CancelledError() if over.cancelled() else over.exception()
        entered.set_exception(error or RuntimeError("the block was left before it was entered"))


PORTAL: Final = Portal()
os.register_at_fork(after_in_child=PORTAL.forked)
atexit.register(PORTAL.close)


class Mirror(Generic[T]):
    """A blocking face of ``real``, an object of the asynchronous SDK. Holds nothing of its own."""

    def __init__(self, real: T) -> None:
        self._real = real

    def __repr__(self) -> str:
        return repr(self._real)


def bare(value: Any) -> Any:
    """Return the asynchronous object behind ``value``, or ``value`` itself where there is none."""
    return value._real if isinstance(value, Mirror) else value
