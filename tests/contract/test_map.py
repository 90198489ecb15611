"""map and starmap: which results come, in which order, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, cast

import pytest
from typing_extensions import ParamSpec, TypeVar

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool, Task
from workpool.backends.process import feeding
from workpool.scheduling import slow_chunks

P = ParamSpec("P")
R = TypeVar("R")

# Each test below that takes it holds for items that travel alone, in fixed and in measured chunks.
any_chunksize = pytest.mark.parametrize("chunksize", [None, 1, 3])


@any_chunksize
def test_results_come_in_the_order_of_the_input(pool: Pool, chunksize: int | None) -> None:
    """map() gives what the builtin gives."""
    assert list(pool.map(tasks.double, range(100), chunksize=chunksize)) == [
        2 * n for n in range(100)
    ]


def test_any_iterable_will_do(pool: Pool) -> None:
    """Lists, ranges, dicts, sets, strings, iterators and generators are all inputs."""
    whole: list[Iterable[object]] = [[], [1], (1, 2), range(5), {1: "a", 2: "b"}, {7}, "12", b"xy"]
    for items in whole:
        assert list(pool.map(tasks.echo, items)) == list(items)
        assert list(pool.map(tasks.echo, iter(items))) == list(items)
    assert list(pool.map(tasks.echo, (letter for letter in "abc"))) == ["a", "b", "c"]


@any_chunksize
def test_the_shortest_iterable_ends_the_map(pool: Pool, chunksize: int | None) -> None:
    """Several iterables are walked side by side, as by the builtin map."""
    results = pool.map(tasks.add, range(100), [1, 2, 3], chunksize=chunksize)
    assert list(results) == [1, 3, 5]
    assert list(pool.map(tasks.add, iter([1, 2]), range(100), chunksize=chunksize)) == [1, 3]


@any_chunksize
@pytest.mark.parametrize("make", [list, iter], ids=["sized", "lazy"])
def test_starmap_spreads_each_item(
    pool: Pool, make: Callable[[list[tuple[int, int]]], Iterable[tuple[int, int]]], chunksize: int
) -> None:
    """starmap() calls with the members of each item."""
    items = make([(n, 10) for n in range(20)])
    assert list(pool.starmap(tasks.add, items, chunksize=chunksize)) == [n + 10 for n in range(20)]


def test_a_lambda_can_be_mapped(pool: Pool) -> None:
    """A function without a name travels in a map call, too."""
    offset = 5
    assert list(pool.map(lambda n: n + offset, range(4))) == [5, 6, 7, 8]


def test_results_are_an_iterator(pool: Pool) -> None:
    """next() and for share one position; after the end there is nothing, again and again."""
    results = pool.map(tasks.double, range(5))
    assert next(results) == 0
    assert [value for value, _ in zip(results, range(2), strict=False)] == [2, 4]
    assert list(results) == [6, 8] or list(results) == []
    assert next(results, None) is None
    assert list(results) == []


@any_chunksize
@pytest.mark.parametrize("make", [list, iter], ids=["sized", "lazy"])
def test_loops_and_next_take_turns(
    pool: Pool, make: Callable[[Iterable[int]], Iterable[int]], chunksize: int | None
) -> None:
    """What a loop has not come to is there for next(), for another loop, and the other way round."""
    pairs = [(2 * n, 2 * n + 2) for n in range(0, 100, 2)]
    results = pool.map(tasks.double, make(range(100)), chunksize=chunksize)
    assert [(value, next(results)) for value in results] == pairs
    results = pool.map(tasks.double, make(range(100)), chunksize=chunksize)
    assert list(zip(results, results, strict=True)) == pairs
    results = pool.map(tasks.double, make(range(100)), chunksize=chunksize)
    for value in results:
        if value == 20:
            break
    assert next(results) == 22
    assert list(results) == [2 * n for n in range(12, 100)]


def test_a_loop_over_results_that_are_closed_ends(pool: Pool) -> None:
    """close() is heard by the loop that goes on, though more is there."""
    results = pool.map(tasks.double, range(100), chunksize=50)
    seen: list[int] = []
    for value in results:
        seen.append(value)
        results.close()
    assert seen == [0]


def test_two_maps_share_the_workers(pool: Pool) -> None:
    """Map calls may run side by side and be consumed in turns."""
    one = pool.map(tasks.double, range(50))
    two = pool.map(tasks.add, range(50), range(50))
    assert list(zip(one, two, strict=True)) == [(2 * n, 2 * n) for n in range(50)]


def test_a_map_may_be_consumed_in_another_thread(pool: Pool) -> None:
    """Results belong to whoever iterates."""
    results = pool.map(tasks.double, iter(range(50)))
    assert in_background(list[int], results).result() == [2 * n for n in range(50)]


# -------------------------------------------------------------------------- errors


@any_chunksize
def test_an_error_is_raised_in_its_place(pool: Pool, chunksize: int | None) -> None:
    """Results before the failed item are yielded, then its error is raised, then nothing."""
    results = pool.map(tasks.fail_if_odd, [0, 2, 4, 5, 6, 7], chunksize=chunksize)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="5"):
        next(results)
    assert list(results) == []


@any_chunksize
def test_errors_can_be_results(pool: Pool, chunksize: int | None) -> None:
    """With return_exceptions an item's error stands in its place and the rest goes on."""
    results = pool.map(tasks.fail_if_odd, range(20), return_exceptions=True, chunksize=chunksize)
    for n, outcome in enumerate(results):
        if n % 2:
            assert isinstance(outcome, ValueError)
            assert outcome.args == (n,)
        else:
            assert outcome == n


