"""Functions for tasks: at module level, so that they travel to any worker by name."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, NoReturn, TypeVar

import workpool
from tests.support.gates import say, stop

R = TypeVar("R")


def situation() -> workpool.Current:
    """Give ``workpool.current()``."""
    now: workpool.Current = import_module(workpool._HOME["current"]).current()
    return now


def double(n: int) -> int:
    return 2 * n


def add(a: int, b: int) -> int:
    return a + b


def echo(value: R) -> R:
    return value


def echo_none(_: object) -> int:
    return 1


def fail_at(_: object) -> NoReturn:
    raise LookupError


def arguments(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    return args, kwargs


def fail(error: BaseException) -> NoReturn:
    raise error


def fail_with(kind: type[BaseException], *args: object) -> NoReturn:
    raise kind(*args)


def fail_if_odd(n: int) -> int:
    if n % 2:
        raise ValueError(n)
    return n


def fail_until(attempt: int) -> int:
    """Fail with LookupError before that attempt, and then tell which it is."""
    now = situation().attempt
    if now < attempt:
        raise LookupError(now)
    return now


def hold(gate: str, value: R, word: object = "") -> R:
    """Stop at a gate, then give the value."""
    stop(gate, word)
    return value


def hold_below(gate: str, depth: int) -> None:
    """Tell that it runs, and wait, below so many calls of itself."""
    if depth:
        hold_below(gate, depth - 1)
    else:
        stop(gate)


def hold_or_fail(gate: str, error: BaseException, word: object = "") -> NoReturn:
    stop(gate, word)
    raise error


def report(gate: str, value: R) -> R:
    """Say the value at a gate and go on."""
    say(gate, value)
    return value


def _hold_item(gate: str, held: int | None, n: int) -> int:
    if held is None:
        stop(gate, n)
        return n
    if n == held:
        stop(gate, n)
    return 2 * n


def holding(gate: str, held: int) -> Callable[[int], int]:
    """Make a function that doubles, and stops at a gate with one item."""
    return partial(_hold_item, gate, held)


def report_and_hold(gate: str) -> Callable[[int], int]:
    """Make a function that stops at a gate with each item."""
    return partial(_hold_item, gate, None)


def reporting(gate: str) -> Callable[[int], int]:
    """Make a function that says each item at a gate."""
    return partial(report, gate)


def cancelled_within(seconds: float, gate: str, word: object = "") -> bool:
    """Stop at a gate, and then tell whether somebody wants this task's end, or comes to want it in time."""
    stop(gate, word)
    nap, until = threading.Event(), monotonic() + seconds
    while not situation().cancelled and monotonic() < until:
        nap.wait(0.001)
    return situation().cancelled


def tell_if_cancelled(seconds: float, gate: str, _: object = None) -> bool:
    """Say that it has begun, and later whether somebody wants this task's end, in so many seconds at most."""
    say(gate, "begun")
    nap, until = threading.Event(), monotonic() + seconds
    while not situation().cancelled and monotonic() < until:
        nap.wait(0.001)
    told = situation().cancelled
    say(gate, f"told {told}")
    return told


def cancelled_after_another(pool: workpool.Pool, gate: str) -> bool:
    """Stop at a gate, run another task of the same pool, and tell whether this one was cancelled."""
    stop(gate)
    assert pool.submit(double, 1).result() == 2
    return situation().cancelled


def grow(group: workpool.Group, count: workpool.Counter, depth: int) -> None:
    """Count, and submit two more of the same to the same group, so many levels deep."""
    count.add()
    if depth:
        for _ in range(2):
            group.submit(grow, group, count, depth - 1)


def sum_in_group(pool: workpool.Pool, n: int) -> int:
    """Open a group of the very pool that runs this task, and use it."""
    with pool.group() as group:
        doubled = [group.submit(double, i) for i in range(n)]
    return sum(task.result(0) for task in doubled)


def group_of_many(
    pool: workpool.Pool,
    gate: str,
    seen: str,
    queued: list[workpool.Task[int]],
    submitted: threading.Event,
) -> None:
    """Open a group with a task that stops at a gate, and others behind it."""
    with pool.group() as group:
        group.submit(hold, gate, 1)
        queued += [group.submit(report, seen, n) for n in range(5)]
        submitted.set()


def call(fn: Callable[..., R], *args: Any) -> R:
    return fn(*args)


