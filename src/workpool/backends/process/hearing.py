"""What a worker process reports, taken in by its driver: records are handled, prints are kept.

The handlers of the parent run in the driver's thread, before the outcome of the
call that logged is settled: who has a task's result has its records, too. A slow
handler so slows down that one worker, as it would with threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workpool import tasklog
from workpool.ipc.reporting import RECORD
from workpool.printing import Lines, Who

if TYPE_CHECKING:
    from workpool.backends.process.flights import Flights

__all__ = ["Hearing"]


class Hearing:
    """Takes in the reports of one worker."""

    def __init__(self, pool: str, worker: int, flights: Flights) -> None:
        self._pool = pool
        self._worker = worker
        self._flights = flights
        self._lines = Lines()

    def take(self, frames: list[tuple[Any, memoryview]]) -> None:
        """Handle log records, and keep what was printed with its task or tell it line by line."""
        for header, _ in frames:
            if header[0] == RECORD:
                tasklog.handle(header[1])
                continue
            _, which, number, position, name, text = header
            task = self._flights.task_at(number)
            if task is not None:
                task.keep_printed(which, text)
            else:
                self._lines.add(which, text, Who(self._pool, self._worker, name, position))

    def pause(self) -> None:
        """Tell a line that has no end, because the worker has done all it was sent."""
        self._lines.end()