@any_chunksize
def test_an_error_cancels_what_has_not_started(
    make_pool: MakePool, chunksize: int | None, gate: Gate
) -> None:
    """After the error nothing more of this map is started."""
    pool = make_pool(1)

    def items() -> Iterator[int]:
        yield 1  # fails
        yield from range(0, 10_000, 2)

    results = pool.map(tasks.fail_if_odd, items(), chunksize=chunksize, buffersize=8)
    with pytest.raises(ValueError, match="1"):
        next(results)
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    assert pool.stats().done < 100
    assert pool.submit(tasks.double, 4).result(DEADLINE) == 8


@any_chunksize
def test_index_errors_are_errors(pool: Pool, chunksize: int | None) -> None:
    """Also the errors that a loop might take for its own end reach the consumer."""
    errors = [IndexError("mine"), StopIteration("mine"), StopAsyncIteration(), GeneratorExit()]
    results = pool.map(tasks.fail, errors, return_exceptions=True, chunksize=chunksize)
    assert [type(error) for error in results] == [type(error) for error in errors]


def test_a_stop_iteration_does_not_look_like_the_end(pool: Pool) -> None:
    """A function that raises StopIteration never makes a for loop end early in silence."""
    with pytest.raises(RuntimeError):
        list(pool.map(tasks.fail, [StopIteration(), StopIteration()]))


@any_chunksize
def test_a_stop_iteration_keeps_what_it_says(pool: Pool, chunksize: int | None) -> None:
    """Its arguments arrive, as those of any error, and the items around it are told."""
    items = [StopIteration(n, "mine") for n in range(9)]
    errors = list(pool.map(tasks.fail, items, return_exceptions=True, chunksize=chunksize))
    assert [error.args for error in errors if isinstance(error, StopIteration)] == [
        (n, "mine") for n in range(9)
    ]
    spread = pool.starmap(
        tasks.fail, [(item,) for item in items], return_exceptions=True, chunksize=chunksize
    )
    assert [error.args for error in spread if isinstance(error, StopIteration)] == [
        (n, "mine") for n in range(9)
    ]


