"""Running calls in a worker process, one by one, or many tiny ones at the speed of ``map``.

One by one: each call is begun (taken and noted, in one step under the lock), run,
and its outcome written down before the next begins.

A slice: once a function of a map call has proved tiny and its results plain
(numbers, strings, bytes, None), the items run in one C loop, which takes an item,
calls the function, writes the result into the journal and stores the new end.
A kill in the middle is as exact as one by one: results that stand in the journal
are kept, the next one is charged, the others have not begun. Items can be taken
back from the far end meanwhile, each ``popleft``/``pop`` being one atomic step.
"""

from __future__ import annotations

from collections import deque
from itertools import compress, repeat, starmap, tee
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from workpool.compiled import heard, is_in_c
from workpool.ipc import pickling
from workpool.ipc.batch import Batch, Proof
from workpool.ipc.journal import MOST_IN_SLICE
from workpool.ipc.onecall import FNS_KEPT, ITEM, PLAIN_ITEM, PLAIN_STAR, OneCall
from workpool.ipc.outbox import ERROR, NUMBERS, VALUE, VALUES
from workpool.traces import begin_below, trace_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Runner"]

_SLICE_TIME = 2_000_000  # nanoseconds of work in a slice


class Runner(OneCall):
    """Runs what the worker process was sent; ``todo`` holds what has not begun."""

    def run_all(self) -> None:  # noqa: PLR0912 - one order of steps
        """Run until nothing is left to do."""
        todo = self.todo
        number, now = -1, 0
        call: Any = None
        lock, tries = self._lock, self._tries
        while todo:
            owned = False
            for owned in tries:  # noqa: B007 - `with lock`, written out (scheduling/patient_lock.py)
                break
            if not owned:
                for _ in map(lock.acquire, (True,)):
                    break
            try:
                if not todo:
                    return  # taken back since
                head = todo[0]
                if head.__class__ is Batch:
                    if head.first <= self.recalled:
                        head.take_back()
                    if not head.items:
                        todo.popleft()
                        continue
                else:
                    number, call = todo.popleft()
                    if number <= self.recalled:
                        continue
                    now = self._begin(number)
            finally:
                lock.release()
            if head.__class__ is Batch:
                self._run_batch(head)
            else:
                # The lock, let go of, is the barrier (see the journal).
                if not self._journal.still or self._stand_still(number):
                    self._run_one(number, call, now)
                call = None
            del head

    def take_back(self, number: int) -> int:
        """Let nothing begin any more that has a number up to this; gives the latest that has begun. Lock held.

        What was sent after the recall has a higher number and stays.
        """
        self.recalled = max(self.recalled, number)
        begun, kept = self.begun, list[Any]()
        for entry in self.todo:
            if entry.__class__ is not Batch:
                if entry[0] > number:
                    kept.append(entry)
            elif entry.first > number:
                kept.append(entry)
            else:
                entry.take_back()
                if entry.size:  # else nothing of it has begun, nor counts what came before it
                    begun = max(begun, entry.first + entry.size - 1)
        self.todo.clear()
        self.todo.extend(kept)
        self.begun = begun  # the next recall does not find the batch here
        return begun

    # --------------------------------------------------------------------- a batch

    def _run_batch(self, batch: Batch) -> None:
        """Run the items of a batch: one by one until the function has proved tiny, then in slices."""
        small = (
            batch.fn.__class__ is bytes
        )  # a large one comes in pieces or lies elsewhere: no key for a dict
        proof = self._proofs.get(batch.fn) if small else None
        if proof is None:
            proof = Proof()
            if small and len(self._proofs) < FNS_KEPT:
                self._proofs[batch.fn] = proof
        while batch.items:
            tiny = batch.shape >= PLAIN_ITEM and proof.tiny and len(batch.items) > 1
            # Where the function is still to be unpickled, user code runs: so a call has begun by then.
            if tiny and batch.at_hand(self._functions):
                self._run_slice(batch, proof)
                continue
            with self._lock:
                if not batch.items:
                    return
                item = batch.items.popleft()
                offset = batch.size - len(batch.items) - 1
                now = self._begin(batch.first + offset)
            if self._journal.still and not self._stand_still(batch.first + offset):
                with self._lock:
                    batch.take_back()  # it was sent in one piece, and so all the rest is taken, too
                return
            call = (batch.start + offset, batch.name, batch.attempt, batch, item, batch.shape)
            del item
            result_type = self._run_one(batch.first + offset, call, now)
            del call
            if result_type is not None:
                proof.add(monotonic_ns() - now - self._loading, result_type)

    def _run_slice(self, batch: Batch, proof: Proof) -> None:  # noqa: PLR0915 - one order of steps
        """Run some items in one C loop, each result kept before the next item begins."""
        items = batch.items
        fn = batch.function(self._load)
        most = min(MOST_IN_SLICE, max(2, int(_SLICE_TIME / max(proof.nanoseconds, 50))))
        with self._lock:
            offset = batch.size - len(items)
            size = min(most, len(items))
            began = monotonic_ns()
            self._journal.begin_slice(batch.first + offset, size, began, proof.kind)
        if not self._stand_still(batch.first + offset + size - 1):
            with self._lock:
                batch.take_back()  # what the parent thinks begun of it is told with the next recall
                self._journal.drop_slice()
            return
        self.name, self.attempt, self.batch = batch.name, batch.attempt, batch
        turns = compress(repeat((), size), self._journal.gates)  # a closed gate ends them
        taken = starmap(items.popleft, turns)
        star, in_c = batch.shape == PLAIN_STAR, is_in_c(fn)
        loop: Any = starmap if star else map
        stop: list[StopIteration] = []
        called: Iterator[Any] = loop(fn, taken) if in_c else heard(fn, taken, star, stop)
        # The results are kept by the journal, and once more here for the case that it cannot keep one.
        called, spare = tee(called)
        raised: BaseException | None = None
        try:
            deque(self._journal.keep(called, proof.kind), 0)
        except BaseException as caught:
            # No local may hold the traceback: it leads here.
            raised = begin_below(caught, 1 if in_c else 2)
        ended = monotonic_ns()
        self.end_copy(_of_a_call(raised))  # which could not keep what it returned
        self.batch = None
        deque(turns, 0)  # nothing more is called, so that the results end where the calls did
        values = list(spare)
        with self._lock:
            started = batch.size - len(items) - offset
            self.begun = max(self.begun, batch.first + offset + started - 1)
        failed = started > len(values)
        proof.nanoseconds = (proof.nanoseconds + (ended - began) / max(1, started)) / 2
        outcomes: list[Any] = []
        # The last value may have ended the slice: then the journal does not have it.
        ended_by_it = not (raised is None or failed or isinstance(raised, IndexError))
        if values and not _is_plain(values[-1]):
            proof.plain = False
            number, what, payload = self._odd(batch, offset + len(values) - 1, values.pop())
            outcomes.append((number, what, payload, ended, ended, 1))
            ended_by_it = False
        if values:
            if proof.kind in NUMBERS and type(values[-1]) is proof.kind and not ended_by_it:
                what, payload = NUMBERS[proof.kind], self._journal.numbers(len(values))
            else:
                what, payload = VALUES, pickling.dumps(values)
                proof.kind = type(values[-1])
            number = batch.first + offset
            outcomes.insert(0, (number, what, payload, began, ended, len(values)))
        with self._lock:
            self._outbox.add_sliced(outcomes)
            if not failed:
                self._journal.end_slice_at(started)
                self._outbox.flush()
        if failed:
            self.task_id = batch.start + offset + len(values)
            if raised is None:  # to a loop in C it looked like the end of the items
                raised = stop.pop() if stop else StopIteration()
            payload = self.dump_error(raised, self._label(ITEM))
            raised = None
            number = batch.first + offset + len(values)
            with self._lock:
                self._journal.end_slice_at(started)
                self._outbox.add(number, ERROR, payload, began, ended, more=False)

    def _odd(self, batch: Batch, offset: int, value: Any) -> tuple[int, int, bytes]:
        """Pickle the value that ended a slice, as the journal keeps plain ones only; gives its number, too."""
        self.task_id = batch.start + offset
        try:
            kind, payload = VALUE, pickling.dump_result(value, self._label, ITEM)
        except Exception as error:  # NotPicklable
            kind, payload = ERROR, self.dump_error(error, self._label(ITEM))
        return batch.first + offset, kind, payload


def _is_plain(value: object) -> bool:
    """Tell whether the journal keeps such values; a type may have no hash, so it is asked for none."""
    kind = type(value)
    return any(kind is plain for plain in pickling.PLAIN)


def _of_a_call(raised: BaseException | None) -> BaseException | None:
    """Give what ended a slice if a call raised it: only a call has a frame of its own below ours."""
    return None if raised is None or trace_of(raised) is None else raised
