"""A thread that is given up while it imports or logs: it is struck behind that, for all threads need those locks."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, cast

import pytest

from tests.support import tasks
from tests.support.common import compiled_as_importlib, stand_in_common_code
from tests.support.gates import DEADLINE, Gate, in_background, say
from tests.support.queues import until
from workpool import BackendName, Pool, Task, TimeLimitExceeded
from workpool._compat import frame_of, gil_enabled, has_interpreters, other_interpreters_run
from workpool.backends import thread
from workpool.ipc import onlookers, warning
from workpool.ipc.onlookers import is_common, is_common_frame, send_elsewhere
from workpool.target import send_into

BACKENDS = ["thread", *(["interpreter"] if has_interpreters() else [])]

pytestmark = pytest.mark.skipif(not gil_enabled(), reason="where a thread stands is not known")


def _past_its_limit(_: Pool, task: Task[Any]) -> None:
    assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)


def _cancelled(_: Pool, task: Task[Any]) -> None:
    assert in_background(task.cancel, kill=True).result()


def _killed(pool: Pool, _: Task[Any]) -> None:
    in_background(pool.kill).result()


@pytest.mark.leaks_expected("an interpreter that is written off ends when it likes")
@pytest.mark.parametrize("give_up", [_past_its_limit, _cancelled, _killed])
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_gives_its_lock_back(backend: BackendName, give_up: Any) -> None:
    """And is struck as soon as it stands elsewhere."""
    with Gate() as gate, Gate() as report, Pool(1, backend=backend) as pool:
        limited = pool.options(time_limit=1.0) if give_up is _past_its_limit else pool
        task = limited.submit(stand_in_common_code, gate.path, report.path)
        assert gate.arrival() == "there"
        give_up(pool, task)
        gate.open()
        assert report.arrival() == "free"


@pytest.mark.parametrize("give_up", [_past_its_limit, _cancelled, _killed])
def test_what_finds_no_memory_is_sent_again(give_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the task that is given up has ended for everybody else meanwhile."""
    refusals = [MemoryError(), MemoryError()]

    def send(*args: Any, **kwargs: Any) -> bool:
        if refusals:
            raise refusals.pop()
        return send_into(*args, **kwargs)

    monkeypatch.setattr(thread, "send_into", send)
    ended = threading.Event()

    def work_on(gate: str) -> None:
        say(gate)
        try:
            while True:
                time.sleep(0.001)  # house: sleep - until it is struck
        finally:
            ended.set()

    with Gate() as gate, Pool(1) as pool:
        limit = 0.1 if give_up is _past_its_limit else None
        task = pool.options(time_limit=limit).submit(work_on, gate.path)
        gate.arrival()
        give_up(pool, task)
        assert task.done()
        assert ended.wait(DEADLINE)
        assert not refusals
        if give_up is not _killed:
            assert pool.submit(int).result(DEADLINE) == 0


def test_one_that_goes_on_while_it_is_looked_at_is_not_struck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not where it comes to meanwhile: it stands elsewhere when that was looked at, and then takes a lock."""
    until(
        lambda: not other_interpreters_run()
    )  # of tests before, given up: beside them it is looked otherwise
    lock, asleep, over, steps = (threading.Lock() for _ in range(4))
    for each in (asleep, over, steps):
        each.acquire()

    def run() -> None:
        steps.acquire()
        compiled_as_importlib()(lock, asleep)
        over.acquire()

    def look(frame: Any) -> bool:
        stood_there = is_common_frame(frame)
        if not lock.locked():
            steps.release()
            until(lock.locked)
        return stood_there

    sent: list[bool] = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ident = thread.ident
    assert ident is not None

    def stands_in_run() -> bool:
        frame = frame_of(ident)
        return frame is not None and frame.f_code is run.__code__

    until(stands_in_run)
    monkeypatch.setattr(onlookers, "is_common_frame", look)
    assert not send_elsewhere(ident, lambda: sent.append(True))
    assert not send_elsewhere(ident, lambda: sent.append(True))  # it stands there now
    assert not sent
    asleep.release()
    until(stands_in_run)
    lock.acquire()  # nobody has it
    assert send_elsewhere(ident, lambda: sent.append(True))
    assert sent == [True]
    over.release()
    thread.join(DEADLINE)
    assert send_elsewhere(ident, lambda: sent.append(False))  # to nobody


def test_an_alarm_while_a_strike_is_prepared_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is loaded then, an error is no matter; an alarm of the program's is one."""

    class AlarmError(Exception):
        pass

    def ring(_signal: int, _frame: object) -> None:
        raise AlarmError

    def prepare() -> None:
        with suppress(Exception):
            signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(thread, "prepare_to_strike", prepare)
    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with Gate() as gate, Pool(1) as pool:
            task = pool.submit(tasks.hold, gate.path, 1)
            gate.arrival()
            with pytest.raises(AlarmError):
                task.cancel(kill=True)
            gate.open()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not has_interpreters(), reason="this Python has no concurrent.interpreters")
