"""An alarm whose handler raises ends whatever the main thread waits in, and the pool goes on."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import signal
from collections.abc import Callable, Generator
from time import monotonic
from typing import Any, Literal, NoReturn

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Event, Pool, Queue, Task

if not hasattr(signal, "setitimer"):
    pytest.skip("this system has no alarms", allow_module_level=True)

AWAY = (
    0.1  # seconds until it rings; the wait has begun by then, or the alarm strikes on the way to it
)
A_SECOND = 1.0
SCOPES: list[Literal["thread", "process"]] = ["thread", "process"]


class Alarm(Exception):
    """Rings."""


@pytest.fixture
def alarm(loaded: None) -> Generator[Callable[[], object]]:
    """Give a call that sets the alarm.

    What it raises in a finalizer is dropped by Python, and nobody else would end the wait. So what there is
    to be finalized is, before; and what a wait needs is loaded, for an import has such callbacks by the dozen.
    """

    def ring(*_: object) -> NoReturn:
        raise Alarm

    for scope in SCOPES:
        assert Queue[int](scope=scope).empty()
        assert not Event(scope=scope).is_set()
    with Pool(1) as pool:
        _group(pool)
    gc.collect()
    before = signal.signal(signal.SIGALRM, ring)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, AWAY)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def _fill(pool: Pool) -> None:
    for n in range(9):
        pool.submit(tasks.double, n)


def _group(pool: Pool) -> None:
    with pool.group() as group:
        group.submit(tasks.double, 1)


# What the main thread waits in while the only worker runs a task that is held.
WAITS: dict[str, Callable[[Pool, Task[int], Any], object]] = {
    "result": lambda _, task, __: task.result(),
    "exception": lambda _, task, __: task.exception(),
    "join": lambda pool, _, __: pool.join(),
    "submit": lambda pool, _, __: _fill(pool),
    "map": lambda pool, _, __: list(pool.map(tasks.double, range(4))),
    "map_one_by_one": lambda pool, _, __: list(pool.map(tasks.double, iter(range(4)), chunksize=1)),
    "group": lambda pool, _, __: _group(pool),
    "wait": lambda _, task, __: concurrent.futures.wait([task]),
    "as_completed": lambda _, task, __: list(concurrent.futures.as_completed([task])),
    "queue": lambda _, __, scope: Queue[int](scope=scope).get(),
    "event": lambda _, __, scope: Event(scope=scope).wait(),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_every_wait_ends(
    backend: Any, wait: str, made: list[Pool], alarm: Callable[[], object]
) -> None:
    """Within a second; what the pool had accepted still ends."""
    pool = Pool(1, backend=backend, queue_size=2)
    made.append(pool)
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        began = monotonic()
        alarm()
        with pytest.raises(Alarm):
            WAITS[wait](pool, task, backend)
        assert monotonic() - began < AWAY + A_SECOND
        assert not task.done()
    assert task.result(DEADLINE) == 1
    in_background(pool.join, DEADLINE).result()
    assert pool.unfinished == 0
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_the_end_of_a_pool_can_be_waited_for_again(
    backend: Any, made: list[Pool], alarm: Callable[[], object]
) -> None:
    """A shutdown that an alarm has ended has closed the pool all the same, and what was accepted is done."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        alarm()
        with pytest.raises(Alarm):
            pool.shutdown()
        assert not task.done()
    in_background(pool.shutdown).result()
    assert task.result(DEADLINE) == 1


class Stop(BaseException):
    """Raised by the alarm of a task, which is not to be taken for a fault of what runs then."""


class RingsAsText:
    def __str__(self) -> str:
        signal.raise_signal(signal.SIGALRM)
        return "text"


class _Text:
    def __str__(self) -> str:
        return "text"


class RingsInPickle(_Text):
    def __reduce__(self) -> str:
        signal.raise_signal(signal.SIGALRM)
        return "RingsInPickle"


class RingsAsRepr(_Text):
    def __reduce__(self) -> NoReturn:
        raise NotImplementedError

    def __repr__(self) -> str:
        signal.raise_signal(signal.SIGALRM)
        return "text"


def _log_until_it_rings(kind: type[object]) -> str:
    def ring(*_: object) -> NoReturn:
        raise Stop

    before = signal.signal(signal.SIGALRM, ring)
    try:
        logging.getLogger("tests.alarms").warning("%s", kind(), extra={"held": kind()})
    except Stop:
        return "stopped"
    finally:
        signal.signal(signal.SIGALRM, before)
    return "the alarm was lost"


@pytest.mark.parametrize("kind", [RingsAsText, RingsInPickle, RingsAsRepr])
def test_an_alarm_ends_a_call_that_logs(
    kind: type[object], made: list[Pool], caplog: pytest.LogCaptureFixture
) -> None:
    """It rings in a worker while a record is made ready to travel: it is raised in the task, and nothing is logged."""
    pool = Pool(1, backend="process", logs=True)
    made.append(pool)
    assert pool.submit(_log_until_it_rings, kind).result(DEADLINE) == "stopped"
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert not caplog.records
