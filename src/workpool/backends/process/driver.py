"""The daemon thread of one worker process: feeds it, settles what comes back, and sees it die.

Whoever has the *turn* (a lock) may use pipes, flights and process handle. The
driver has it but for the time it sleeps. Then a thread that submits may take it to
send a task right away (``hand_over``), and a thread that waits for a result may take
it to read that result itself (``wait_for``): so a call on an idle pool costs no switch
of threads in this process. Neither ever waits for the turn. After such a read the
driver is not woken by results for `REST` seconds, or until somebody is there who
would not read them (``listen``): the next call is likely to be waited for, too, and a
driver that wakes for its result would be in the way. An exception of a
signal in the middle of that leaves the books in doubt: the process is then ended,
and the journal tells what had begun.

A life of the process: started, ready, busy and idle by turns, then retired or dead.
Death is told by the status pipe, which only the keeper holds (``reckoning.py`` says
what follows). What is sent meanwhile, and what is recalled, is in ``feeding.py``.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import Any

from workpool.backends.process.books import answer
from workpool.backends.process.death import out_of_memory_kills
from workpool.backends.process.leaving import Leaving
from workpool.calm import Listening, calmly
from workpool.errors import InitializerFailed, could_not_begin
from workpool.ipc import pickling, serving
from workpool.ipc.launch import WorkerHandle, launch
from workpool.ipc.watch import CAN_SHARE, Watch
from workpool.midway import held_here
from workpool.safelog import SafeLog
from workpool.situation import here, workers_here
from workpool.task import RUNNING, Task
from workpool.waits import LOOK_AGAIN

__all__ = ["ProcessWorker"]

_log = SafeLog("workpool")


class ProcessWorker(Leaving):
    """One worker: this thread, and the process it keeps alive."""

    # ---------------------------------------------------- what other threads do themselves

    def hand_over(self) -> None:
        """Send what is in the inbox from this very thread, if the driver sleeps; else wake it."""
        calmly(self._hand_over)

    def _hand_over(self) -> None:
        # In a step of another pool nobody may wait for this one's lock, as sending may have to.
        if held_here() or not self._turn.acquire(blocking=False):
            self.wake()
            return
        try:
            handle = self._handle
            if handle is None or not self._serving or self._in_doubt or self._doomed is not None:
                self.wake()
                return
            self._in_doubt = True
            if not self._feed(handle) or handle.unsent or self._due(handle) is not None:
                self.wake()
            self._in_doubt = False
            # Who has queued something may have looked for the hushed before this worker was one.
            if self.scheduler.queue.head:
                self._heed_results()
        finally:
            self._pass_turn()

    def listen(self) -> None:
        """Have results noticed as soon as they come, although the last one was read by who waited for it."""
        calmly(self._listen)

    def _listen(self) -> None:
        self._asked = True
        self._heed_if_asked()

    def _heed_if_asked(self) -> None:
        # Whoever else has the turn sees to it: the driver before it sleeps, others when they have passed
        # the turn. Asked first, then tried; passed first, then looked: so one of the two does it.
        while self._asked and self._turn.acquire(blocking=False):
            try:
                self._heed_results()
            finally:
                self._turn.release()

    def _pass_turn(self) -> None:
        """Let others have their turn, and do what one of them asked for who could not have it."""
        self._turn.release()
        self._heed_if_asked()

    def _heed_results(self) -> None:
        """Have the driver woken by what the process sends, again; with the turn."""
        self._asked = False
        if self._watch is not None:
            self._watch.listen()
        self.scheduler.hushed.discard(self)

    def wait_for(self, task: Task[Any], timeout: float | None) -> None:
        """Read the outcome of a task from this very thread, if the driver sleeps and the task is all there is."""
        if not CAN_SHARE:
            return
        with Listening(_keeps_books) as listening:
            self._wait_for(task, timeout, listening)

    def _wait_for(self, task: Task[Any], timeout: float | None, listening: Listening) -> None:
        if not self._turn.acquire(blocking=False):
            self._listen()  # who has it may be sending something, and leave the driver at rest
            return
        before = here.worker, here.below
        try:
            handle, watch, flight = self._handle, self._watch, self._flights.current
            if handle is None or watch is None or flight is None:
                return
            if flight.task is not task or not self._only_waits(handle):
                self._heed_results()
                return
            here.below = workers_here()
            here.worker = self
            watch.rest(handle.result_r)
            until = None if timeout is None else monotonic() + timeout
            try:
                self._read_for(task, handle, until, listening)
            finally:
                if self._flights:
                    self._heed_results()
                else:
                    # Who calls next is likely to wait for that, too. Until then nothing can come.
                    self.scheduler.hushed.add(self)
            if handle.unsent or self._orders or self._due(handle) is not None:
                self.wake()
        finally:
            here.worker, here.below = before
            self._pass_turn()
            if self._in_doubt:
                self.wake()

    def _only_waits(self, handle: WorkerHandle) -> bool:
        """Tell whether the driver has nothing to do but to read: no rest to push, no clock to look at."""
        return (
            self._serving
            and not self._in_doubt
            and self._doomed is None
            and not handle.unsent
            and not handle.ended
            and self._hearing is None  # log handlers of this process run in the driver's thread
            and self._due(handle) is None
        )

    def _read_for(
        self, task: Task[Any], handle: WorkerHandle, until: float | None, listening: Listening
    ) -> None:
        """Read until the task is done. Ctrl-C is heard here; while what was read is settled, it waits."""
        poll, result_r = self._poller.poll, handle.result_r
        # A task that failed may run again, and with another worker: then it is no flight of ours.
        while (
            task._stage is RUNNING
            and getattr(self._flights.current, "task", None) is task
            and listening.raised is None
        ):
            left = LOOK_AGAIN if until is None else min(max(0.0, until - monotonic()), LOOK_AGAIN)
            if self._trim_at is not None:
                left = min(left, max(0.0, self._trim_at - monotonic()) + 0.0005)
            ready = poll(left * 1000)
            if not ready and self._trim_at is not None:
                self._in_doubt = True
                self._trim_if_due(handle)
                self._in_doubt = False
                if handle.unsent:
                    return  # the driver waits for room
            if not ready and (until is None or monotonic() < until):
                continue  # a signal that came as we fell asleep is heard now
            if len(ready) != 1 or ready[0][0] != result_r:
                return  # late, or there is something for the driver to do
            self._in_doubt = True
            self._read_and_feed(handle)
            self._in_doubt = False
            if task._stage is RUNNING and (
                # It was taken back and sent anew: the driver must push and look at the clock. Or the
                # pipe is at its end, and always ready: the driver waits for the end of the process.
                not self._only_waits(handle) or (until is not None and monotonic() >= until)
            ):
                return

    def _read_and_feed(self, handle: WorkerHandle) -> None:
        """Settle what came; when that was it, send what is to be done next."""
        self._take_in(handle, self._receive(handle))
        if not self._flights and not self._feed(handle):
            self.wake()

    def _receive(self, handle: WorkerHandle) -> list[Any]:
        """Read what is there; from the end of the pipe on, the end of the process alone is waited for."""
        frames = handle.receive()
        if handle.ended and self._watch is not None:
            self._watch.forget(handle.result_r)
        return frames

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        here.worker = self
        self._turn.acquire()
        try:
            while self._live():
                pass
        except BaseException as error:
            # A fault of ours must not hang anybody: everything fails with it, and handlers come later.
            self._fail_flights(error)
            self.scheduler.fail_all(error, for_good=True)
            _log.exception("worker %d of %s failed", self.index, self.scheduler.name)
        finally:
            self._end_process()
            self._turn.release()
            here.worker = None
            self._see_off()
            # Where others could start and this one could not, another would not fare better now.
            self.scheduler.left(self, hire=not self._starved)
            if self._starved:
                self._hire_later()
            answer(self._doomed)  # if a fault came before that was charged
            for order in self._put_off:
                answer(order)
            while self._orders:
                answer(self._orders.popleft())
            self._close_wake()

    def _launch(self) -> WorkerHandle:
        """Start a worker; an OSError when the system has none to give."""
        backend = self._backend
        return launch(
            backend.start_method,
            backend.setup,
            pool=backend.pool,
            index=self.index,
            depot=backend.depot,
            reporting=backend.asked_of_worker(),
            blas_threads=backend.blas_threads,
        )

    def _live(self) -> bool:
        """Keep one process from its start to its end; tell whether there should be another."""
        self._ran = 0
        self._doomed = self._ended_at = None
        self._end_by = self._left_at = None
        self._kills_before = out_of_memory_kills()
        self._in_doubt = False
        self._started_at = monotonic()
        try:
            self._handle = handle = self._launch()
            self._watch = Watch([handle.result_r, handle.status_r, self._wake_r])
            if self._hearing is not None:
                self._watch.heed(handle.reports.fd)
        except OSError as error:
            self._end_process()
            return self._could_not_start(error)
        self._flights.slots = handle.argument_slots
        fds = [handle.result_r, handle.status_r, self._wake_r]
        if self._hearing is not None:
            fds.append(handle.reports.fd)
        self._poller = select.poll()
        for fd in fds:
            self._poller.register(fd, select.POLLIN)
        if self._begin(handle):
            self._backend.starts.started()
            self._serving = True
            if self._serve(handle):
                return self._go_on_without()
        elif handle.short is not None:
            self._end_process()
            return self._could_not_start(handle.short)
        return self._next_life(handle)

    def _serve(self, handle: WorkerHandle) -> bool:
        """Feed the process and settle what it gives, until it is dead; or True: it ends without us."""
        while True:
            if self._serving and not self._feed(handle):
                self._tell_to_leave(handle)
            due = self._due(handle)
            if self._trim_at is not None:
                due = self._trim_at if due is None else min(due, self._trim_at)
            if not self._serving:
                due = self._end_due(due)
            ready = self._sleep(handle, due)
            if self._in_doubt and self._doomed is None:
                self._doomed = "an interruption (KeyboardInterrupt) of its driver"
                handle.kill()
            if self._wake_r in ready:
                self._obey(handle)
            # Outcomes are read, then reports, then outcomes settled: no result overtakes its records.
            frames = self._receive(handle) if handle.result_r in ready else []
            if frames or handle.reports.fd in ready:
                self._hear(handle)
            self._take_in(handle, frames)
            if frames and self._hearing is not None and not self._flights:
                self._hearing.pause()
            if handle.status_r in ready:
                return False
            if not self._serving and self._ends_alone(handle):
                return True
            self._look_at_the_clock(handle)
            self._trim_if_due(handle)

    def _sleep(self, handle: WorkerHandle, due: float | None) -> set[int]:
        """Wait for something to happen, and let others have their turn meanwhile."""
        watch = self._watch
        assert watch is not None
        room_on = handle.wants_room_on if handle.unsent else ()
        self._heed_results()
        self._turn.release()
        try:
            ready = watch.wait(
                None if due is None else max(0.0, due - monotonic()) + 0.0005, room_on=room_on
            )
        finally:
            self._turn.acquire()
        if handle.unsent:
            handle.push()
        if self._wake_r in ready:
            self._woken()
        return ready

    def _begin(self, handle: WorkerHandle) -> bool:
        """Wait until the worker is ready; False when it is not going to be."""
        entering = False
        limit = self._backend.settings.start_timeout
        until = None if limit is None else monotonic() + limit
        while True:
            ready = self._sleep(handle, until)
            if self._wake_r in ready:
                self._obey(handle)
            frames = self._receive(handle)
            self._hear(handle)
            for header, _ in frames:
                if header[0] == serving.READY:
                    return True
                entering = entering or header[0] == serving.ENTERING
                if header[0] == serving.SHORT:
                    handle.short = OSError(header[1])
                    return False
                if header[0] == serving.FAILED:
                    error = pickling.load_error_or_stand_in(header[1])
                    failed = could_not_begin(
                        self.scheduler.name, self.index, error, importing=not entering
                    )
                    self.scheduler.fail_all(failed, for_good=True)
                    handle.kill()
                    return False
            if handle.status_r in ready:
                handle.reap()
                # One that went with its keeper was not ended by what it was doing.
                forsaken = handle.exitcode is None
                in_setup = entering and self._backend.setup.does_something
                if in_setup and not forsaken and self._doomed is None:
                    why, _ = self._cause(handle)
                    died = InitializerFailed(
                        f"worker {self.index} of {self.scheduler.name} died of {why} in its initializer or "
                        "worker_context; the pool takes no more tasks."
                    )
                    self.scheduler.fail_all(died, for_good=True)
                return False
            if until is not None and monotonic() >= until:
                slow = InitializerFailed(
                    f"worker {self.index} of {self.scheduler.name} was not ready within start_timeout={limit} s: its "
                    "initializer or worker_context (or the import of __main__) hangs. The pool takes no more tasks."
                )
                self.scheduler.fail_all(slow, for_good=True)
                handle.kill()
                return False


def _keeps_books(frame: Any) -> bool:
    """Tell whether a thread that waits for a result is in the middle of something else."""
    return frame.f_code is not _READ_FOR


_READ_FOR = ProcessWorker._read_for.__code__
