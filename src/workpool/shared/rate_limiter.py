"""So many in so many seconds, over all workers together."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Protocol, cast

from workpool.shared.home import Handle, Home, Scope, checked_whole, home_of, seconds_to_wait
from workpool.shared.window import LONGEST

__all__ = ["RateLimiter", "RateLimiterHome"]

_MOST_CALLS = 1_000_000  # eight bytes are kept for each


class RateLimiterHome(Protocol):
    """A rate limit, where it lives."""

    @property
    def calls(self) -> int:
        """How many calls are allowed."""
        ...

    @property
    def period(self) -> int:
        """In how many nanoseconds."""
        ...

    def acquire(self, timeout: float | None) -> bool:
        """Wait until a call is allowed, and count it: ``None`` waits for ever, 0 only tries."""
        ...

    def free(self) -> int:
        """Say how many calls are allowed now."""
        ...


class RateLimiter(Handle[RateLimiterHome]):
    """At most so many calls in any so many seconds, whoever makes them.

    The promise holds for every window of that length, not on average: there is no
    second burst around the turn of a minute. Who waits is served in the order of arrival, as
    soon as the oldest call is a whole period ago; who comes while others wait waits
    behind them. A worker that is killed blocks nobody: if it waited, its place in the line is
    passed over within a second; if it had been let through, that counts.

    ``acquire`` is made before each call, and nothing is released: time does that.
    As a context manager, ``with limiter:``, it is acquired at the beginning of the block.

    Parameters
    ----------
    calls : int
        How many at most; up to a million.
    per : float, seconds
        In how long a time.
    scope : {"thread", "process"}
        Whose calls count together: those of the threads of this process, or of any process it
        is sent to.

    Raises
    ------
    TypeError, ValueError
        What is no such number; the message names it.
    """

    __slots__ = ()

    def __init__(self, calls: int, per: float = 1.0, *, scope: Scope | Home = "thread") -> None:
        calls = checked_whole("calls", calls, "calls")
        if not 1 <= calls <= _MOST_CALLS:
            message = f"calls must be from 1 to {_MOST_CALLS}, not {calls}"
            raise ValueError(message)
        if not isinstance(cast("object", per), (int, float)) or isinstance(per, bool):
            message = f"per must be a number of seconds, not {per!r}"
            raise TypeError(message)
        if not 0 < per <= LONGEST:
            message = f"per must be more than 0 and at most {LONGEST:g} seconds, not {per!r}"
            raise ValueError(message)
        # Rounded up: the promise is about at least so long a time.
        self._set_home(home_of(scope).make_rate_limiter(calls, math.ceil(per * 1e9)), scope)

    def __repr__(self) -> str:
        return (
            f"<RateLimiter {self.calls} calls per {self.per:g} s, {self._home.free()} free, "
            f"scope={self.scope!r}>"
        )

    def __enter__(self) -> bool:
        return self._home.acquire(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: a call counts for its period, however it ends."""

    @property
    def calls(self) -> int:
        """How many calls are allowed at most."""
        return self._home.calls

    @property
    def per(self) -> float:
        """In how many seconds."""
        return self._home.period / 1e9

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Wait until a call is allowed, and count it.

        Parameters
        ----------
        blocking : bool
            Wait for it; else only try.
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever.

        Returns
        -------
        bool
            Whether the call may be made. If not, nothing was counted.

        Raises
        ------
        ValueError
            A timeout without blocking.
        """
        return self._home.acquire(seconds_to_wait(blocking, timeout))
