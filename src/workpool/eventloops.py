"""How a coroutine hears of what other threads do: asyncio's loops, whoever makes them, and trio's.

A coroutine makes a *wake-up*, leaves it with whoever will ``set`` it, and awaits it; no
thread waits for it meanwhile. What is set at about the same time wakes an asyncio
loop once: the first of a batch rings, the others are found when the loop comes.

Guarantees
- ``set`` may be called from any thread, with any lock held: it never waits for the
  loop, calls no user code, and raises nothing when the loop is gone.
- Nothing that was set is overlooked. Who sets adds to ``_due`` and looks at ``_rung`` in
  one step under the post's lock; the loop takes ``_due`` and resets ``_rung`` in one step
  too. So a wake-up is in the batch that the loop takes, or rings for the next one.
"""

from __future__ import annotations

import sys
import threading
import weakref
from contextvars import copy_context
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol

from workpool._compat import RLock, daemon_threads_allowed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

__all__ = [
    "Wakeup",
    "call_beside",
    "cancelled_error",
    "in_asyncio",
    "is_cancellation",
    "needs_the_loop",
    "runs_a_loop",
    "tells_asyncio",
    "turn",
    "wakeup",
]


class Wakeup(Protocol):
    """Wakes one coroutine, once."""

    def set(self, *_: object) -> bool:
        """Wake the coroutine; False if its loop is gone. Also good as a callback of a future."""
        ...

    def __await__(self) -> Generator[Any, None, object]:
        """Wait until it is set."""
        ...

    async def wait(self, timeout: float | None) -> bool:
        """Wait until it is set, so many seconds at most; tell whether it was."""
        ...


def wakeup() -> Wakeup:
    """Make a wake-up for the coroutine that calls; RuntimeError outside of every loop."""
    trio = _trio_of_caller()
    if trio is not None:
        return _InTrio(trio)
    import asyncio

    loop = asyncio.get_running_loop()
    post = _here.post
    if post is None or post.loop() is not loop:
        post = _here.post = _Post(loop)
    return _InAsyncio(post, loop.create_future())


def in_asyncio() -> bool:
    """Tell whether a loop of asyncio's kind runs in this thread; nothing is imported for that."""
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)  # while it is being imported there is none
    return running is not None and running() is not None


def tells_asyncio(callback: object) -> bool:
    """Tell whether a callback left in this thread may wake a loop: one that runs here, or is yet to begin."""
    return in_asyncio() or (
        type(callback) is FunctionType and callback.__module__ == "asyncio.futures"
    )


def runs_a_loop() -> bool:
    """Tell whether this thread runs an event loop."""
    return _trio_of_caller() is not None or in_asyncio()


def needs_the_loop(callback: object) -> bool:
    """Tell whether a callback is ``asyncio.wait``'s own, which may run in its loop's thread only.

    Everything else there wraps what it is given, before it adds a callback to it.
    """
    return type(callback) is FunctionType and callback.__module__ == "asyncio.tasks"


async def turn() -> None:
    """Let the loop's other tasks have a turn."""
    waking = wakeup()
    waking.set()
    await waking


def cancelled_error() -> BaseException:
    """Give what awaiting a cancelled task raises in the caller's loop."""
    if _trio_of_caller() is None:
        import asyncio

        return asyncio.CancelledError()
    # trio's own cannot be made by others: it belongs to a scope that somebody cancelled.
    from concurrent.futures import CancelledError

    return CancelledError()


def is_cancellation(kind: type[BaseException]) -> bool:
    """Tell whether an exception says that the coroutine is to end, and not what went wrong."""
    names = (("asyncio", "CancelledError"), ("trio", "Cancelled"))
    cancelled = (getattr(sys.modules.get(module), name, None) for module, name in names)
    return issubclass(kind, (GeneratorExit, *filter(None, cancelled)))


async def call_beside(fn: Callable[[], object]) -> None:
    """Make a call that blocks in a thread of its own, and wait for its end or the caller's cancellation.

    Not in the loop's executor: a call that nobody waits for any more would hold up the end of the loop.
    """
    error: list[BaseException] = []
    waking = wakeup()
    context = copy_context()

    def call() -> None:
        try:
            context.run(fn)
        except BaseException as raised:
            error.append(raised)
        finally:
            waking.set()

    threading.Thread(
        target=call, name="workpool-beside-loop", daemon=daemon_threads_allowed()
    ).start()
    await waking
    if error:
        raise error[0]


# ------------------------------------------------------------------------- asyncio


class _InAsyncio:
    """A future of the loop, settled by the loop's post."""

    __slots__ = ("_future", "_post")

    def __init__(self, post: _Post, future: asyncio.Future[bool]) -> None:
        self._post = post
        self._future = future

    def set(self, *_: object) -> bool:
        return self._post.deliver(self._future)

    def __await__(self) -> Generator[Any, None, object]:
        return self._future.__await__()

    async def wait(self, timeout: float | None) -> bool:
        if timeout is None:
            return await self._future
        late = self._future.get_loop().call_later(timeout, _settle, self._future, False)
        try:
            return await self._future
        finally:
            late.cancel()


class _Post:
    """The wake-ups of one loop that were set and not yet taken."""

    __slots__ = ("_due", "_lock", "_rung", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)  # what waits keeps it alive, we do not
        # Guards _due and _rung. May be entered again: by the finalizer of some object that
        # the collector finds while it is held, and that settles a task.
        self._lock = RLock()
        self._due: list[asyncio.Future[bool]] = []
        self._rung = False

    def deliver(self, future: asyncio.Future[bool]) -> bool:
        """Have the loop settle a future soon."""
        with self._lock:
            self._due.append(future)
            if not self._rung:
                try:
                    future.get_loop().call_soon_threadsafe(self._take)
                except RuntimeError:  # the loop is closed: nothing waits there any more
                    self._due.clear()
                    return False
                # After the call: interrupted in between, the next one rings once more.
                self._rung = True
        return True

    def _take(self) -> None:
        """Settle what is due; in the loop's thread."""
        with self._lock:
            due, self._due = self._due, []
            self._rung = False
        for future in due:
            _settle(future, True)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():  # else its coroutine was cancelled, or it is late
        future.set_result(value)


class _Here(threading.local):
    post: _Post | None = None  # of the loop that ran last in this thread


_here = _Here()


# ---------------------------------------------------------------------------- trio


def _trio_of_caller() -> Any:
    """Give trio if the caller is one of its tasks; it is not imported for that."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except (RuntimeError, AttributeError):  # another loop's coroutine, or trio is being imported
        return None
    return trio


class _InTrio:
    """An event of trio, set by way of the run's own post, which batches too."""

    __slots__ = ("_event", "_gone", "_move_on_after", "_soon")

    def __init__(self, trio: Any) -> None:
        self._event: Any = trio.Event()
        self._gone: type[BaseException] = trio.RunFinishedError
        self._move_on_after: Any = trio.move_on_after
        self._soon: Any = trio.lowlevel.current_trio_token().run_sync_soon

    def set(self, *_: object) -> bool:
        try:
            self._soon(self._event.set)
        except self._gone:
            return False
        return True

    def __await__(self) -> Generator[Any, None, object]:
        waiting: Generator[Any, None, object] = self._event.wait().__await__()
        return waiting

    async def wait(self, timeout: float | None) -> bool:
        with self._move_on_after(float("inf") if timeout is None else timeout):
            await self._event.wait()
        return bool(self._event.is_set())