# ------------------------------------------------------------------ who and where


def worker_index() -> int:
    return situation().worker


class Facts(NamedTuple):
    """What current() tells, in a form that travels."""

    pool: str
    worker: int
    task_id: int
    task_name: str
    attempt: int
    resource: object


def facts(_: object = None) -> Facts:
    now = situation()
    return Facts(now.pool, now.worker, now.task_id, now.task_name, now.attempt, now.resource)


def identity() -> tuple[int, int]:
    """Tell process and thread."""
    return os.getpid(), threading.get_ident()


def meet(gate: str, word: object = "") -> tuple[int, tuple[int, int]]:
    """Stop at a gate, so that another worker takes the next task; tell index, process, thread."""
    stop(gate, word)
    return worker_index(), identity()


# ----------------------------------------------------------------- setting workers up

_here = threading.local()


def initialize(*args: object) -> None:
    _here.args = args


def initialized_with() -> tuple[object, ...] | None:
    """Tell what this worker's initializer was given."""
    args: tuple[object, ...] | None = getattr(_here, "args", None)
    return args


def initialized_with_for(_: int) -> tuple[object, ...] | None:
    return initialized_with()


def use_inherited(n: int) -> int:
    """Use the lock, value and queue that the initializer was given."""
    lock, value, queue = _here.args
    with lock:
        value.value += n
    queue.put(n)
    return int(value.value)


def touch(path: str, value: R) -> R:
    """Make a file, and give the value."""
    Path(path).touch()
    return value


def fail_if_there(path: str) -> None:
    """Fail as an initializer once that file is there."""
    if Path(path).exists():
        raise LookupError("no second worker")


def report_start(gate: str, word: object = "start") -> None:
    say(gate, word)


def fail_to_start(gate: str, message: str) -> NoReturn:
    """Fail as an initializer, once the gate is open."""
    stop(gate)
    raise LookupError(message)


@contextmanager
def reporting_context(gate: str, resource: object) -> Generator[object]:
    """Say at a gate when a worker enters and when it leaves."""
    say(gate, "enter")
    try:
        yield resource
    finally:
        say(gate, "leave")


def context_of(gate: str, resource: object) -> Callable[[], Any]:
    return partial(reporting_context, gate, resource)


def broken_context() -> NoReturn:
    raise LookupError("no such resource")


def resource() -> object:
    return situation().resource


def resource_for(_: int) -> object:
    return situation().resource


# ------------------------------------------------------------------ odd values


class FalsyError(Exception):
    """An error that is false, like an empty list."""

    def __bool__(self) -> bool:
        return False


class TwoArguments(Exception):
    """An error whose pickle cannot be rebuilt from its args: there are two parameters."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"{name}: {number}")
        self.name = name
        self.number = number


class OwnBase(BaseException):
    """A BaseException that is no Exception."""


class Locked:
    """What holds a lock and so cannot travel."""

    def __init__(self) -> None:
        self.cache = {"lock": threading.Lock()}


class UnpicklableError(Exception):
    """An error that holds what cannot travel."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


def make_lock() -> object:
    return threading.Lock()


class ExitsWhilePickled:
    """What raises SystemExit while it is pickled."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(3)


def explode() -> NoReturn:
    raise ValueError("cannot be rebuilt")


class ExplodesWhenRebuilt:
    """What pickles well and fails to come out again."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return explode, ()


def make_exploding() -> object:
    return ExplodesWhenRebuilt()


def die(code: int = 7) -> NoReturn:
    os._exit(code)


# --------------------------------------------------------------- pools inside tasks


def run_own_pool(backend: Any, n: int) -> list[int]:
    """Make a pool in a task, use it and end it."""
    with workpool.Pool(2, backend=backend) as pool:
        return list(pool.map(double, range(n)))


def facts_after_own_pool(backend: Any) -> Facts:
    """Make a pool in a task, use it and end it, and tell what current() tells then."""
    run_own_pool(backend, 2)
    return facts()


def run_own_process(n: int) -> int:
    """Start a process in a task by the standard library's means, and wait for it."""
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=die, args=(n,))
    process.start()
    process.join()
    code = process.exitcode
    assert code is not None
    return code


def run_own_pool_and_tell(backend: Any, queue: Any) -> None:
    """Do it, and put what came out into a queue."""
    queue.put(run_own_pool(backend, 3))
