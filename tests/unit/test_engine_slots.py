"""What becomes of a slot of an engine: its far end dies, cannot begin, is ended, or has done enough."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.slots import engine_of, make, slot_of, strike
from workpool import (
    InitializerFailed,
    Pool,
    PoolClosed,
    TimeLimitExceeded,
    Unsupported,
    WorkerLost,
    WorkerStartFailed,
)
from workpool.backends.engine.slots import Slot


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one slot."""
    with make(1) as made:
        yield made


@pytest.fixture
def gate() -> Generator[Gate]:
    """Give a gate."""
    with Gate() as made:
        yield made


def test_a_death_is_charged_to_what_ran(pool: Pool, gate: Gate) -> None:
    """The running task fails, naming worker, cause and task; the next runs under the same index."""
    task = pool.submit(tasks.hold, gate.path, 1)
    queued = pool.submit(tasks.worker_index)
    gate.arrival()
    strike(pool)
    error = task.exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert (error.worker, error.exitcode, error.task) == (0, -9, "hold")
    assert "signal 9" in str(error)
    assert queued.result(DEADLINE) == 0
    assert pool.stats().lost == 1


def test_retries_run_a_lost_task_again(pool: Pool, gate: Gate) -> None:
    """With retries a task whose worker died starts anew, and its second outcome counts."""
    task = pool.options(retries=1).submit(tasks.hold, gate.path, "kept")
    gate.arrival()
    strike(pool)
    gate.arrival()
    gate.open()
    assert task.result(DEADLINE) == "kept"
    assert task.attempts == 2


def test_retries_that_are_used_up_are_not_advised(pool: Pool, gate: Gate) -> None:
    """The error says how many attempts there were, of a task and of an item."""
    view = pool.options(retries=1)
    task = view.submit(tasks.hold, gate.path, "lost")
    results = view.map(tasks.holding(gate.path, held=0), [0], return_exceptions=True)
    for _ in range(4):
        gate.arrival()
        strike(pool)
    for error in (task.exception(DEADLINE), *results):
        assert isinstance(error, WorkerLost)
        assert str(error).endswith("Other tasks are not affected; that was attempt 2 of at most 2.")


def test_what_a_dead_far_end_brings_later_is_dropped(pool: Pool, gate: Gate) -> None:
    """An outcome for a flight that is settled changes nothing."""
    task = pool.options(retries=1).submit(tasks.hold, gate.path, 1)
    gate.arrival()
    slot = slot_of(pool)
    flight = slot.flight
    assert flight is not None
    strike(pool)
    gate.arrival()
    slot.post(lambda: slot.landed(flight, (0, 0.0, None, ("too late",))))
    gate.open()
    assert task.result(DEADLINE) == 1


def test_a_chunk_dies_as_a_whole(pool: Pool, gate: Gate) -> None:
    """Nobody can tell which of its items had begun: all fail, and the message says so."""
    results = pool.map(
        tasks.holding(gate.path, held=1), range(3), chunksize=3, return_exceptions=True
    )
    gate.arrival()
    strike(pool)
    outcomes = list(results)
    assert [type(outcome) for outcome in outcomes] == [WorkerLost] * 3
    assert "with 2 short ones that travelled with it" in str(outcomes[0])


def test_retries_run_the_items_of_a_lost_chunk_again(pool: Pool, gate: Gate) -> None:
    """With retries every item of it runs again, alone."""
    view = pool.options(retries=1)
    results = view.map(tasks.holding(gate.path, held=1), range(3), chunksize=3)
    gate.arrival()
    strike(pool)
    gate.arrival()
    gate.open()
    assert list(results) == [0, 2, 4]


def test_each_item_has_a_time_limit_of_its_own(pool: Pool, gate: Gate) -> None:
    """Under a time limit items travel alone; who is late is ended, and the others run."""
    view = pool.options(time_limit=0.2)
    results = view.map(
        tasks.holding(gate.path, held=1), range(3), chunksize=3, return_exceptions=True
    )
    outcomes = list(results)
    assert isinstance(outcomes[1], TimeLimitExceeded)
    assert outcomes[1].time_limit == 0.2
    assert (outcomes[0], outcomes[2]) == (0, 4)


def test_far_ends_that_never_begin_stop_the_pool() -> None:
    """After five starts in a row that failed, what waits fails with the reason, and the pool takes no more."""
    pool = make(1)
    engine = engine_of(pool)
    engine.refuses_to_start = True
    task = pool.submit(tasks.double, 1)
    error = task.exception(DEADLINE)
    assert isinstance(error, WorkerStartFailed)
    assert "a refusal" in str(error)
    with pytest.raises(WorkerStartFailed):
        pool.submit(tasks.double, 1)
    in_background(pool.shutdown).result()


