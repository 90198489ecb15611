"""Shared state that a pool makes for its tasks: each where the pool's backend can reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.base import Backend
    from workpool.queues import Queue
    from workpool.shared import Array, Counter, Event, Lock, RateLimiter, Semaphore, Shared
    from workpool.shared.home import Home, Scope
    from workpool.shared.in_engines import EngineHome

__all__ = ["Sharing"]

T = TypeVar("T")


class Sharing:
    """The calls of a pool that make shared state."""

    _backend: Backend

    @property
    def _scope(self) -> Scope | Home:
        scope = self._backend.capabilities.scope
        return self._engine if scope == "engine" else scope

    @property
    def _engine(self) -> EngineHome:
        """What an engine keeps for this pool, and the way there."""
        from workpool.shared.in_engines import EngineHome
        from workpool.shared.in_engines.place import Place

        host: Callable[..., Any] = getattr(self._backend, "host")  # noqa: B009 - engines have it
        return EngineHome(host(Place))

    def counter(self, initial: int = 0) -> Counter:
        """Make a counter that all tasks of this pool can add to."""
        from workpool.shared import Counter

        return Counter(initial, scope=self._scope)

    def shared(self, value: T) -> Shared[T]:
        """Make a value that all tasks of this pool can change, one at a time."""
        from workpool.shared import Shared

        return Shared(value, scope=self._scope)

    def lock(self) -> Lock:
        """Make a lock for the tasks of this pool."""
        from workpool.shared import Lock

        return Lock(scope=self._scope)

    def semaphore(self, value: int = 1) -> Semaphore:
        """Make a semaphore for the tasks of this pool."""
        from workpool.shared import Semaphore

        return Semaphore(value, scope=self._scope)

    def event(self) -> Event:
        """Make an event for the tasks of this pool."""
        from workpool.shared import Event

        return Event(scope=self._scope)

    def array(self, shape: int | tuple[int, ...], dtype: Any = "float64") -> Array:
        """Make numbers in memory that all tasks of this pool see, without a copy."""
        from workpool.shared import Array

        return Array(shape, dtype, scope=self._scope)

    def rate_limit(self, calls: int, per: float = 1.0) -> RateLimiter:
        """Make a limit of so many calls in any ``per`` seconds, for all tasks of this pool together."""
        from workpool.shared import RateLimiter

        return RateLimiter(calls, per, scope=self._scope)

    def queue(self, maxsize: int = 0) -> Queue[T]:  # pyright: ignore[reportInvalidTypeVarUse] - see below
        """Make a queue for the tasks of this pool: ``jobs: Queue[str] = pool.queue()``."""
        # Once is enough: as with queue.Queue(), the annotation of the name it is bound to says it.
        from workpool.queues import Queue

        scope = self._backend.capabilities.scope
        if scope == "engine":
            from workpool.shared.in_engines.queue import make_queue

            return make_queue(self._engine.channel, maxsize)
        return Queue(maxsize, scope=scope)
