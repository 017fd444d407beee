"""The event loop of the process: one daemon thread, started on first use, started again in a forked child, closed quietly at exit."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from rasteret_sql.errors import Cancelled

T = TypeVar("T")

_POLL_S = 0.05
"""How often a waiting thread looks at its cancel flag."""
_CLOSE_S = 3.0
"""The longest that closing may hold up the end of the process."""


class Flag(Protocol):
    """What a waiting thread looks at: a :class:`threading.Event`, or anything that goes up once."""

    def is_set(self) -> bool: ...


class Resource(Protocol):
    """What is kept open on the loop, and closed with it."""

    async def close(self) -> None: ...


R = TypeVar("R", bound=Resource)


class _LoopThread(threading.Thread):
    """An event loop in a thread of its own, with what is kept open there."""

    def __init__(self) -> None:
        super().__init__(name="rasteret-io", daemon=True)
        self.resources: dict[type[Resource], Resource] = {}
        self.loop = asyncio.new_event_loop()

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def close(self) -> None:
        """Cancel what runs, close what is open, end the thread. From another thread only."""
        try:
            asyncio.run_coroutine_threadsafe(self._wind_up(), self.loop).result(_CLOSE_S)
        except concurrent.futures.TimeoutError:
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(_CLOSE_S)
        if not self.is_alive():
            self.loop.close()

    async def _wind_up(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for resource in self.resources.values():
            await resource.close()


_lock = threading.Lock()
_current: _LoopThread | None = None


def run(coroutine: Coroutine[Any, Any, T], *, cancel: Flag | None = None) -> T:
    """Run ``coroutine`` on the process's loop and wait for its result; callable from any thread but the loop's own.

    KeyboardInterrupt in the waiting thread cancels the coroutine and is raised at once. When ``cancel`` is set, now or while waiting, the
    coroutine is cancelled and :class:`~rasteret_sql.errors.Cancelled` raised.
    """
    return wait(spawn(coroutine), cancel=cancel)


def wait(future: concurrent.futures.Future[T], *, cancel: Flag | None = None) -> T:
    """The result of what :func:`spawn` started, under the rules of :func:`run`."""
    try:
        if cancel is None:
            return future.result()
        while not cancel.is_set():
            done, _ = concurrent.futures.wait((future,), timeout=_POLL_S)
            if done:
                return future.result()
    except concurrent.futures.CancelledError:
        raise Cancelled("the read was cancelled") from None
    except BaseException:
        future.cancel()
        raise
    future.cancel()
    raise Cancelled("the query was interrupted while reading")


def spawn(coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Start ``coroutine`` on the process's loop. Cancelling the future cancels the coroutine."""
    global _current  # noqa: PLW0603 - the one place where the process's loop lives
    if _loop_thread() is not None:
        coroutine.close()
        raise RuntimeError("run() and spawn() from the event loop's own thread would wait for themselves: await instead")
    with _lock:
        if _current is None:
            _current = _LoopThread()
            _current.start()
        loop = _current.loop
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


def resource(kind: type[R]) -> R:
    """The one ``kind()`` of the running loop, made on first use; only inside coroutines that :func:`run` or :func:`spawn` started."""
    thread = _loop_thread()
    if thread is None:
        raise RuntimeError("storage runs on its own event loop: use rasteret_sql.storage.loop.run(…)")
    found = thread.resources.get(kind)
    if not isinstance(found, kind):
        found = thread.resources[kind] = kind()
    return found


def _loop_thread() -> _LoopThread | None:
    """The current thread, where it is a loop's."""
    thread = threading.current_thread()
    return thread if isinstance(thread, _LoopThread) else None


def _close() -> None:
    global _current
    with _lock:
        thread, _current = _current, None
    if thread is not None:
        thread.close()


def _after_fork_in_child() -> None:
    """Forget the parent's loop, whose thread did not come along.

    It is not closed: its selector is shared with the parent, and unregistering sockets here would deafen the parent. (The
    frames of the lost thread keep it alive, so nothing warns of it.)
    """
    global _current, _lock  # noqa: PLW0603 - a lock held by another thread of the parent would stay held
    _lock = threading.Lock()
    _current = None


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