def test_so_does_a_thread_beside_workers_that_are_interpreters() -> None:
    """Whose frames must not be touched, when it is looked where the thread stands."""
    with Pool(1, backend="interpreter") as beside, Pool(1) as pool:
        assert beside.submit(abs, -1).result(DEADLINE) == 1
        with Gate() as gate, Gate() as report:
            task = pool.submit(stand_in_common_code, gate.path, report.path)
            assert gate.arrival() == "there"
            _cancelled(pool, task)
            gate.open()
            assert report.arrival() == "free"


def test_a_task_that_is_told_of_its_limit_gives_it_back_as_well() -> None:
    """In a process, where it has some grace to tidy up, and its worker may go on."""
    with Gate() as gate, Gate() as report, Pool(1, backend="process") as pool:
        pool.submit(int).result(DEADLINE)
        limited = pool.options(time_limit=1.5, grace=DEADLINE)
        task = limited.submit(stand_in_common_code, gate.path, report.path, is_told=True)
        assert gate.arrival() == "there"
        gate.open()
        assert report.arrival() == "free"
        assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
        assert pool.stats().lost == 0


def test_a_signal_in_the_middle_of_its_handler_strikes_nothing_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would go through the handler into what that was called in."""
    before = signal.getsignal(cast("signal.Signals", warning.SIGNAL))
    warnings: Any = warning.Warnings()
    try:
        warnings._in_task = warnings._meant = 5
        warnings._error = TimeLimitExceeded("")

        def strike_once_more(*_: object) -> bool:
            warnings._hear(0, sys._getframe())
            return True

        monkeypatch.setattr(warning, "try_again", strike_once_more)
        space: dict[str, Any] = {}
        source = "def imports(hear, frame): hear(0, frame())"
        exec(compile(source, "<frozen importlib._bootstrap>", "exec"), space)
        space["imports"](warnings._hear, sys._getframe)
        assert (warnings._put_off, warnings._in_task) == (5, 5)
        with pytest.raises(TimeLimitExceeded):
            warnings._hear(0, sys._getframe())
    finally:
        signal.signal(cast("signal.Signals", warning.SIGNAL), before)


def test_it_is_known_where_such_locks_are_taken() -> None:
    """That is: importing, logging, and the start of a thread; waiting for an event is not."""
    bootstrap: Any = sys.modules["importlib._bootstrap"]

    def known(*functions: Any) -> bool:
        """Tell what is said of a stack of calls, the latest last."""
        return is_common([(each.__code__.co_filename, 0, each.__name__) for each in functions])

    started, waits = threading.Thread.start, threading.Condition.wait
    assert known(known, bootstrap._get_module_lock)
    assert known(
        bootstrap._find_and_load, sys.modules["importlib._bootstrap_external"].cache_from_source
    )
    assert known(known, logging.Handler.handle)
    assert known(known, threading.active_count)
    assert known(known, started, threading.Event.wait, waits)
    assert not known(known, threading.Event.wait, waits)
    assert not known(bootstrap._find_and_load, known)
    assert not known(started, known, threading.Event.wait)
    assert not known()
