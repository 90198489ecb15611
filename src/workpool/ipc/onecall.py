"""Running one call in a worker process, and what it can ask for meanwhile.

It is begun (taken and noted, in one step under the lock), run, and its outcome written down before the next begins.
"""

from __future__ import annotations

import marshal
from collections import deque
from functools import partial
from itertools import repeat
from time import monotonic_ns, sleep
from typing import TYPE_CHECKING, Any, NoReturn

from workpool.ipc import borrowing, pickling
from workpool.ipc.batch import Batch, Proof
from workpool.ipc.depot import dump_note
from workpool.ipc.outbox import ERROR, NO_FUNCTION, PLAIN, UNREADABLE, VALUE, Outbox
from workpool.naming import function_name
from workpool.traces import begin_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.depot import Depot, Slots
    from workpool.ipc.journal import Journal
    from workpool.ipc.warning import Warnings

__all__ = ["CALL", "ITEM", "PLAIN_ITEM", "PLAIN_STAR", "SOFT", "SOFT_CALL", "STAR", "OneCall"]

# How a call's data becomes arguments; from PLAIN_ITEM on it is not pickled any more:
CALL, ITEM, STAR, PLAIN_ITEM, PLAIN_STAR = 0, 1, 2, 3, 4
SOFT = -3  # added to one of the first three: the call can be warned before it is ended
SOFT_CALL = CALL + SOFT

_CALLS = (CALL, SOFT_CALL)
# Of every call that has none: each gets a dict of its own when it is made.
_NO_ARGUMENTS: Any = ((), {})
FNS_KEPT = 64  # functions kept unpickled, and what is known of them
_NAP = 0.0002  # seconds; longer than the parent needs to go on or to kill


class OneCall:
    """Runs single calls; what is to do, and in which order, is the affair of the `Runner`."""

    def __init__(
        self, lock: Any, journal: Journal, outbox: Outbox, warnings: Warnings | None
    ) -> None:
        # Guards todo, recalled, begun, running, the sizes of batches, outbox and journal.
        self._lock = lock
        # By the thread that runs calls, and by no other: no iterator is to be shared where there is no GIL.
        self._tries = map(lock.acquire, repeat(False))
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
            if shape in _CALLS and data == pickling.NO_ARGUMENTS:
                argument: Any = _NO_ARGUMENTS
            else:
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
        owned = False
        for owned in self._tries:  # noqa: B007 - as in run_all
            break
        if not owned:
            for _ in map(self._lock.acquire, (True,)):
                break
        try:
            self.running = -1
            todo = self.todo
            more = bool(todo) and (
                len(todo) > 1 or todo[0].__class__ is not Batch or bool(todo[0].items)
            )
            self._outbox.add(number, kind, payload, began + self._loading, ended, more=more)
        finally:
            self._lock.release()
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
        kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType] - of anything
        try:
            if kind in pickling.ALWAYS_PICKLES:  # which may ask a class of the user's for its hash
                return PLAIN, marshal.dumps(value), kind
            payload = pickling.dump_result(value, self._label, shape, dump=self._dump)
            return VALUE, payload, kind
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
            if len(self._functions) >= FNS_KEPT:
                self._functions.clear()
                self._proofs.clear()
            self._functions[data] = fn
        return fn

    def _label(self, shape: int) -> str:
        """Name the running call for messages, as the parent does."""
        if shape in _CALLS:
            return f"task {self.task_id} ({self.task_name()})"
        return f"item {self.task_id} of map({self.task_name()})"

    def task_name(self) -> str:
        """Name the running task: as its options say, else as its function."""
        name = self.name
        return name if name is not None else function_name(self.function)


def _arguments(argument: Any, shape: int) -> tuple[Any, dict[str, Any]]:
    """Give positional and keyword arguments of a call."""
    if shape == CALL:
        args, kwargs = argument
        return args, kwargs
    return ((argument,) if shape == ITEM else argument), {}
