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
from functools import partial
from itertools import compress, repeat, starmap, tee
from time import monotonic_ns, sleep
from typing import TYPE_CHECKING, Any, NoReturn

from workpool.compiled import heard, is_in_c
from workpool.ipc import borrowing, pickling
from workpool.ipc.batch import Batch, Proof
from workpool.ipc.depot import dump_note
from workpool.ipc.journal import MOST_IN_SLICE
from workpool.ipc.outbox import ERROR, NO_FUNCTION, NUMBERS, UNREADABLE, VALUE, VALUES, Outbox
from workpool.naming import function_name
from workpool.traces import begin_below, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workpool.ipc.depot import Depot, Slots
    from workpool.ipc.journal import Journal
    from workpool.ipc.warning import Warnings

__all__ = ["CALL", "ITEM", "PLAIN_ITEM", "PLAIN_STAR", "SOFT", "SOFT_CALL", "STAR", "Runner"]

# How a call's data becomes arguments; from PLAIN_ITEM on it is not pickled any more:
CALL, ITEM, STAR, PLAIN_ITEM, PLAIN_STAR = 0, 1, 2, 3, 4
SOFT = -3  # added to one of the first three: the call can be warned before it is ended
SOFT_CALL = CALL + SOFT

_FNS_KEPT = 64  # functions kept unpickled, and what is known of them
_SLICE_TIME = 2_000_000  # nanoseconds of work in a slice
_NAP = 0.0002  # seconds; longer than the parent needs to go on or to kill