def test_next_as_a_task_tells_its_stop_iteration(pool: Pool) -> None:
    """The one function in C that raises it of itself is heard as others are."""
    with pytest.raises(RuntimeError) as caught:
        list(pool.map(next, [iter([1]), iter([])], chunksize=2))
    assert isinstance(caught.value.__cause__, StopIteration)


@any_chunksize
def test_next_tells_a_stop_iteration_from_the_end(pool: Pool, chunksize: int | None) -> None:
    """next() does not hand on a StopIteration of the function, which its caller would take for the end."""
    results = pool.map(tasks.fail, [StopIteration(3), StopIteration(4)], chunksize=chunksize)
    with pytest.raises(RuntimeError) as caught:
        next(results)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert caught.value.__cause__.value == 3
    assert next(results, "end") == "end"


@any_chunksize
@pytest.mark.parametrize("who", ["join", "consumer", "shutdown"])
def test_an_error_of_the_input_comes_behind_the_results_before_it(
    pool: Pool, who: str, chunksize: int | None
) -> None:
    """Whoever pulled and heard it first: the consumer is told that this is not the end of its results."""

    def items() -> Iterator[int]:
        yield from range(20)
        raise LookupError("no more input")

    results = pool.map(tasks.double, items(), buffersize=3, chunksize=chunksize)
    if who != "consumer":
        call = (lambda: pool.join(DEADLINE)) if who == "join" else pool.shutdown
        with pytest.raises(LookupError, match="no more input"):
            in_background(call).result()
    seen: list[int] = []
    with pytest.raises(LookupError, match="no more input"):
        seen.extend(results)
    assert seen == [2 * n for n in range(20)]
    assert next(results, "end") == "end"


def test_ctrl_c_in_the_input_is_told_to_the_consumer_as_a_cancelling(pool: Pool) -> None:
    """What is no Exception is for the thread that it struck; another gets no end in silence, though."""

    def items() -> Iterator[int]:
        yield from range(9)
        raise KeyboardInterrupt

    results = pool.map(tasks.double, items(), buffersize=3)
    with pytest.raises(KeyboardInterrupt):
        in_background(pool.join, DEADLINE).result()
    seen: list[int] = []
    with pytest.raises(CancelledError, match="KeyboardInterrupt"):
        seen.extend(results)
    assert seen == [2 * n for n in range(9)]


