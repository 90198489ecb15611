"""How the lives of a pool in Dask's workers end: each context is left, in its thread, and nobody waits for ever."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.engines.jobs import WAIT, failing_at_its_end, stopping_at_its_end
from tests.support import tasks
from tests.support.gates import Gate, in_background, say
from tests.support.queues import until
from workpool import Pool, WorkerLost
from workpool.backends.dask import farewell

pytestmark = pytest.mark.timeout(180)

Settings = dict[str, Any]

ALONE_AND_AMONG_OTHERS = pytest.mark.parametrize("exclusive", [True, False])


@pytest.fixture
def gate() -> Generator[Gate]:
    """Give a gate."""
    with Gate() as made:
        yield made


@contextmanager
def telling_threads(gate: str) -> Generator[None]:
    """Say in which thread it is entered, and left."""
    say(gate, threading.get_ident())
    yield
    say(gate, threading.get_ident())


@contextmanager
def telling_its_end(gate: str) -> Generator[None]:
    yield
    say(gate, "left")


@contextmanager
def telling_its_process(gate: str) -> Generator[None]:
    yield
    say(gate, os.getpid())


def make(settings: Settings, context: Callable[[], Any] | None = None, **others: Any) -> Pool:
    return Pool(1, **{**settings, **others}, worker_context=context)


def stays(pool: Pool) -> Callable[[Any], int]:
    """Give what tells, with a client, in how many workers of Dask the pool has a life."""
    backend: Any = pool._backend
    return partial(_count, backend.engine._token)


def _count(token: str, client: Any) -> int:
    return sum(client.run(_stays, token).values())


def _stays(token: str) -> bool:
    from workpool.backends.dask import lives

    return token in lives._stays


@ALONE_AND_AMONG_OTHERS
def test_a_context_is_left_in_its_thread(
    dask_settings: Settings, gate: Gate, exclusive: object
) -> None:
    """In workers of one thread, as an SQLite connection insists on: the one that runs the tasks."""
    context = partial(telling_threads, gate.path)
    with make(dask_settings, context, exclusive=exclusive) as pool:
        thread = str(pool.submit(threading.get_ident).result(WAIT))
    assert gate.arrivals(2, WAIT) == [thread, thread]


@ALONE_AND_AMONG_OTHERS
def test_a_context_that_is_not_left_holds_up_no_shutdown(
    dask_settings: Settings, gate: Gate, exclusive: object, caplog: pytest.LogCaptureFixture
) -> None:
    """After end_timeout that is logged; a worker which the pool has to itself is killed."""
    context = partial(stopping_at_its_end, gate.path)
    pool = make(dask_settings, context, exclusive=exclusive, end_timeout=0.5)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2
    in_background(pool.shutdown).result(WAIT)
    assert gate.arrival(WAIT) == "leaving"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "workpool"]
    assert f"worker_context of {pool.name} was to leave" in said
    assert "end_timeout=0.5 s" in said
    assert ("is killed" in said) == bool(exclusive)
    gate.open()
    with Pool(3, **dask_settings) as after:
        assert sorted(after.map(tasks.double, range(9))) == list(range(0, 18, 2))


@ALONE_AND_AMONG_OTHERS
def test_a_kill_ends_the_wait_for_a_context(
    dask_settings: Settings, gate: Gate, exclusive: object
) -> None:
    """Also where shutdown() would wait for ever."""
    context = partial(stopping_at_its_end, gate.path)
    pool = make(dask_settings, context, exclusive=exclusive, end_timeout=None)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2
    ending = in_background(pool.shutdown)
    assert gate.arrival(WAIT) == "leaving"
    in_background(pool.kill).result(WAIT)
    ending.result(WAIT)


@ALONE_AND_AMONG_OTHERS
def test_an_error_at_the_end_of_a_context_is_logged(
    dask_settings: Settings, exclusive: object, caplog: pytest.LogCaptureFixture
) -> None:
    """As of any worker; no task fails for it."""
    caplog.set_level(logging.ERROR, logger="workpool")
    with make(dask_settings, failing_at_its_end, exclusive=exclusive) as pool:
        assert pool.submit(tasks.double, 1).result(WAIT) == 2
    (said,) = [record for record in caplog.records if record.name == "workpool"]
    assert f"worker_context of {pool.name} failed to leave" in said.getMessage()
    assert said.exc_info is not None
    assert isinstance(said.exc_info[1], LookupError)


def test_a_worker_that_is_silent_costs_the_others_nothing(
    dask_settings: Settings,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their contexts are left; its own, when it hears of the end."""
    monkeypatch.setattr(farewell, "_ANSWER", 2.0)
    settings: Settings = {**dask_settings, "exclusive": False}
    context = partial(telling_its_process, gate.path)
    with Pool(3, **settings, worker_context=context) as pool:
        with Gate() as all_there:
            held = [pool.submit(tasks.hold, all_there.path, number) for number in range(3)]
            all_there.arrivals(3, WAIT)
            all_there.open()
            assert [task.result(WAIT) for task in held] == [0, 1, 2]
        silent = pool.submit(os.getpid).result(WAIT)
        os.kill(silent, signal.SIGSTOP)
        try:
            in_background(pool.shutdown).result(WAIT)
            others = gate.arrivals(2, WAIT)
        finally:
            os.kill(silent, signal.SIGCONT)
    assert str(silent) not in others
    assert gate.arrival(WAIT) == str(silent)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "workpool"]
    assert "have not answered" in said


