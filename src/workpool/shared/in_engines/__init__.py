"""Shared state for the tasks of an engine: handles to one object that the engine keeps.

A handle holds a *channel*, which the backend gives and which can be pickled: it makes
a call of the object from wherever it is, the program or any worker. The object is in
`place`; a queue has a file of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from workpool.errors import Unsupported
from workpool.shared.in_engines.homes import (
    EngineCounter,
    EngineEvent,
    EngineLock,
    EngineRateLimiter,
    EngineSemaphore,
    EngineShared,
)

if TYPE_CHECKING:
    from workpool.shared.in_engines.homes import Channel

__all__ = ["EngineHome"]

T = TypeVar("T")


class EngineHome:
    """Makes shared state in one pool's place."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def make_counter(self, initial: int) -> EngineCounter:
        """Make what a `Counter` stands for."""
        return EngineCounter.make(self.channel, initial)

    def make_shared(self, value: T) -> EngineShared[T]:
        """Make what a `Shared` stands for."""
        made: EngineShared[Any] = EngineShared.make(self.channel, value)
        return made

    def make_lock(self) -> EngineLock:
        """Make what a `Lock` stands for."""
        return EngineLock.make(self.channel)

    def make_semaphore(self, value: int) -> EngineSemaphore:
        """Make what a `Semaphore` stands for."""
        return EngineSemaphore.make(self.channel, value)

    def make_event(self) -> EngineEvent:
        """Make what an `Event` stands for."""
        return EngineEvent.make(self.channel)

    def make_rate_limiter(self, calls: int, period: int) -> EngineRateLimiter:
        """Make what a `RateLimiter` stands for."""
        return EngineRateLimiter.make(self.channel, calls, period)

    def make_array(self, size: int, dtype: str, shape: tuple[int, ...]) -> NoReturn:
        """Refuse: memory is not shared between machines."""
        del size, dtype
        message = (
            f"array({shape}) cannot be kept with an engine, whose workers may be on other machines, out of reach. "
            'Pass the numbers as an argument, keep them in a shared() value, or use backend="process" or "thread".'
        )
        raise Unsupported(message)
