"""What backends of engines have in common: slots that one clerk feeds, and an engine behind them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from workpool._compat import Lock
from workpool.backends.engine import orders
from workpool.backends.engine.clerk import Clerk, Engine
from workpool.backends.engine.slots import Slot
from workpool.errors import PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.base import Capabilities
    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Setup
    from workpool.task import Task

__all__ = ["EngineBackend", "PoolEngine"]


class PoolEngine(Engine, Protocol):
    """An engine as its pool has it, from the first word to the last."""

    @property
    def slots(self) -> int:
        """How many workers a pool has that names no number."""
        ...

    @property
    def address(self) -> str:
        """Where it is."""
        ...

    def host(self, make: Callable[[], Any]) -> object:
        """Keep what the pool shares in the engine; gives the way there."""
        ...

    def close(self, killed: Callable[[], bool]) -> None:
        """Let go of all that is the pool's, and of the engine, if that is.

        Worker contexts are left first, and waited for; but not once ``killed`` says that the pool is.
        """


class EngineBackend(ABC):
    """Makes workers that are slots of an engine."""

    capabilities: Capabilities

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        self.pool = pool
        self.pack: Callable[[Task[Any]], None] | None = orders.pack
        self.engine = self.make_engine(pool, setup, settings)
        self.default_workers = self.engine.slots
        self._clerk = Clerk(pool, self.engine)
        self._killed: Callable[[], bool] = bool  # no worker, nothing to kill
        self._closing = Lock()  # guards _closed, and is held while something is hosted
        self._closed = False

    @abstractmethod
    def make_engine(self, pool: str, setup: Setup, settings: Any) -> PoolEngine:
        """Make the engine of one pool."""

    def make_worker(self, scheduler: Scheduler, index: int) -> Slot:
        """Make the slot of that index."""
        self._killed = lambda: scheduler.killed
        return Slot(self._clerk, scheduler, index)

    def host(self, make: Callable[[], Any]) -> object:
        """Keep what the pool shares in the engine, which ends with the pool; gives the way there."""
        with self._closing:
            if self._closed:
                message = (
                    f"{self.pool} has ended, and what it shares with it: nothing can be added. Make it before "
                    "the pool is shut down."
                )
                raise PoolClosed(message)
            return self.engine.host(make)

    def describe(self) -> str:
        """Say where the engine is."""
        return f"address={self.engine.address!r}"

    def close(self) -> None:
        """Let the engine go, and then the clerk: what the engine still tells, it takes in."""
        with self._closing:
            self._closed = True
        self.engine.close(self._killed)
        self._clerk.close()
