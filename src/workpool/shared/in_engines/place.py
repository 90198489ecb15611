"""Where an engine keeps shared state: one object in its scheduler, or in an actor of its own.

It lives in one event loop, which makes one call after the other: between two awaits
nothing else happens, so nothing here needs a lock. A call that has to wait (for a
lock, for an item) awaits a future that whoever makes it true completes, and hands over
in the same step: who is woken owns what it waited for.

The engine tells when one of its processes, a *life*, has ended. What a life owned is
then free, and says that its owner died; what it waited for is forgotten.
"""

from __future__ import annotations

import asyncio
import pickle
from itertools import count
from typing import TYPE_CHECKING, Any

from workpool.errors import SharedStateLost, WouldDeadlock
from workpool.shared.in_engines.kept_limit import RateLimit
from workpool.shared.in_engines.kept_queue import Queue
from workpool.shared.in_engines.waiters import Owner, Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Place"]

_CELL = 1 << 63  # of a counter: one promise on every scope


class Place:
    """All shared state of one pool."""

    def __init__(self) -> None:
        self._things: dict[int, Any] = {}
        self._numbers = count()

    async def call(self, owner: Owner, number: int, name: str, arguments: bytes) -> bytes:
        """Make a call of one of the things; gives the pickle of its result, or of its error."""
        try:
            thing: Any = self if number < 0 else self._things.get(number)
            if thing is None:
                message = "this shared state is no more: the pool that made it has ended"
                raise SharedStateLost(message)
            result = getattr(thing, f"on_{name}")(owner, *pickle.loads(arguments))
            if asyncio.iscoroutine(result):
                result = await result
        except Exception as error:
            return pickle.dumps((False, error))
        return pickle.dumps((True, result))

    def on_make(self, owner: Owner, kind: str, *arguments: Any) -> int:
        """Make a thing and give its number."""
        del owner
        number = next(self._numbers)
        self._things[number] = KINDS[kind](*arguments)
        return number

    def ended(self, life: str) -> None:
        """Take in that a life has ended."""
        for thing in self._things.values():
            thing.ended(life)


class Counter:
    """A number."""

    def __init__(self, initial: int) -> None:
        self._value = _checked(initial)

    def on_add(self, owner: Owner, n: int) -> int:
        """Add, and give the sum."""
        del owner
        self._value = _checked(self._value + n)
        return self._value

    def on_get(self, owner: Owner) -> int:
        """Give the value."""
        del owner
        return self._value

    def on_compare_and_set(self, owner: Owner, expected: int, new: int) -> bool:
        """Set to ``new`` if it is ``expected``."""
        del owner
        _checked(new)
        same = self._value == expected
        if same:
            self._value = new
        return same

    def ended(self, life: str) -> None:
        """Nothing of it is anybody's."""


def _checked(value: int) -> int:
    if not -_CELL <= value < _CELL:
        message = "beyond 64 bits with a sign"
        raise OverflowError(message)
    return value


class Lock:
    """A lock, and who owns it."""

    def __init__(self) -> None:
        self._owner: Owner | None = None
        self._died = False
        self._waiters = Waiters()

    async def on_acquire(self, owner: Owner, timeout: float | None) -> bool:
        """Own it."""
        if self._owner is None:
            self._owner = owner
            return True
        if self._owner == owner and timeout is None:
            message = "this thread has the lock already and would wait for itself for ever"
            raise WouldDeadlock(message)
        if timeout is not None and timeout <= 0:
            return False
        return bool(await self._waiters.wait(owner, timeout))

    def on_release(self, owner: Owner) -> None:
        """Hand it to the next."""
        if self._owner != owner:
            message = "cannot release a lock that this thread did not acquire"
            raise RuntimeError(message)
        self._died = False
        self._pass_on()

    def on_undo(self, owner: Owner) -> None:
        """Take back an acquire whose caller was interrupted."""
        if not self._waiters.drop(lambda waiting: waiting == owner) and self._owner == owner:
            self.on_release(owner)

    def on_locked(self, owner: Owner) -> bool:
        """Tell whether someone living owns it."""
        del owner
        return self._owner is not None

    def on_owner_died(self, owner: Owner) -> bool:
        """Tell whether the last owner ended as owner."""
        del owner
        return self._died and self._owner is not None

    def ended(self, life: str) -> None:
        """Free it, if its owner was of that life."""
        self._waiters.drop(lambda waiting: waiting[0] == life)
        if self._owner is not None and self._owner[0] == life:
            self._died = True
            self._pass_on()

    def _pass_on(self) -> None:
        served = self._waiters.serve()
        self._owner = None if served is None else served[0]