def test_an_input_that_raises_is_heard(pool: Pool) -> None:
    """An error of the input is raised to who pulls it, and the pool goes on."""

    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more input")

    with pytest.raises(LookupError, match="no more input"):
        list(pool.map(tasks.double, items()))
    with pytest.raises(LookupError, match="no more input"):
        list(pool.map(tasks.double, items(), chunksize=1))
    pool.join(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_an_input_that_cannot_be_iterated_is_refused(pool: Pool) -> None:
    """What has no __iter__ is a TypeError at the call, and nothing is left behind."""
    with pytest.raises(TypeError, match="iter"):
        pool.map(tasks.double, cast("Any", 5))
    with pytest.raises(TypeError, match="iter"):
        pool.starmap(tasks.double, cast("Any", 5))
    pool.join(DEADLINE)


def test_an_input_may_use_the_pool(pool: Pool) -> None:
    """What iterates the input is user code, and may look at and submit to the same pool."""

    class Busybody:
        def __iter__(self) -> Iterator[int]:
            assert pool.unfinished >= 0
            return iter([pool.submit(tasks.double, 1).result(DEADLINE)])

    def use() -> list[int]:
        return list(pool.map(tasks.double, Busybody()))

    assert in_background(use).result() == [4]


# ------------------------------------------------------------- chunks and self.submit


@pytest.mark.needs("concurrent")
def test_a_fixed_chunk_travels_whole(
    pool: Pool, busy: Busy, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With chunksize=3 each worker begins at the head of its own three items."""
    for name in ("_PATIENCE", "_LONGEST_PATIENCE"):  # a worker may be later than those 10 ms
        monkeypatch.setattr(feeding, name, 1e6)
    monkeypatch.setattr(slow_chunks, "PATIENCE", 1e6)
    with busy(pool):
        pass  # both are there
    results = pool.map(tasks.report_and_hold(gate.path), range(6), chunksize=3)
    assert sorted(gate.arrivals(2)) == ["0", "3"]
    assert gate.waiting() == []
    gate.open()
    assert list(results) == list(range(6))


class Counting(Pool):
    """A pool that counts what comes through its submit."""

    submits = 0

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        self.submits += 1
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("make", [list, iter], ids=["sized", "lazy"])
def test_chunksize_one_goes_through_submit(
    kind: Kind, make: Callable[[Iterable[int]], Iterable[int]]
) -> None:
    """A subclass that changes submit() sees each item, as with Executor.map."""
    with Counting(2, **kind.settings) as pool:
        assert list(pool.map(tasks.double, make(range(5)), chunksize=1)) == [0, 2, 4, 6, 8]
        assert pool.submits == 5


# ------------------------------------------------------------------- as completed


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("chunksize", [None, 1])
def test_unordered_results_come_as_they_are_done(
    pool: Pool, gate: Gate, chunksize: int | None
) -> None:
    """With ordered=False a slow item holds up nobody."""
    items = tasks.holding(gate.path, held=0)
    results = pool.map(items, range(20), ordered=False, chunksize=chunksize)
    assert gate.arrival() == "0"
    early = [next(results) for _ in range(19)]
    assert sorted(early) == [2 * n for n in range(1, 20)]
    gate.open()
    assert list(results) == [0]


@any_chunksize
def test_unordered_results_are_complete(pool: Pool, chunksize: int | None) -> None:
    """Every item comes out once, whatever the order."""
    results = pool.map(tasks.double, iter(range(200)), ordered=False, chunksize=chunksize)
    assert sorted(results) == [2 * n for n in range(200)]


@any_chunksize
def test_unordered_errors_are_raised_or_returned(pool: Pool, chunksize: int | None) -> None:
    """Errors keep their meaning without order."""
    loose = pool.map(
        tasks.fail_if_odd, range(10), ordered=False, return_exceptions=True, chunksize=chunksize
    )
    outcomes = list(loose)
    assert sorted(n for n in outcomes if isinstance(n, int)) == [0, 2, 4, 6, 8]
    assert len(outcomes) == 10
    with pytest.raises(ValueError, match=r"[13579]"):
        list(pool.map(tasks.fail_if_odd, range(10), ordered=False, chunksize=chunksize))


# ------------------------------------------------------------------------- timeouts


@pytest.mark.needs("concurrent")
@any_chunksize
def test_a_result_that_is_late_is_a_timeout(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """A result not there so long after the call raises TimeoutError and cancels the rest."""
    function = tasks.holding(gate.path, held=1)
    results = pool.map(function, range(1000), timeout=0.2, chunksize=chunksize)
    assert gate.arrival() == "1"
    with pytest.raises(TimeoutError):
        list(results)
    assert list(results) == []
    gate.open()
    pool.join(DEADLINE)


def test_results_in_time_need_no_more_than_that(pool: Pool) -> None:
    """A timeout that is not reached changes nothing, nor does an endless one."""
    assert list(pool.map(tasks.double, range(5), timeout=DEADLINE)) == [0, 2, 4, 6, 8]
    assert list(pool.map(tasks.double, range(5), timeout=float("inf"))) == [0, 2, 4, 6, 8]


def test_results_say_when_the_pool_was_ended_under_them(pool: Pool, busy: Busy) -> None:
    """Results that will never come raise CancelledError instead of ending early."""
    with busy(pool):
        results = pool.map(tasks.double, range(100))
        lazy = pool.map(tasks.double, iter(range(100)))
        single = pool.map(tasks.double, range(100), chunksize=1)
        pool.shutdown(wait=False, cancel_futures=True)
        for each in (results, lazy, single):
            with pytest.raises(CancelledError):
                list(each)
