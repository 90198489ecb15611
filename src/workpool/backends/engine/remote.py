"""The far side: runs orders in an engine's worker, or in another interpreter.

A :class:`Life` is one pool's stay in one such worker: its initializer has run, its
context is entered, and orders are run until it is left. Several threads may run
orders of the same life at once (a Dask worker has as many as it likes), so each
order has a situation of its own.

What comes back is plain: numbers, strings, bytes and tuples of them, which an engine
sends as it sends anything, and which pass from one interpreter to another as they are.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock
from workpool.ipc import pickling
from workpool.ipc.stacktext import stack_of_thread
from workpool.naming import function_name
from workpool.situation import Setup, Situation, here
from workpool.traces import begin_below

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = [
    "CALL",
    "ERROR",
    "FAILED",
    "ITEM",
    "PLAIN",
    "RAN",
    "RAW",
    "RAW_CALL",
    "RAW_ITEM",
    "RAW_STAR",
    "STAR",
    "UNREADABLE",
    "VALUE",
    "Life",
    "Unwanted",
    "dump_failure",
]

# How an order's data becomes arguments: a pickle for each call, or the values themselves.
CALL, ITEM, STAR, RAW_CALL, RAW_ITEM, RAW_STAR = range(6)
# What became of a call, and how that is told.
RAW, VALUE, ERROR, UNREADABLE = range(4)
# What became of an order: it ran, or there was no life to run it in.
RAN, FAILED = range(2)

# Values of exactly these types go as they are.
PLAIN = frozenset({int, float, bool, str, bytes, type(None)})

_MOST_FUNCTIONS = 64  # kept unpickled
_MOST_UNWANTED = 10_000  # orders remembered that may never come here


class Unwanted:
    """Orders that nobody wants any more, told before they were here; the oldest are forgotten in time."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Any, None] = {}  # in the order in which they were told

    def add(self, order: Any) -> None:
        """Remember one."""
        self._known[order] = None
        if len(self._known) > _MOST_UNWANTED:
            del self._known[next(iter(self._known))]

    def take(self, order: Any) -> bool:
        """Tell whether it is one of them, and forget it."""
        return self._known.pop(order, self) is None


class Run:
    """One order while it runs."""

    __slots__ = ("asked", "attempt", "fn", "ident", "name", "offset", "position")

    def __init__(self, order: tuple[Any, ...]) -> None:
        _, _, self.position, self.name, self.attempt, *_ = order
        self.offset = 0  # of the item that runs
        self.fn: Any = None
        self.ident = threading.get_ident()
        self.asked = False  # somebody wants it to end

    def situation(self, life: Life, worker: int) -> Situation:
        """Make the situation of the thread that runs it; it knows the run, and is not known by it: no cycle."""
        situation = Situation(life.pool, worker)
        situation.resource = life.resource
        situation.task_id = lambda: self.position + self.offset
        situation.task_name = self.task_name
        situation.attempt = lambda: self.attempt
        situation.mark = lambda: self
        return situation

    def task_name(self) -> str:
        """Name what runs: as its options say, else as its function."""
        return self.name if self.name is not None else function_name(self.fn)

    def label(self) -> str:
        """Name the call for messages."""
        return f"task {self.position + self.offset} ({self.task_name()})"


class Life:
    """One pool's stay in one worker, from its initializer to the end of its context."""

    def __init__(
        self, pool: str, worker: int, setup: bytes | None, unwanted: Unwanted | None = None
    ) -> None:
        self.pool = pool
        self.resource: Any = None
        self._lock = Lock()  # guards _runs, _unwanted and _functions
        self._unwanted = Unwanted() if unwanted is None else unwanted
        self._runs: dict[int, Run] = {}  # by the order's number
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._entered: AbstractContextManager[None] | None = None
        if setup is not None:
            loaded: Setup = pickling.loads(setup)
            situation = Situation(pool, worker)
            entered = loaded.entered(situation)
            entered.__enter__()
            self._entered = entered
            self.resource = situation.resource
            here.situation = None  # the setup's; each order brings its own

    @property
    def entered(self) -> bool:
        """Whether there is something to be left."""
        return self._entered is not None

    def leave(self) -> None:
        """Leave the worker context."""
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.__exit__(None, None, None)

    def ask_to_end(self, number: int) -> None:
        """Let an order see that it is not wanted any more; one that is on its way here, when it begins."""
        with self._lock:
            run = self._runs.get(number)
            if run is None:
                self._unwanted.add(number)
            else:
                run.asked = True

    def offset(self, number: int) -> int:
        """Tell which item of an order runs now; -1 when it does not."""
        with self._lock:
            run = self._runs.get(number)
        return -1 if run is None else run.offset

    def stack(self, number: int) -> str:
        """Write down where an order stands; nothing when it does not run here."""
        with self._lock:
            run = self._runs.get(number)
        return "" if run is None else stack_of_thread(run.ident)

    # --------------------------------------------------------------------- an order

    def run(self, order: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run an order: ``(RAN, seconds, kinds or None, payloads)``; None means all RAW."""
        run = Run(order)
        number, shape, fn_data, data = order[0], order[5], order[6], order[7]
        with self._lock:
            self._runs[number] = run
            run.asked = self._unwanted.take(number)
        before = here.situation
        here.situation = run.situation(self, order[1])
        began = monotonic()
        kinds: list[int] = []
        payloads: list[Any] = []
        try:
            each = (data,) if shape in (CALL, RAW_CALL) else data
            for run.offset, argument in enumerate(each):
                kind, payload = self._call(run, fn_data, argument, shape)
                kinds.append(kind)
                payloads.append(payload)
                del argument, payload
        finally:
            here.situation = before
            with self._lock:
                del self._runs[number]
            run.fn = None  # who keeps what the task was told about itself keeps the run
        seconds = monotonic() - began
        return RAN, seconds, tuple(kinds) if any(kinds) else None, tuple(payloads)

    def _call(self, run: Run, fn_data: bytes, argument: Any, shape: int) -> tuple[int, Any]:
        """Make one call; what comes out, error or not, is ready to travel."""
        try:
            fn = run.fn = self._function(fn_data)
            if shape < RAW_CALL:
                argument = pickling.loads(argument)
        except BaseException as error:
            return UNREADABLE, pickling.dump_error(error, run.label())
        try:
            if shape == CALL:
                args, kwargs = argument
                value = fn(*args, **kwargs)
            elif shape in (ITEM, RAW_ITEM):
                value = fn(argument)
            else:
                value = fn(*argument)
        except BaseException as error:
            # Begin at the user's function. No local may hold the error: its traceback leads here.
            begin_below(error)
            return ERROR, pickling.dump_error(error, run.label())
        if type(value) in PLAIN:  # pyright: ignore[reportUnknownArgumentType] - of anything
            return RAW, value
        try:
            return VALUE, pickling.dump_result(value, run.label)
        except BaseException as error:
            return ERROR, pickling.dump_error(error, run.label())

    def _function(self, data: bytes) -> Callable[..., Any]:
        with self._lock:
            known = self._functions.get(data)
        if known is not None:
            return known
        fn: Callable[..., Any] = pickling.loads(data)
        if pickling.reusable(fn, data):
            with self._lock:
                if len(self._functions) >= _MOST_FUNCTIONS:
                    self._functions.clear()
                self._functions[data] = fn
        return fn


def dump_failure(error: BaseException) -> tuple[int, bytes]:
    """Say that a life could not begin: the outcome of whatever order was to run in it."""
    return FAILED, pickling.dump_error(error, "the start of a worker")
