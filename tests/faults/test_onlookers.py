"""Programs that are traced, profiled or monitored: their onlookers are hit by nothing that is sent into a thread."""

from __future__ import annotations

import bdb
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from types import CodeType, FrameType
from typing import Any, TypeAlias

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, stop
from workpool import Pool, Task, TimeLimitExceeded
from workpool.backends import thread
from workpool.ipc import onlookers

Look: TypeAlias = Callable[[], None]


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what lets other tests look on (``tests/conftest.py``)."""
    monkeypatch.setattr(thread, "looked_at", onlookers.looked_at)


def _looked_at() -> None:
    """Be called in a thread of a pool, with somebody looking on."""


def _hook(look: Look) -> Callable[[FrameType, str, object], None]:
    def hook(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is _looked_at.__code__:
            look()

    return hook


@contextmanager
def _traced(look: Look) -> Generator[None]:
    """Have this thread traced, and all that begin in the block, as by a debugger or a measure of coverage."""
    before = sys.gettrace(), threading.gettrace()
    threading.settrace(_hook(look))
    sys.settrace(_hook(look))
    try:
        yield
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])


@contextmanager
def _traced_threads(look: Look) -> Generator[None]:
    """Have all threads traced that begin in the block, and not this one."""
    before = threading.gettrace()
    threading.settrace(_hook(look))
    try:
        yield
    finally:
        threading.settrace(before)


@contextmanager
def _profiled(look: Look) -> Generator[None]:
    """Have this thread profiled, and all that begin in the block."""
    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(_hook(look))
    sys.setprofile(_hook(look))
    try:
        yield
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])


@contextmanager
def _profiled_here(_: Look) -> Generator[None]:
    """Have this thread alone profiled, as ``python -m cProfile`` did before Python 3.12."""
    before = sys.getprofile()
    sys.setprofile(lambda *_: None)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def _monitored(look: Look) -> Generator[None]:
    """Have one function monitored, wherever it runs, as by a measure of coverage from Python 3.12 on."""
    monitoring: Any = getattr(sys, "monitoring", None)
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
    event = monitoring.events.PY_START

    def begins(code: CodeType, _: int) -> None:
        assert code is _looked_at.__code__
        look()

    monitoring.use_tool_id(tool, "onlooker")
    monitoring.register_callback(tool, event, begins)
    monitoring.set_local_events(tool, _looked_at.__code__, event)
    try:
        yield
    finally:
        monitoring.set_local_events(tool, _looked_at.__code__, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


ALL_ROUND: list[Callable[[Look], AbstractContextManager[None]]] = [
    _traced,
    _traced_threads,
    _profiled,
]
if sys.version_info >= (3, 12):
    ALL_ROUND.append(_monitored)


def _wait(_: Pool, late: Task[Any]) -> None:
    assert isinstance(late.exception(DEADLINE), TimeLimitExceeded)


def _cancel(_: Pool, late: Task[Any]) -> None:
    assert late.cancel(kill=True)


def _kill(pool: Pool, late: Task[Any]) -> None:
    pool.kill()
    assert late.done()


class _Onlooker:
    """One that takes a lock without care for exceptions, and is found with it in hand."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.lock = threading.Lock()

    def look(self) -> None:
        """Have the lock for a while."""
        self.lock.acquire()
        stop(self.gate.path, "looking")
        for _ in range(100):
            pass
        self.lock.release()

    def was_not_struck(self) -> bool:
        """Let it go on, and see it give its lock back."""
        self.gate.open()
        return self.lock.acquire(timeout=DEADLINE)


@pytest.mark.parametrize("give_up", [_wait, _cancel, _kill])
@pytest.mark.parametrize("looking_on", ALL_ROUND)
def test_an_onlooker_is_not_struck(
    looking_on: Callable[[Look], AbstractContextManager[None]],
    give_up: Callable[[Pool, Task[Any]], None],
) -> None:
    """A thread is given up while its onlooker holds a lock of its own: the lock is given back."""
    limit = 0.05 if give_up is _wait else None
    with Gate() as gate:
        onlooker = _Onlooker(gate)
        with looking_on(onlooker.look), Pool(1) as pool:
            late = pool.options(time_limit=limit).submit(_looked_at)
            gate.arrival()
            give_up(pool, late)
            assert onlooker.was_not_struck()


class _Debugger(bdb.Bdb):
    """One that stops at the next line of whoever calls it, as ``breakpoint()`` does."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look

    def user_line(self, frame: FrameType) -> None:
        """Look, and let the task go on."""
        self._look()
        self.set_continue()


@pytest.mark.parametrize("give_up", [_wait, _cancel, _kill])
def test_a_debugger_in_a_task_is_not_struck(give_up: Callable[[Pool, Task[Any]], None]) -> None:
    """Somebody steps through a task that is given up meanwhile; nobody else is looked at."""
    limit = 0.05 if give_up is _wait else None
    with Gate() as gate, Pool(1) as pool:
        onlooker = _Onlooker(gate)

        def stepped_through() -> int:
            _Debugger(onlooker.look).set_trace()
            return 1

        late = pool.options(time_limit=limit).submit(stepped_through)
        gate.arrival()
        give_up(pool, late)
        assert onlooker.was_not_struck()


@pytest.mark.parametrize("looking_on", [*ALL_ROUND, _profiled_here])
def test_a_program_that_is_looked_at_is_not_held_up_by_a_thread_that_is_given_up(
    looking_on: Callable[[Look], AbstractContextManager[None]],
) -> None:
    """A task past its limit that sits in C code costs nobody else a moment, whoever is looking on."""
    began = time.monotonic()
    with looking_on(lambda: None), Gate() as gate, Pool(1) as pool:
        late = pool.options(time_limit=0.05).submit(tasks.hold, gate.path, 1)
        gate.arrival()
        assert isinstance(late.exception(DEADLINE), TimeLimitExceeded)
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        took = time.monotonic() - began
    assert took < DEADLINE / 2


def test_nobody_looks_on_once_they_have_left() -> None:
    """What is sent into threads is sent again when the last onlooker is gone."""
    if sys.gettrace() is not None or threading.gettrace() is not None:
        pytest.skip("these tests are measured, and so looked at")
    looks = [*ALL_ROUND, _profiled_here]
    for looking_on in looks:
        with looking_on(lambda: None):
            assert onlookers.looked_at(threading.get_ident())
        assert not onlookers.looked_at(threading.get_ident())
