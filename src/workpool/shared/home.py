"""Where shared state lives: the seam between the helpers and the places.

A helper (`Counter`, `Lock`, ...) is a thin handle. What it stands for is made by
a home, a module with the functions of `Home`, loaded when it is first asked for:
nothing of multiprocessing or ctypes is needed to count in threads.
"""

from __future__ import annotations

import importlib
from operator import index
from typing import (
    TYPE_CHECKING,
    ClassVar,
    Generic,
    Literal,
    NoReturn,
    Protocol,
    Self,
    SupportsIndex,
    TypeVar,
    cast,
)

from workpool.errors import NotPicklable
from workpool.waits import checked_timeout

if TYPE_CHECKING:
    from workpool.shared.array import ArrayHome
    from workpool.shared.counter import CounterHome
    from workpool.shared.event import EventHome
    from workpool.shared.lock import LockHome
    from workpool.shared.rate_limiter import RateLimiterHome
    from workpool.shared.semaphore import SemaphoreHome
    from workpool.shared.value import SharedHome

__all__ = [
    "Handle",
    "Home",
    "Scope",
    "StaysInProcess",
    "checked_whole",
    "home_of",
    "seconds_to_wait",
]

#: Who may use a piece of shared state: the threads of this process, or any process it is sent to.
#: "engine" is said of what a pool on Dask or Ray has made; it alone knows where that is.
Scope = Literal["thread", "process", "engine"]

_MODULES = {
    "thread": "workpool.shared.in_threads",
    "process": "workpool.shared.in_processes",
}

T = TypeVar("T")
H_co = TypeVar("H_co", covariant=True)


class Home(Protocol):
    """A place where shared state lives; a module with these functions is one.

    One that stands for itself, such as a pool's on an engine, is passed as the scope.
    """

    def make_counter(self, initial: int) -> CounterHome:
        """Make what a `Counter` stands for."""
        ...

    def make_shared(self, value: T) -> SharedHome[T]:
        """Make what a `Shared` stands for."""
        ...

    def make_lock(self) -> LockHome:
        """Make what a `Lock` stands for."""
        ...

    def make_semaphore(self, value: int) -> SemaphoreHome:
        """Make what a `Semaphore` stands for."""
        ...

    def make_event(self) -> EventHome:
        """Make what an `Event` stands for."""
        ...

    def make_array(self, size: int, dtype: str, shape: tuple[int, ...]) -> ArrayHome:
        """Make what an `Array` stands for: so many bytes."""
        ...

    def make_rate_limiter(self, calls: int, period: int) -> RateLimiterHome:
        """Make what a `RateLimiter` stands for; the period is in nanoseconds."""
        ...


class Handle(Generic[H_co]):
    """What all helpers have in common: a home, and the way to another process.

    Parameters
    ----------
    home : object
        What the handle stands for. It says whether, and how, it can be pickled.
    scope : str
        The name of the place.
    """

    __slots__ = ("__weakref__", "_home", "_scope")

    _home: H_co
    _scope: Scope
    _adds: ClassVar[bool]  # whether it may have attributes besides these two: one of ours has none

    @property
    def scope(self) -> Scope:
        """Who may use it: ``"thread"`` or ``"process"``."""
        return self._scope

    def __reduce__(self) -> tuple[object, ...]:
        made = _rebuild, (type(self), self._home, self._scope)
        return (*made, self.__getstate__()) if self._adds else made

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls._adds = cls.__dictoffset__ != 0 or cls.__basicsize__ != Handle.__basicsize__

    def __getstate__(self) -> object:
        """Give what a subclass adds, in the form that pickle has for it; None where that is nothing."""
        # All slots that are filled, two of which are ours.
        own, slots = cast("tuple[object, dict[str, object]]", super().__getstate__())
        del slots["_home"], slots["_scope"]
        return (own, slots) if slots else own

    def __copy__(self) -> Self:
        return self  # it is shared: a copy would have to be the same

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def _set_home(self, home: H_co, scope: Scope | Home) -> None:  # type: ignore[misc]  # covariant, set once
        self._home = home
        # A home that stands for itself is an engine's.
        self._scope = scope if isinstance(scope, str) else "engine"


class StaysInProcess:
    """A home that lives in one process, and says so when it is to leave."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__.removeprefix("Thread")
        article = "an" if name[0] in "AE" else "a"
        message = (
            f'{article} {name} with scope="thread" cannot leave its process. '
            f'Make it with scope="process", or by the pool that uses it.'
        )
        raise NotPicklable(message, part="argument")


def home_of(scope: Scope | Home) -> Home:
    """Find the place of that name; a place is found at once.

    Raises
    ------
    ValueError
        There is none; the message lists them.
    """
    if hasattr(scope, "make_counter"):
        return cast("Home", scope)
    name: object = scope
    module = _MODULES.get(name) if isinstance(name, str) else None
    if module is None:
        names = " or ".join(repr(name) for name in _MODULES)
        message = f"scope must be {names}, not {scope!r}"
        raise ValueError(message)
    return cast("Home", importlib.import_module(module))


def checked_whole(name: str, value: object, unit: str) -> int:
    """Give a whole number, also one of numpy's, as an integer; refuse what is none, by name."""
    if type(value) is int:
        return value
    try:
        if not isinstance(value, bool):
            return int(index(cast("SupportsIndex", value)))
    except TypeError:
        pass
    message = f"{name} must be a whole number of {unit}, not {value!r}"
    raise TypeError(message)


def seconds_to_wait(blocking: bool, timeout: float | None) -> float | None:
    """Give the longest wait of an ``acquire``, whose arguments are those of `threading.Semaphore`."""
    if blocking:
        return checked_timeout(timeout)
    if timeout is not None:
        message = "can't specify timeout for non-blocking acquire"
        raise ValueError(message)
    return 0


def _rebuild(kind: type[Handle[object]], home: object, scope: Scope) -> Handle[object]:
    """Unpickle a handle."""
    handle = kind.__new__(kind)
    handle._set_home(home, scope)
    return handle