def test_no_context_is_left_while_a_task_uses_it(dask_settings: Settings, gate: Gate) -> None:
    """A killed pool among others waits for none of its tasks; the last of them leaves the context."""
    with Gate() as outside:
        context = partial(telling_its_end, outside.path)
        pool = make(dask_settings, context, exclusive=False)
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival(WAIT)
        in_background(pool.kill).result(WAIT)
        in_background(pool.shutdown).result(WAIT)
        assert isinstance(task.exception(0), WorkerLost)
        assert outside.waiting() == []
        gate.open()
        assert outside.arrival(WAIT) == "left"


def test_an_idle_context_of_a_killed_pool_is_left(dask_settings: Settings, gate: Gate) -> None:
    """Where others use the worker, too; nobody waits for it."""
    pool = make(dask_settings, partial(telling_its_end, gate.path), exclusive=False)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2
    pool.kill()
    assert gate.arrival(WAIT) == "left"


def test_a_pool_without_a_context_leaves_nothing(dask_settings: Settings) -> None:
    """Its workers hold functions of its map calls as long as its life is there."""
    distributed: Any = pytest.importorskip("distributed")
    with distributed.Client(dask_settings["address"], set_as_default=False) as client:
        with make(dask_settings, exclusive=False) as pool:
            assert list(pool.map(tasks.double, range(3))) == [0, 2, 4]
            count = stays(pool)
            assert count(client) >= 1
        assert count(client) == 0


def test_the_end_of_a_client_is_that_of_its_pools(dask_settings: Settings, gate: Gate) -> None:
    """A program that is killed leaves no context entered, and no life: Dask's scheduler sees to it."""
    distributed: Any = pytest.importorskip("distributed")
    address = dask_settings["address"]
    with distributed.Client(address, set_as_default=False) as other:
        client = distributed.Client(address, set_as_default=False)
        pool = Pool(
            *(1,),
            backend="dask",
            client=client,
            worker_context=partial(telling_its_end, gate.path),
        )
        assert pool.submit(tasks.double, 1).result(WAIT) == 2
        count = stays(pool)
        assert count(other) == 1
        client.close()
        assert gate.arrival(WAIT) == "left"
        until(lambda: count(other) == 0)
        in_background(pool.kill).result(WAIT)
