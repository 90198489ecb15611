"""Who waits in a place for a lock, a permit or an item: served in the order they came.

Whoever serves hands over in the same step of the event loop: who is woken owns what it
waited for, and nobody can come between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Owner", "Waiters"]

Owner: TypeAlias = "tuple[str, int, int]"  # life, process, thread


class Waiters:
    """Who waits, first come, first served; each may bring something along."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Owner, asyncio.Future[Any], Any]] = deque()

    async def wait(self, owner: Owner, timeout: float | None, load: Any = None) -> Any:
        """Wait to be served; None when that did not come in time."""
        served: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        entry = owner, served, load
        self._waiting.append(entry)
        try:
            await asyncio.wait([served], timeout=timeout)
        finally:  # also when the loop gives this call up: nothing may be handed to it any more
            if not served.done():
                self._waiting.remove(entry)
        return served.result() if served.done() else None

    def serve(self, what: Any = True) -> tuple[Owner, Any] | None:
        """Serve the first; gives who it was, and what was brought along."""
        if not self._waiting:
            return None
        owner, served, load = self._waiting.popleft()
        served.set_result(what)
        return owner, load

    def serve_all(self, what: Any = True) -> None:
        """Serve everyone who is here now."""
        for _ in range(len(self._waiting)):
            self.serve(what)

    def drop(self, gone: Callable[[Owner], bool]) -> bool:
        """Forget some who wait; tell whether there were any."""
        dropped = [entry for entry in self._waiting if gone(entry[0])]
        for entry in dropped:
            self._waiting.remove(entry)
            entry[1].set_result(None)
        return bool(dropped)

    def __bool__(self) -> bool:
        return bool(self._waiting)
