"""What the helpers stand for with an engine: numbers of things in its place, and the way there."""

from __future__ import annotations

import pickle
from operator import index
from typing import Any, Generic, Protocol, Self, TypeVar

from typing_extensions import override

from workpool.errors import NotPicklable
from workpool.ipc import pickling
from workpool.ipc.strikes import sent, struck

__all__ = [
    "Channel",
    "EngineCounter",
    "EngineEvent",
    "EngineLock",
    "EngineRateLimiter",
    "EngineSemaphore",
    "EngineShared",
    "Thing",
]

T = TypeVar("T")


class Channel(Protocol):
    """The way to a place, from the program and from its workers; it can be pickled."""

    def call(self, number: int, name: str, arguments: bytes) -> bytes:
        """Make a call of :meth:`Place.call` there, and wait for what it gives."""
        ...


class Thing:
    """One thing in the place."""

    __slots__ = ("_channel", "_number")

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self._number = number

    @classmethod
    def _make(cls, channel: Channel, kind: str, *arguments: Any) -> Self:
        return cls(channel, _result(channel.call(-1, "make", pickle.dumps((kind, *arguments)))))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._channel, self._number)

    def _ask(self, name: str, *arguments: Any) -> Any:
        return _result(self._channel.call(self._number, name, pickle.dumps(arguments)))

    def _ask_for_it(self, name: str, *arguments: Any) -> Any:
        """Make a call that may own something in the end; interrupted, it owns nothing."""
        try:
            return self._ask(name, *arguments)
        except BaseException as error:
            if sent(error) or isinstance(error, SystemExit):
                self._ask("undo")
            raise


def _result(data: bytes) -> Any:
    went_well, result = pickle.loads(data)
    if not went_well:
        raise result
    return result


class EngineCounter(Thing):
    """A number."""

    __slots__ = ()

    @classmethod
    def make(cls, channel: Channel, initial: int) -> Self:
        """Make one."""
        return cls._make(channel, "counter", index(initial))

    def add(self, n: int) -> int:
        """Add, and return the sum."""
        new: int = self._ask("add", index(n))
        return new

    def get(self) -> int:
        """Return the value."""
        value: int = self._ask("get")
        return value

    def compare_and_set(self, expected: int, new: int) -> bool:
        """Set to `new` if it is `expected`."""
        was_set: bool = self._ask("compare_and_set", index(expected), index(new))
        return was_set


class EngineLock(Thing):
    """A lock that knows its owner; the engine tells when the owner's process has ended."""

    __slots__ = ()

    @classmethod
    def make(cls, channel: Channel) -> Self:
        """Make one."""
        return cls._make(channel, "lock")

    @property
    def owner_died(self) -> bool:
        """Whether the last owner ended as owner, and the present one was told."""
        died: bool = self._ask("owner_died")
        return died

    def acquire(self, timeout: float | None) -> bool:
        """Own it: ``None`` waits for ever, 0 only tries."""
        owned: bool = self._ask_for_it("acquire", timeout)
        return owned

    def release(self) -> None:
        """Let the next one have it."""
        self._ask("release")

    def leave(self) -> None:
        """Do nothing: the engine does what it was asked for."""

    def locked(self) -> bool:
        """Tell whether someone living owns it."""
        locked: bool = self._ask("locked")
        return locked


class EngineShared(Thing, Generic[T]):
    """A value as its pickle, and the lock that guards it."""

    __slots__ = ()

    @classmethod
    def make(cls, channel: Channel, value: Any) -> EngineShared[Any]:
        """Make one."""
        return cls._make(channel, "value", _dump(value))

    def get(self) -> T:
        """Return the value, once no one has it open."""
        value: T = pickling.loads(self._ask_for_it("get"))
        return value

    def set(self, value: T) -> None:
        """Replace the value, once no one has it open."""
        self._ask_for_it("set", _dump(value))

    def open(self, timeout: float | None) -> T:
        """Lock it and return the value."""
        data = self._ask_for_it("open", timeout)
        if data is None:
            message = f"another worker had the value open for all of {timeout} s"
            raise TimeoutError(message)
        try:
            value: T = pickling.loads(data)
        except BaseException:
            self.close()
            raise
        return value

    def commit(self, value: T) -> None:
        """Replace the value that is open; if that fails, it stays."""
        self._ask("commit", _dump(value))

    def close(self) -> None:
        """Unlock it."""
        self._ask("release")

    def leave(self) -> None:
        """Do nothing: the engine does what it was asked for."""


class EngineSemaphore(Thing):
    """Permits; those of a process that ends come back."""

    __slots__ = ()

    @classmethod
    def make(cls, channel: Channel, value: int) -> Self:
        """Make one."""
        return cls._make(channel, "semaphore", value)

    def acquire(self, timeout: float | None) -> bool:
        """Take a permit: ``None`` waits for ever, 0 only tries."""
        taken: bool = self._ask_for_it("acquire", timeout)
        return taken

    def release(self, n: int) -> None:
        """Bring permits back."""
        self._ask("release", n)

    def free(self) -> int:
        """Count the permits that no one has."""
        free: int = self._ask("free")
        return free


class EngineEvent(Thing):
    """A flag."""

    __slots__ = ()

    @classmethod
    def make(cls, channel: Channel) -> Self:
        """Make one."""
        return cls._make(channel, "event")

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        is_up: bool = self._ask("is_set")
        return is_up

    def set(self) -> None:
        """Put the flag up, and wake all who wait."""
        self._ask("set")

    def clear(self) -> None:
        """Take the flag down."""
        self._ask("clear")

    def wait(self, timeout: float | None) -> bool:
        """Wait until the flag is up."""
        is_up: bool = self._ask("wait", timeout)
        return is_up


class EngineRateLimiter(Thing):
    """A rate limit; its numbers never change and travel along."""

    __slots__ = ("calls", "period")

    calls: int
    period: int

    @classmethod
    def make(cls, channel: Channel, calls: int, period: int) -> Self:
        """Make one."""
        made = cls._make(channel, "rate limit", calls, period)
        made.calls, made.period = calls, period
        return made

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _limiter, (self._channel, self._number, self.calls, self.period)

    def acquire(self, timeout: float | None) -> bool:
        """Wait until a call is allowed, and count it: ``None`` waits for ever, 0 only tries."""
        allowed: bool = self._ask_for_it("acquire", timeout)
        return allowed

    def free(self) -> int:
        """Say how many calls are allowed now."""
        free: int = self._ask("free")
        return free


def _limiter(channel: Channel, number: int, calls: int, period: int) -> EngineRateLimiter:
    """Unpickle a rate limit."""
    limiter = EngineRateLimiter(channel, number)
    limiter.calls, limiter.period = calls, period
    return limiter


def _dump(value: object) -> bytes:
    try:
        return pickling.dump_whole(value)
    except Exception as error:
        if struck(error, pickling.dump_whole, value):
            raise
        message = (
            f"a Shared cannot hold a {type(value).__name__} that cannot be pickled ({error}). "
            "Share the data it is made from."
        )
        raise NotPicklable(message, part="value") from error