class Runner:
    """Runs what the worker process was sent; ``todo`` holds what has not begun."""

    def __init__(
        self, lock: Any, journal: Journal, outbox: Outbox, warnings: Warnings | None
    ) -> None:
        # Guards todo, recalled, begun, running, the sizes of batches, outbox and journal.
        self._lock = lock
        self._journal = journal
        self._outbox = outbox
        self._dump: Callable[..., Any] = pickling.dumps
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._proofs: dict[bytes, Proof] = {}
        self.todo: deque[Any] = deque()  # (number, call) or Batch
        self.recalled = -1  # what has a number up to this and has not begun is not to begin
        self.begun = -1  # number of the latest call that has begun
        self.running = -1  # the same, while it runs
        # What the running call can ask for; only its own thread looks.
        self.name: str | None = ""
        self.function: Any = None  # named in messages; kept until the call is over
        self.task_id = -1
        self.attempt = 0
        self.batch: Batch | None = None  # the batch whose slice runs
        self._loading = 0  # nanoseconds of the latest call that went into its function's modules
        # Ends this process, with the error of a task: set where it is a copy that a task has made of the worker.
        self.copied: Callable[[BaseException | None], NoReturn] | None = None
        self.warnings = warnings  # none where no call can be warned

    def lend_from(self, depot: Depot, slots: Slots) -> None:
        """Lay large results down there, instead of sending them."""
        self._dump = partial(dump_note, depot, slots)

    def run_all(self) -> None:
        """Run until nothing is left to do."""
        todo = self.todo
        number, now = -1, 0
        call: Any = None
        while todo:
            with self._lock:
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

    def position(self) -> int:
        """Tell the id of the running task, or the position of the running item; in its thread."""
        batch = self.batch
        if batch is None:
            return self.task_id
        with self._lock:  # while something is taken back, its size says more than there is
            return batch.start + batch.size - len(batch.items) - 1

    def number(self) -> int:
        """Give the number of the call that runs, also in a slice; lock held."""
        batch = self.batch
        return self.running if batch is None else batch.first + batch.size - len(batch.items) - 1

    def _stand_still(self, number: int) -> bool:
        """Wait while the parent makes up its mind about a call that was noted; tell whether it is to run."""
        while self._journal.still:
            taken = self._journal.taken()
            if taken is None:
                sleep(_NAP)
                continue
            with self._lock:
                self.recalled = max(self.recalled, taken[1])
                if taken[0] <= number <= taken[1]:
                    self.running = -1
                    return False
            break
        return True

    def _begin(self, number: int) -> int:
        """Note that a call begins; lock held. Gives the time, in nanoseconds."""
        now = monotonic_ns()
        self._journal.begin(number, now)
        self.running = self.begun = number
        return now

    # -------------------------------------------------------------------- one call

    def _run_one(self, number: int, call: Any, began: int) -> type[Any] | None:
        """Run one call and write its outcome down; gives the type of its result."""
        self.task_id, self.name, self.attempt, fn_pickle, data, shape = call
        self._loading = 0
        del call
        result_type: type[Any] | None = None
        try:
            of_batch = fn_pickle.__class__ is Batch
            fn = fn_pickle.function(self._load) if of_batch else self._load(fn_pickle)
            self.function = fn
            argument = data if shape >= PLAIN_ITEM else borrowing.loads(data)
        except BaseException as error:
            kind = NO_FUNCTION if self.function is None else UNREADABLE
            payload = self.dump_error(error, self._label(shape))
        else:
            kind, payload, result_type = self._call(fn, argument, shape)
            del fn, argument
        self.function = None
        del data
        ended = monotonic_ns()
        with self._lock:
            self.running = -1
            todo = self.todo
            more = bool(todo) and (
                len(todo) > 1 or todo[0].__class__ is not Batch or bool(todo[0].items)
            )
            self._outbox.add(number, kind, payload, began + self._loading, ended, more=more)
        return result_type

    def _call(
        self, fn: Callable[..., Any], argument: Any, shape: int
    ) -> tuple[int, Any, type[Any] | None]:
        """Call the function; gives the kind of the outcome, its pickle, and the type of the result."""
        try:
            if shape == CALL:
                args, kwargs = argument
                value = fn(*args, **kwargs)
            elif shape in (ITEM, PLAIN_ITEM):
                value = fn(argument)
            elif shape > CALL:
                value = fn(*argument)
            else:
                assert self.warnings is not None
                args, kwargs = _arguments(argument, shape - SOFT)
                value = self.warnings.call(self.running, fn, args, kwargs)
        except BaseException as error:
            # Begin at the user's function. No local may hold the traceback: it leads here.
            begin_below(error)
            self.end_copy(error)
            return ERROR, self.dump_error(error, self._label(shape)), None
        if self.copied is not None:
            self.copied(None)
        try:
            payload = pickling.dump_result(value, self._label, shape, dump=self._dump)
            return VALUE, payload, type(value)  # pyright: ignore[reportUnknownVariableType] - of anything
        except Exception as error:  # NotPicklable
            return ERROR, self.dump_error(error, self._label(shape)), None

    def end_copy(self, error: BaseException | None) -> None:
        """Leave, if this is a copy of the worker that comes back from what was called here."""
        if self.copied is not None:
            self.copied(error)

    def dump_error(self, error: BaseException, label: str) -> bytes:
        """Pickle an error; a kind of worker may add what it knows of it."""
        return pickling.dump_error(error, label)

    def _load(self, data: Any) -> Callable[..., Any]:
        """Unpickle a function, or find it among those that are the same at every unpickling."""
        large = data.__class__ is not bytes  # which has more to it than a name
        if not large:
            known = self._functions.get(data)
            if known is not None:
                return known
        began = monotonic_ns()
        fn: Callable[..., Any] = borrowing.loads(data) if large else pickling.loads(data)
        self._loading = monotonic_ns() - began
        if not large and pickling.reusable(fn, data):
            if len(self._functions) >= _FNS_KEPT:
                self._functions.clear()
                self._proofs.clear()
            self._functions[data] = fn
        return fn

    def _label(self, shape: int) -> str:
        """Name the running call for messages, as the parent does."""
        if shape in (CALL, SOFT_CALL):
            return f"task {self.task_id} ({self.task_name()})"
        return f"item {self.task_id} of map({self.task_name()})"

    def task_name(self) -> str:
        """Name the running task: as its options say, else as its function."""
        name = self.name
        return name if name is not None else function_name(self.function)

    # --------------------------------------------------------------------- a batch

    def _run_batch(self, batch: Batch) -> None:
        """Run the items of a batch: one by one until the function has proved tiny, then in slices."""
        small = (
            batch.fn.__class__ is bytes
        )  # a large one comes in pieces or lies elsewhere: no key for a dict
        proof = self._proofs.get(batch.fn) if small else None
        if proof is None:
            proof = Proof()
            if small and len(self._proofs) < _FNS_KEPT:
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


def _arguments(argument: Any, shape: int) -> tuple[Any, dict[str, Any]]:
    """Give positional and keyword arguments of a call."""
    if shape == CALL:
        args, kwargs = argument
        return args, kwargs
    return ((argument,) if shape == ITEM else argument), {}


def _of_a_call(raised: BaseException | None) -> BaseException | None:
    """Give what ended a slice if a call raised it: only a call has a frame of its own below ours."""
    return None if raised is None or trace_of(raised) is None else raised