class Value(Lock):
    """A pickle, and the lock that guards it."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    async def on_open(self, owner: Owner, timeout: float | None) -> bytes | None:
        """Own it and give the value; None when that could not be in time."""
        return self._data if await self.on_acquire(owner, timeout) else None

    async def on_get(self, owner: Owner) -> bytes:
        """Give the value, once no one has it open."""
        if await self.on_acquire(owner, None):
            self.on_release(owner)
        return self._data

    async def on_set(self, owner: Owner, data: bytes) -> None:
        """Replace the value, once no one has it open; who was interrupted or died meanwhile does not."""
        if await self.on_acquire(owner, None):
            self._data = data
            self.on_release(owner)

    def on_commit(self, owner: Owner, data: bytes) -> None:
        """Replace the value that is open."""
        if self._owner != owner:
            message = "the value is not open in this thread"
            raise RuntimeError(message)
        self._data = data


class Semaphore:
    """Permits, and which life has how many."""

    def __init__(self, value: int) -> None:
        self._free = value
        self._out: dict[str, int] = {}
        self._waiters = Waiters()

    async def on_acquire(self, owner: Owner, timeout: float | None) -> bool:
        """Take a permit."""
        if self._free:
            self._free -= 1
            self._out[owner[0]] = self._out.get(owner[0], 0) + 1
            return True
        if timeout is not None and timeout <= 0:
            return False
        return bool(await self._waiters.wait(owner, timeout))

    def on_release(self, owner: Owner, n: int) -> None:
        """Bring permits back: the caller's own first, then others'."""
        if n > sum(self._out.values()):
            message = f"{n} permits cannot be brought back: not as many are out"
            raise ValueError(message)
        for life in sorted(self._out, key=lambda life: life != owner[0]):
            back = min(n, self._out[life])
            self._give_back(life, back)
            n -= back

    def on_undo(self, owner: Owner) -> None:
        """Take back an acquire whose caller was interrupted."""
        if not self._waiters.drop(lambda waiting: waiting == owner) and self._out.get(owner[0]):
            self._give_back(owner[0], 1)

    def on_free(self, owner: Owner) -> int:
        """Count the permits that no one has."""
        del owner
        return self._free

    def ended(self, life: str) -> None:
        """Bring back what that life had."""
        self._waiters.drop(lambda waiting: waiting[0] == life)
        self._give_back(life, self._out.get(life, 0))

    def _give_back(self, life: str, n: int) -> None:
        left = self._out.pop(life, 0) - n
        if left > 0:
            self._out[life] = left
        self._free += n
        while self._free and (served := self._waiters.serve()) is not None:
            self._free -= 1
            next_life = served[0][0]
            self._out[next_life] = self._out.get(next_life, 0) + 1


class Event:
    """A flag."""

    def __init__(self) -> None:
        self._flag = False
        self._waiters = Waiters()

    def on_is_set(self, owner: Owner) -> bool:
        """Tell whether it is up."""
        del owner
        return self._flag

    def on_set(self, owner: Owner) -> None:
        """Put it up, and wake all who wait."""
        del owner
        self._flag = True
        self._waiters.serve_all()

    def on_clear(self, owner: Owner) -> None:
        """Take it down."""
        del owner
        self._flag = False

    async def on_wait(self, owner: Owner, timeout: float | None) -> bool:
        """Wait until it is up."""
        return self._flag or bool(await self._waiters.wait(owner, timeout))

    def ended(self, life: str) -> None:
        """Forget who waits there."""
        self._waiters.drop(lambda waiting: waiting[0] == life)


KINDS: dict[str, Callable[..., Any]] = {
    "counter": Counter,
    "lock": Lock,
    "value": Value,
    "semaphore": Semaphore,
    "event": Event,
    "queue": Queue,
    "rate limit": RateLimit,
}
