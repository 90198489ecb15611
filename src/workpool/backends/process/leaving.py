"""The end of a worker that was told to leave: waited for, but not for ever, and not by its successor.

Told to leave, a worker runs what it was sent, leaves its context, says so (``LEFT``), and ends when the threads
and children have ended that its tasks left behind. All that has ``end_timeout`` seconds; then it
is killed, with a warning that shows where it stands.

A successor never begins before the old one has left its context: the two may need the same file,
port or device. One that has left it and has not ended a second later ends beside its successor, watched
by a thread of its own (`Leaver`). There is one such at a time for each worker, so they do not pile up.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import TYPE_CHECKING

from workpool.backends.process.books import answer
from workpool.backends.process.reckoning import Reckoning
from workpool.ipc import serving
from workpool.ipc.waker import Waker
from workpool.ipc.watch import LONGEST
from workpool.safelog import SafeLog
from workpool.scheduling.worker import WorkerThread

if TYPE_CHECKING:
    from workpool.backends.process.hearing import Hearing
    from workpool.ipc.launch import WorkerHandle

__all__ = ["Leaver", "Leaving"]

_log = SafeLog("workpool")

_ALONE = 1.0  # seconds that a worker has, once it has left its context, before its successor begins
_STACK_WITHIN = 1.0  # seconds


class Leaver:
    """A worker that ends beside its successor, and the thread that sees it end.

    Raises
    ------
    OSError, RuntimeError
        The system has no descriptor or no thread to give; the handle is still the caller's.
    """

    def __init__(self, worker: Leaving, handle: WorkerHandle, hearing: Hearing | None) -> None:
        self.handle = handle
        self.over = False  # set last, before the worker is woken
        self._worker = worker
        self._until = worker._end_by
        self._hearing = hearing
        self._kills = False  # somebody wants it ended now
        self._waker = Waker()
        self._thread = WorkerThread(self._run, f"{worker.scheduler.name}-{worker.index}-leaver")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def kill(self) -> None:
        """Have it killed; from any thread."""
        self._kills = True
        self._waker.ring()

    def _run(self) -> None:
        worker, handle = self._worker, self.handle
        try:
            self._wait()
            handle.reap()
            self._take_in(to_the_end=True)
            if handle.exitcode != 0:
                worker._count_death(worker._cause(handle)[0])
        except BaseException:
            # A fault of ours must not hang who waits for us.
            handle.kill()
            handle.reap()
            _log.exception("the end of worker %d of %s", worker.index, worker.scheduler.name)
        finally:
            handle.close()
            self.over = True
            worker.wake()

    def _wait(self) -> None:
        handle = self.handle
        poller = select.poll()
        for fd in (handle.status_r, handle.result_r, handle.reports.fd, self._waker.fd):
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        while True:
            left = None if self._until is None else max(0.0, self._until - monotonic())
            ready = poller.poll(None if left is None else min(left, LONGEST) * 1000 + 1)
            self._take_in()
            if any(fd == handle.status_r for fd, _ in ready):
                return
            if self._kills:
                poller.unregister(self._waker.fd)
                self._kills, self._until = False, None
                handle.kill()
            elif self._until is not None and monotonic() >= self._until:
                self._until = None
                self._worker._warn_of_the_end(handle)
                handle.kill()

    def _take_in(self, *, to_the_end: bool = False) -> None:
        handle = self.handle
        frames = handle.receive_rest() if to_the_end else handle.receive()
        if self._hearing is not None:
            self._hearing.take(handle.reports.receive(to_the_end=to_the_end))
            if to_the_end:
                self._hearing.pause()
        for header, _ in frames:
            if header[0] == serving.GONE:
                self._worker._log_gone(header[1])


class Leaving(Reckoning):
    """Tells a worker to leave, and sees that it does."""

    BY_FORCE = "killed"  # what becomes of it when it does not

    def _tell_to_leave(self, handle: WorkerHandle) -> None:
        self._serving = False
        limit = self._backend.settings.end_timeout
        self._end_by = None if limit is None else monotonic() + limit
        handle.leave()

    def _end_due(self, due: float | None) -> float | None:
        """Give the moment at which an end that does not come has a consequence, if it is before that one."""
        moments = [due, self._end_by if self._doomed is None else None]
        if self._left_at is not None and self._may_go_on():
            moments.append(self._left_at + _ALONE)
        return min((moment for moment in moments if moment is not None), default=None)

    def _ends_alone(self, handle: WorkerHandle) -> bool:
        """Kill a worker that was told to leave long ago; tell whether it ends beside its successor from now on."""
        if self._doomed is not None:
            return False
        now = monotonic()
        if self._end_by is not None and now >= self._end_by:
            self._warn_of_the_end(handle)
            self._doomed = "not ending in time"
            handle.kill()
            return False
        if self._left_at is None or now < self._left_at + _ALONE or not self._may_go_on():
            return False
        try:
            leaver = Leaver(self, handle, self._another_hearing())
            leaver.start()
        except (OSError, RuntimeError):
            self._left_at = now  # the system has nothing to spare: look again
            return False
        self._leaver = leaver
        return True

    def _may_go_on(self) -> bool:
        """Tell whether there is to be a successor, with nobody left of those before."""
        if self._leaver is not None:
            if not self._leaver.over:
                return False
            self._leaver = None
        with self.scheduler.lock:
            return not (self.leaving or self.scheduler.should_leave())

    def _another_hearing(self) -> Hearing | None:
        if self._hearing is None:
            return None
        from workpool.backends.process.flights import Flights
        from workpool.backends.process.hearing import Hearing

        self._hearing.pause()
        return Hearing(self.scheduler.name, self.index, Flights())

    def _go_on_without(self) -> bool:
        """Part with a process that ends alone; tell whether it should have a successor."""
        self._handle = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        unit = self.scheduler.stay_out(self)
        self._recall_at = None
        self._stop_waiting()
        while self._put_off:
            answer(self._put_off.pop())
        self.scheduler.give_back([] if unit is None else [unit])
        self._backend.starts.lived()
        with self.scheduler.lock:
            return not (self.leaving or self.scheduler.should_leave())

    def _see_off(self) -> None:
        """Wait for the end of the one that ends alone; orders are heard meanwhile."""
        poller = select.poll()
        poller.register(self._wake_r, select.POLLIN)
        while self._leaver is not None and not self._leaver.over:
            poller.poll()
            self._woken()
            while self._orders:
                order = self._orders.popleft()
                if isinstance(order, str):
                    self._leaver.kill()
                answer(order)

    def _kill_leaver(self) -> None:
        if self._leaver is not None and not self._leaver.over:
            self._leaver.kill()

    def _warn_of_the_end(self, handle: WorkerHandle) -> None:
        """Say that a worker is killed because it does not end, and where it stands."""
        where = "(no answer)\n"
        if handle.stacks.ask():
            where = handle.stacks.all_threads(monotonic() + _STACK_WITHIN) or where
        _log.warning(
            "worker %d of %s was told to end and has not within end_timeout=%s s: it is %s. It stands at\n%s",
            self.index,
            self.scheduler.name,
            self._backend.settings.end_timeout,
            self.BY_FORCE,
            where,
        )
