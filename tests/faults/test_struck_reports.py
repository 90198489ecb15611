"""What comes from outside (Ctrl-C, the end of a thread) while user code runs that may fail: it is no fault of that."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, stop
from workpool import Pool, Task, TimeLimitExceeded, WorkerLost, safelog

# A finalizer may be struck, as anything else.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class _Stream(io.StringIO):
    """Stands for ``sys.stdout``; whoever writes to it makes that call."""

    def __init__(self, on_write: Callable[[], object]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, text: str) -> int:
        self._on_write()
        return super().write(text)


class _Handler(logging.Handler):
    """Makes that call for each record."""

    def __init__(self, on_emit: Callable[[], object]) -> None:
        super().__init__()
        self._on_emit = on_emit

    def emit(self, record: logging.LogRecord) -> None:
        del record
        self._on_emit()


# Inside of the test: between its set-up and its call pytest puts handlers of its own in place.
def _handled_by(monkeypatch: pytest.MonkeyPatch, *handlers: logging.Handler) -> None:
    logger = logging.getLogger("workpool.stdout")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [*handlers])


def _by_stream(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    _handled_by(monkeypatch)
    monkeypatch.setattr(sys, "stdout", _Stream(call))


def _by_handler(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    _handled_by(monkeypatch, _Handler(call))


def _by_factory(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        call()
        return logging.LogRecord(*args, **kwargs)

    _by_handler(monkeypatch, int)
    monkeypatch.setattr(logging, "_logRecordFactory", make)


Through = Callable[[pytest.MonkeyPatch, Callable[[], object]], None]
ways = pytest.mark.parametrize("through", [_by_stream, _by_handler, _by_factory])


@pytest.fixture
def blamed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note what is told of faults of streams and handlers."""
    blamed: list[object] = []
    monkeypatch.setattr("workpool.printing._lost", set[int]())
    monkeypatch.setattr(safelog.SafeLog, "_say", lambda *what: blamed.append(what))
    monkeypatch.setattr(logging.Handler, "handleError", lambda *what: blamed.append(what))
    return blamed


@ways
@pytest.mark.parametrize("how", ["limit", "kill"])
def test_a_thread_that_is_given_up_as_it_prints_ends(
    how: str, through: Through, blamed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its item does not go on, and no stream or handler is blamed."""
    went_on: list[int] = []

    def speak(n: int) -> None:
        print("line")
        went_on.append(n)

    with Gate() as gate:
        through(monkeypatch, partial(stop, gate.path))
        with Pool(1, capture=True) as pool:
            limit = 2 * DEADLINE if how == "limit" else None
            results = pool.options(time_limit=limit).map(speak, [1])
            gate.arrival()
            worker: Any = next(iter(pool._scheduler.workers.values()))
            if how == "limit":
                worker.overdue_item(worker._item)
            else:
                pool.kill()
            with pytest.raises(TimeLimitExceeded if how == "limit" else WorkerLost):
                list(results)
            gate.open()
            assert worker._thread.ended(DEADLINE)
    assert not went_on
    assert not blamed


@ways
@pytest.mark.usefixtures("default_handler")
def test_ctrl_c_as_an_item_prints_is_heard(
    through: Through, blamed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the caller's own thread: it comes out where the item prints, and no stream or handler is blamed."""
    went_on: list[int] = []

    def speak(n: int) -> None:
        print("line")
        went_on.append(n)

    through(monkeypatch, partial(signal.raise_signal, signal.SIGINT))
    with Pool(1, backend="inline", capture=True) as pool, pytest.raises(KeyboardInterrupt):
        list(pool.map(speak, [1]))
    assert not went_on
    assert not blamed


@pytest.mark.parametrize("how", ["done already", "set here"])
def test_a_thread_that_is_given_up_in_a_callback_ends(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The callback of a task that is done already runs in it: that is left, and so is the task that has added it."""
    went_on: list[str] = []
    with Gate() as gate, Pool(1) as pool:
        done = pool.submit(tasks.double, 1)
        done.result(DEADLINE)

        def add() -> None:
            if how == "done already":
                done.add_done_callback(lambda _: stop(gate.path))
            else:
                own: Task[int] = Task()
                own.add_done_callback(lambda _: stop(gate.path))
                own.set_result(1)
            went_on.append("after it")

        adding = pool.submit(add)
        gate.arrival()
        worker: Any = next(iter(pool._scheduler.workers.values()))
        assert adding.cancel(kill=True)
        gate.open()
        assert worker._thread.ended(DEADLINE)
    assert not went_on
    assert "callback" not in caplog.text


def test_an_error_like_what_is_sent_is_a_fault_like_any_other(
    blamed: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread that nobody has given up: the line is lost, that is told, and the item goes on."""

    def fail() -> NoReturn:
        raise TimeLimitExceeded("of a task that the stream waits for")

    def speak(n: int) -> int:
        print("line")
        return n

    _by_stream(monkeypatch, fail)
    with Pool(1, capture=True) as pool:
        assert list(pool.map(speak, [1])) == [1]
    assert len(blamed) == 1
