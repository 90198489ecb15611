"""A flag that workers wait for."""

from __future__ import annotations

from typing import Protocol

from workpool.shared.home import Handle, Home, Scope, home_of
from workpool.waits import checked_timeout

__all__ = ["Event", "EventHome"]


class EventHome(Protocol):
    """An event, where it lives."""

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        ...

    def set(self) -> None:
        """Put the flag up, and wake all who wait."""
        ...

    def clear(self) -> None:
        """Take the flag down."""
        ...

    def wait(self, timeout: float | None) -> bool:
        """Wait until the flag is up."""
        ...


class Event(Handle[EventHome]):
    """A flag, down at first; the shape of `threading.Event`.

    A worker that is killed while it puts the flag up has done so or has not; if
    it has, all who wait come to know it, within a fraction of a second.

    Parameters
    ----------
    scope : {"thread", "process"}
        Who waits: the threads of this process, or any process it is sent to.
    """

    __slots__ = ()

    def __init__(self, *, scope: Scope | Home = "thread") -> None:
        self._set_home(home_of(scope).make_event(), scope)

    def __repr__(self) -> str:
        return f"<Event {'set' if self.is_set() else 'not set'}, scope={self.scope!r}>"

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        return self._home.is_set()

    def set(self) -> None:
        """Put the flag up: everyone who waits goes on, and no one waits any more."""
        self._home.set()

    def clear(self) -> None:
        """Take the flag down: from now on, who waits has to wait."""
        self._home.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait. ``None`` waits for ever; ``0`` only looks.

        Returns
        -------
        bool
            Whether it is up, or was for a moment while this waited.
        """
        return self._home.wait(checked_timeout(timeout))