def test_an_initializer_that_fails_fails_all(gate: Gate) -> None:
    """Its error, with its traceback, reaches whatever waits; the pool takes no more."""
    pool = make(2, initializer=tasks.fail_to_start, initargs=(gate.path, "no such thing"))
    submitted = [pool.submit(tasks.double, n) for n in range(3)]
    gate.open()
    for task in submitted:
        error = task.exception(DEADLINE)
        assert isinstance(error, InitializerFailed)
        assert isinstance(error.__cause__, LookupError)
    in_background(pool.shutdown).result()


def test_a_death_in_the_initializer_says_so(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A far end that dies while it sets itself up is the initializer's fault."""
    pool = make(1, initializer=tasks.report_start, initargs=(gate.path,))
    engine = engine_of(pool)

    def begin(slot: Slot) -> None:
        slot.far = far = object()
        slot.post(lambda: slot.died(far, "signal 11", entering=True))

    monkeypatch.setattr(engine, "begin", begin)
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, InitializerFailed)
    assert "signal 11" in str(error)
    in_background(pool.shutdown).result()


def test_a_context_is_entered_once_and_left_in_order(gate: Gate) -> None:
    """Each far end enters it before its first task, holds the resource, and leaves it at the end."""
    with make(1, worker_context=tasks.context_of(gate.path, "treasure")) as pool:
        assert [pool.submit(tasks.resource).result(DEADLINE) for _ in range(3)] == ["treasure"] * 3
        assert gate.waiting() == ["enter"]
    assert gate.arrival() == "leave"


def test_a_far_end_that_has_done_enough_is_replaced(gate: Gate) -> None:
    """max_tasks_per_worker counts items as well, and cuts chunks to what is left."""
    with make(
        1, max_tasks_per_worker=2, initializer=tasks.report_start, initargs=(gate.path,)
    ) as pool:
        assert list(pool.map(tasks.double, range(5), chunksize=5)) == [0, 2, 4, 6, 8]
        assert len(gate.arrivals(3)) == 3


def test_one_thread_serves_all_slots(gate: Gate) -> None:
    """However many workers an engine has, the pool's own part here is one thread."""
    with make(20) as pool:
        running = [pool.submit(tasks.hold, gate.path, n) for n in range(20)]
        gate.arrivals(20)
        ours = [t.name for t in threading.enumerate() if t.name.startswith(pool.name)]
        assert ours == [f"{pool.name}-clerk"]
        gate.open()
        assert [task.result(DEADLINE) for task in running] == list(range(20))


def test_a_fault_of_the_engine_hangs_nobody(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the engine's own code raises, whatever runs or waits fails with that."""
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    engine = engine_of(pool)

    def send(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine, "send", send)
    assert isinstance(pool.submit(tasks.double, 1).exception(DEADLINE), ZeroDivisionError)


def test_an_ended_pool_shares_nothing_new() -> None:
    """What an engine kept for it would be there for ever: refused."""
    pool = make(1)
    pool.shutdown()
    with pytest.raises(PoolClosed, match=pool.name):
        pool.counter()


@pytest.mark.parametrize(
    "settings",
    [
        {"address": "tcp://127.0.0.1:1"},
        {"client": object()},
        {"exclusive": True},
        {"resources": {"GPU": 1}},
    ],
)
def test_what_is_an_engines_is_refused_elsewhere(settings: dict[str, Any]) -> None:
    """Settings that mean nothing to a backend are refused by name, with a backend that knows them."""
    (name,) = settings
    with pytest.raises(Unsupported, match=f"{name}=.*dask"):
        Pool(2, backend="process", **settings)


def test_a_resource_is_named_by_what_can_be_sent() -> None:
    """Half a character, which no engine could send, is refused at the call."""
    with pytest.raises(ValueError, match=r"resources .*: '\\udcff'"):
        Pool(2, resources={"\udcff": 1})


@pytest.mark.parametrize("resources", [{"GPU": "one"}, {1: 1}, {"GPU": -1}, ["GPU"]])
def test_resources_are_amounts_by_name(resources: Any) -> None:
    """Anything else is a TypeError that shows the form."""
    with pytest.raises(TypeError, match="resources"):
        Pool(2, resources=resources)
