"""So many at a time: permits that come back from the dead."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from workpool.shared.home import Handle, Home, Scope, checked_whole, home_of, seconds_to_wait

__all__ = ["Semaphore", "SemaphoreHome"]

_MOST = 2**63 - 1


class SemaphoreHome(Protocol):
    """A semaphore, where it lives."""

    def acquire(self, timeout: float | None) -> bool:
        """Take a permit: ``None`` waits for ever, 0 only tries."""
        ...

    def release(self, n: int) -> None:
        """Bring permits back."""
        ...

    def free(self) -> int:
        """Count the permits that no one has."""
        ...


class Semaphore(Handle[SemaphoreHome]):
    """A number of permits, of the shape of `threading.BoundedSemaphore`.

    A permit belongs to the process that took it. It may be brought back by
    another thread, or another process; when its process ends, however that
    comes, its permits come back by themselves. So there are never more permits
    about than there were at first, and a semaphore is no means to signal
    something to another process: that is what `Event` and `Queue` are for.

    Parameters
    ----------
    value : int
        The number of permits; at least 1.
    scope : {"thread", "process"}
        Who takes them: the threads of this process, or any process it is sent to.

    Raises
    ------
    TypeError, ValueError
        What is no whole number, or fewer permits than one.
    """

    __slots__ = ()

    def __init__(self, value: int = 1, *, scope: Scope | Home = "thread") -> None:
        value = checked_whole("value", value, "permits")
        if value < 1:
            message = (
                f"a semaphore has at least 1 permit, not {value!r}; to signal, use Event or Queue"
            )
            raise ValueError(message)
        if value > _MOST:
            message = f"value must be at most {_MOST} permits, not {value}"
            raise ValueError(message)
        self._set_home(home_of(scope).make_semaphore(value), scope)

    def __repr__(self) -> str:
        return f"<Semaphore {self._home.free()} free, scope={self.scope!r}>"

    def __enter__(self) -> bool:
        return self._home.acquire(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._home.release(1)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit.

        Parameters
        ----------
        blocking : bool
            Wait for one; else only try.
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever.

        Returns
        -------
        bool
            Whether a permit was taken.

        Raises
        ------
        ValueError
            A timeout without blocking.
        """
        return self._home.acquire(seconds_to_wait(blocking, timeout))

    def release(self, n: int = 1) -> None:
        """Bring permits back.

        Parameters
        ----------
        n : int
            How many.

        Raises
        ------
        TypeError, ValueError
            What is no whole number, fewer than one, or more than are out; none is brought back then.
        """
        n = checked_whole("n", n, "permits")
        if n < 1:
            message = f"n must be one or more, not {n!r}"
            raise ValueError(message)
        self._home.release(n)
