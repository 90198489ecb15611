"""One at a time: a lock that outlives its owner."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from workpool.shared.home import Handle, Home, Scope, home_of
from workpool.waits import checked_timeout

__all__ = ["Lock", "LockHome"]


class LockHome(Protocol):
    """A lock, where it lives."""

    @property
    def owner_died(self) -> bool:
        """Whether the last owner ended as owner, and the present one was told."""
        ...

    def acquire(self, timeout: float | None) -> bool:
        """Own it: ``None`` waits for ever, 0 only tries."""
        ...

    def release(self) -> None:
        """Let the next one have it."""
        ...

    def leave(self) -> None:
        """Release it if this thread owns it: it was struck on its way out."""
        ...

    def locked(self) -> bool:
        """Tell whether someone living owns it."""
        ...


class Lock(Handle[LockHome]):
    """A lock of the shape of `threading.Lock`, which the death of its owner releases.

    The owner is a thread. Two things differ from `threading.Lock`, on every
    scope, and both because the owner is known: only the thread that acquired
    the lock can release it; and a thread that acquires it a second time, without
    a timeout, is refused instead of waiting for itself for ever.

    Parameters
    ----------
    scope : {"thread", "process"}
        Who takes turns: the threads of this process, or of any process it is
        sent to.
    """

    __slots__ = ()

    def __init__(self, *, scope: Scope | Home = "thread") -> None:
        self._set_home(home_of(scope).make_lock(), scope)

    def __repr__(self) -> str:
        return f"<Lock {'locked' if self.locked() else 'unlocked'}, scope={self.scope!r}>"

    def __enter__(self) -> bool:
        return self._home.acquire(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._home.release()
        except BaseException:  # Ctrl-C, say: nobody else could release it any more
            self._home.leave()
            raise

    @property
    def owner_died(self) -> bool:
        """Whether the owner before the present one died, or ended, as owner.

        True only while the lock is owned. What the dead one was changing may be
        half changed: this is the moment to look, and to put it right.
        """
        return self._home.owner_died

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Own the lock.

        Parameters
        ----------
        blocking : bool
            Wait for it; else only try.
        timeout : float or None, seconds
            Longest wait; -1 and ``None`` wait for ever.

        Returns
        -------
        bool
            Whether this thread owns it now.

        Raises
        ------
        WouldDeadlock
            This thread owns it already, and would wait for itself for ever.
        TypeError, ValueError
            A timeout that is no number or negative, or one without blocking.
        """
        if timeout is None or timeout == -1:
            return self._home.acquire(None if blocking else 0)
        if not blocking:
            message = "can't specify a timeout for a non-blocking call"
            raise ValueError(message)
        seconds = checked_timeout(timeout)
        if seconds is not None and seconds < 0:
            message = f"timeout must be a number of seconds, or -1, not {timeout!r}"
            raise ValueError(message)
        return self._home.acquire(seconds)

    def release(self) -> None:
        """Let the next one have the lock.

        Raises
        ------
        RuntimeError
            This thread does not own it.
        """
        self._home.release()

    def locked(self) -> bool:
        """Tell whether someone owns the lock; a dead owner does not count."""
        return self._home.locked()
