"""The one thread of an engine's pool, and what it asks of the engine.

Whatever happens to a slot is an event: it is woken, an outcome lands, its far end dies,
somebody wants a task ended. The clerk goes through the events in order.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from workpool._compat import Lock, daemon_threads_allowed
from workpool.safelog import SafeLog
from workpool.situation import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.engine.orders import Order
    from workpool.backends.engine.slots import Slot
    from workpool.waits import Event

__all__ = ["Clerk", "Engine", "Flight"]

_log = SafeLog("workpool")


class Engine(Protocol):
    """What runs orders; every call is made by the clerk, but for ``offset`` and ``stack``."""

    @property
    def ends_tasks(self) -> bool:
        """Whether it can end what runs, and tells when that is done."""
        ...

    @property
    def writes_off(self) -> bool:
        """Whether what it ends may go on for itself, unseen."""
        ...

    @property
    def most_calls(self) -> int | None:
        """After how many calls a worker ends in order and is replaced."""
        ...

    def begin(self, slot: Slot) -> None:
        """Make the slot's far end; ``slot.ready`` or ``slot.died`` is posted when that is done."""

    def send(self, slot: Slot, flight: Flight, order: Order) -> None:
        """Send an order; ``slot.landed``, ``died``, ``came_back`` or ``dropped`` is posted when it is over."""

    def ask_to_end(self, slot: Slot, flight: Flight) -> None:
        """Let the order see that it is not wanted any more; ``slot.dropped`` is posted if it never begins."""

    def end(self, slot: Slot) -> None:
        """End the far end at once; or, where that cannot be, forget what it does."""

    def leave(self, slot: Slot) -> None:
        """Let the far end go in order."""

    def rests(self, slot: Slot) -> bool:
        """Tell whether the slot, which is idle now, holds what others may need: then it begins anew."""
        ...

    def offset(self, slot: Slot, flight: Flight) -> int:
        """Tell which item of a chunk runs, as far as can be known quickly."""
        ...

    def stack(self, slot: Slot, flight: Flight, until: float) -> str:
        """Write down where the order stands; in brackets, why that cannot be told by then."""
        ...


class Flight:
    """An order on its way, and what is known of it."""

    __slots__ = ("asked_for", "began", "doomed", "limit", "number", "ticket", "timer", "unit")

    def __init__(self, number: int, unit: Any) -> None:
        self.number = number
        self.unit = unit
        self.began = monotonic()
        self.limit: float | None = None  # seconds, of its one call
        self.ticket: Any = None  # the engine's own
        self.timer: Any = None
        # Why its far end is being ended; a CancelledError, if somebody asked for the end of its task.
        self.doomed: BaseException | None = None
        self.asked_for: list[Event] = []  # by whom: told when it is settled, either way

    def tell(self) -> None:
        """Wake who wanted it ended, and waits for what became of it."""
        for heard in self.asked_for:
            heard.set()

    def stop_clock(self) -> None:
        """Take the time back, until it begins again."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()


class Clerk:
    """The one thread of an engine's pool: goes through events in the order they came."""

    def __init__(self, pool: str, engine: Engine) -> None:
        self.engine = engine
        self._events: SimpleQueue[tuple[Slot, Callable[[], object]] | None] = SimpleQueue()
        self.put = self._events.put
        self._thread = threading.Thread(
            target=self._run, name=f"{pool}-clerk", daemon=daemon_threads_allowed()
        )
        self._starting = Lock()  # guards the start of the thread

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is the clerk."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Start the thread, once."""
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()

    def close(self) -> None:
        """End the thread, once it has gone through the events that are there."""
        self.put(None)
        if self._thread.ident is not None and not self.is_this_thread:
            self._thread.join()

    def _run(self) -> None:
        get = self._events.get
        while (event := get()) is not None:
            slot, call = event
            here.worker = slot
            try:
                call()
            except BaseException as error:
                # A fault of ours must not hang anybody: everything fails with it, and handlers come later.
                slot.give_up(error)
                _log.exception("worker %d of %s failed", slot.index, slot.scheduler.name)
            here.worker = None
            del slot, call, event
