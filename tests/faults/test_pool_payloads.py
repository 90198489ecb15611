"""What cannot travel fails the one task or item it belongs to, and names the part; the worker goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, ClassVar

import pytest

from tests.support import awkward, tasks
from tests.support.gates import DEADLINE, in_background
from tests.support.lives import handle_of, life_of
from tests.support.queues import until
from workpool import NotPicklable, Pool

# What is raised on the way. A KeyboardInterrupt out of submit is the caller's, so it is not here.
RAISED = [ValueError, SystemExit, tasks.OwnBase, tasks.FalsyError, awkward.BadText]
PLACES = pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
raised = pytest.mark.parametrize("kind", RAISED)
DEPTH = 100_000


@pytest.fixture(scope="module")
def processes() -> Generator[Pool]:
    """Give one worker for all tests here: none of them may harm it."""
    with Pool(1, backend="process") as made:
        made.submit(tasks.double, 1).result(DEADLINE)  # there before the first test looks around
        yield made


@pytest.fixture
def pool(processes: Pool) -> Generator[Pool]:
    """Give the pool; afterwards no worker was lost, and it still works."""
    yield processes
    assert processes.submit(tasks.double, 2).result(DEADLINE) == 4
    assert processes.stats().lost == 0
    assert processes.unfinished == 0


def refused(outcome: object, part: str, *words: str) -> None:
    """See that an outcome is the error about that part."""
    assert isinstance(outcome, NotPicklable)
    assert outcome.part == part
    for word in (part, *words):
        assert word in str(outcome)


def items_with(place: int, item: object) -> list[Any]:
    """Give three items, of which one is odd."""
    items: list[Any] = [10, 11, 12]
    items[place] = item
    return items


def mapped(pool: Pool, fn: Callable[..., Any], items: list[Any]) -> list[Any]:
    """Send items as one chunk and give results and errors."""
    return list(pool.map(fn, items, chunksize=3, return_exceptions=True, timeout=DEADLINE))


# ------------------------------------------------------------------------ on the way to it


class TestOnTheWayOut:
    """An argument, an item or a function cannot be pickled."""

    MAKERS: ClassVar = [awkward.FailsToPickle, awkward.FailsToState]

    @raised
    @pytest.mark.parametrize("maker", MAKERS)
    def test_of_a_task(self, pool: Pool, maker: Callable[..., Any], kind: type[Any]) -> None:
        """The task fails, and submit itself does not."""
        argument = pool.submit(awkward.take, maker(kind()))
        keyword = pool.submit(tasks.arguments, 1, two=maker(kind()))
        function = pool.submit(partial(awkward.take, maker(kind())))
        refused(
            argument.exception(DEADLINE), "argument", "(take)", "argument 'value'", kind.__name__
        )
        refused(keyword.exception(DEADLINE), "argument", "argument 'two'")
        refused(function.exception(DEADLINE), "function", "(take)", kind.__name__)

    @PLACES
    @pytest.mark.parametrize("kind", [*RAISED, KeyboardInterrupt])
    def test_of_an_item(self, pool: Pool, place: int, kind: type[BaseException]) -> None:
        """The item fails, and its neighbours do not."""
        bad = awkward.FailsToPickle(kind())
        outcomes = mapped(pool, awkward.take, items_with(place, bad))
        refused(outcomes.pop(place), "argument", f"item {place} of map(take)", kind.__name__)
        assert outcomes == ["int", "int"]

    def test_the_items_before_it_are_pickled_once(self, pool: Pool) -> None:
        """They travel as they were pickled before it was known that one behind them cannot be."""
        items = [awkward.PicklesOnce(), awkward.FailsToPickle(ValueError("never")), 5]
        first, error, last = mapped(pool, awkward.take, items)
        assert (first, last) == ("int", "int")
        refused(error, "argument", "item 1")

    @pytest.mark.parametrize("kind", [*RAISED, KeyboardInterrupt])
    def test_of_a_map_call(self, pool: Pool, kind: type[BaseException]) -> None:
        """A function that cannot be pickled fails every item."""
        for outcome in mapped(pool, partial(awkward.take, awkward.FailsToPickle(kind())), [1]):
            refused(outcome, "function", "map(take)", kind.__name__)

    def test_nested_too_deep(self, pool: Pool) -> None:
        """A pickle too deep to be made is the task's failure, or the item's."""
        deep = awkward.nested(DEPTH)
        refused(pool.submit(awkward.take, deep).exception(DEADLINE), "argument", "RecursionError")
        outcomes = mapped(pool, awkward.take, items_with(1, deep))
        refused(outcomes.pop(1), "argument", "RecursionError")
        assert outcomes == ["int", "int"]


class TestInTheWorker:
    """An argument, an item or a function cannot be unpickled."""

    @pytest.mark.parametrize("kind", [*RAISED, KeyboardInterrupt])
    def test_of_a_task(self, pool: Pool, kind: type[BaseException]) -> None:
        """The task fails and says which part it was."""
        bad = awkward.RebuildsBadly(kind)
        refused(
            pool.submit(awkward.take, bad).exception(DEADLINE), "argument", "(take)", kind.__name__
        )
        refused(pool.submit(partial(awkward.take, bad)).exception(DEADLINE), "function", "(take)")

    @PLACES
    @pytest.mark.parametrize("kind", [*RAISED, KeyboardInterrupt])
    def test_of_an_item(self, pool: Pool, place: int, kind: type[BaseException]) -> None:
        """The item fails, and its neighbours do not."""
        outcomes = mapped(pool, awkward.take, items_with(place, awkward.RebuildsBadly(kind)))
        refused(outcomes.pop(place), "argument", f"item {place} of map(take)", kind.__name__)
        assert outcomes == ["int", "int"]


# ------------------------------------------------------------------------ on the way back


class TestOnTheWayBack:
    """A result cannot be pickled in the worker, or unpickled in the parent."""

    @pytest.mark.parametrize("kind", [*RAISED, KeyboardInterrupt])
    def test_of_a_task(self, pool: Pool, kind: type[Any]) -> None:
        """The task fails with the reason."""
        for maker in (awkward.FailsToPickle, awkward.FailsToState):
            error = pool.submit(awkward.give, maker, kind()).exception(DEADLINE)
            refused(error, "result", "(give)", kind.__name__)
        for late in (awkward.NotHere, awkward.RebuildsBadly):
            error = pool.submit(awkward.give, late, kind).exception(DEADLINE)
            refused(error, "result", "(give)", "unpickled", kind.__name__)

    @PLACES
    @pytest.mark.parametrize("maker", [awkward.FailsToPickle, awkward.NotHere])
    def test_of_an_item(self, pool: Pool, place: int, maker: Callable[..., Any]) -> None:
        """The item fails, and its neighbours do not."""
        argument = SystemExit if maker is awkward.NotHere else SystemExit()
        fn = partial(awkward.give_or_keep, maker, (argument,), place)
        outcomes = mapped(pool, fn, [0, 1, 2])
        name = f"item {place} of map(give_or_keep)"
        refused(outcomes.pop(place), "result", name, "SystemExit")
        assert outcomes == [n for n in range(3) if n != place]

    def test_nested_too_deep(self, pool: Pool) -> None:
        """A result 100,000 deep is told as such, and so is where."""
        error = pool.submit(awkward.nested, DEPTH).exception(DEADLINE)
        refused(error, "result", "(nested)", "RecursionError", "holds a list at [0][0]")
        fn = partial(awkward.give_or_keep, awkward.nested, (DEPTH,), 1)
        outcomes = mapped(pool, fn, [0, 1, 2])
        refused(outcomes.pop(1), "result", "RecursionError")
        assert outcomes == [0, 2]


class TestErrors:
    """What a task raises comes back as it is, or as a stand-in that tells of it."""

    def outcomes(self, pool: Pool, make: Callable[..., Any], *args: object) -> list[Any]:
        """Raise an error in a task, and in the first, middle and last item of a chunk."""
        found = [pool.submit(awkward.raise_it, make, args, 1, 1).exception(DEADLINE)]
        for place in range(3):
            several = mapped(pool, partial(awkward.raise_it, make, args, place), [0, 1, 2])
            found.append(several.pop(place))
            assert several == [n for n in range(3) if n != place]
        return found

    def test_that_take_two_arguments(self, pool: Pool) -> None:
        """They are rebuilt whole, though pickle alone could not."""
        for error in self.outcomes(pool, tasks.TwoArguments, "name", 5):
            assert isinstance(error, tasks.TwoArguments)
            assert (error.name, error.number, str(error)) == ("name", 5, "name: 5")

    @pytest.mark.parametrize(
        "kind", [tasks.FalsyError, tasks.OwnBase, SystemExit, KeyboardInterrupt, GeneratorExit]
    )
    def test_that_look_like_none_or_an_end(self, pool: Pool, kind: type[BaseException]) -> None:
        """A falsy error is an error, and an exit ends no worker."""
        for error in self.outcomes(pool, kind):
            assert type(error) is kind

    def test_that_cannot_be_shown(self, pool: Pool) -> None:
        """An error whose text and form raise comes back all the same."""
        for error in self.outcomes(pool, awkward.BadText):
            assert isinstance(error, awkward.BadText)

    @pytest.mark.parametrize("kind", [awkward.Frozen, awkward.SetsNothing, awkward.HidesTrace])
    def test_that_let_nothing_be_set_or_seen(self, pool: Pool, kind: type[BaseException]) -> None:
        """An error that forbids to set its traceback or its cause, or hides them, comes back all the same."""
        for error in self.outcomes(pool, kind, 3):
            assert isinstance(error, kind)
            assert error.args == (3,)

    def test_whose_text_is_huge(self, pool: Pool) -> None:
        """Its traceback is shortened, so that 50 million characters do not travel."""
        for error in self.outcomes(pool, awkward.HugeText):
            assert isinstance(error, awkward.HugeText)
            assert len(str(error.__cause__)) < 200_000

    def test_that_cannot_be_pickled(self, pool: Pool) -> None:
        """A stand-in names type and text."""
        for error in self.outcomes(pool, tasks.UnpicklableError, "no way"):
            assert isinstance(error, NotPicklable)
            assert error.part == "exception"
            assert "(raise_it)" in str(error)
            assert "UnpicklableError: no way" in str(error)

    def test_that_cannot_be_unpickled_here(self, pool: Pool) -> None:
        """An error that comes apart on arrival is told as one that was raised, not as a result."""
        for error in self.outcomes(pool, awkward.comes_apart):
            refused(error, "exception", "came back", "raise_it")


# ------------------------------------------------------------------------ large ones


@pytest.fixture(params=["memory", "pipe"])
def pool_of_one(request: pytest.FixtureRequest) -> Generator[Pool]:
    """Give a pool in which large payloads go through shared memory, or through the pipe."""
    if request.param == "pipe":
        request.getfixturevalue("pipes_only")
    with Pool(1, backend="process") as made:
        yield made


def test_200_megabytes_each_way(pool_of_one: Pool) -> None:
    """An argument and a result of 200 MB arrive whole, as a task and as an item."""
    pool = pool_of_one
    size = 200_000_000
    data = bytes(size)
    assert pool.submit(len, data).result(DEADLINE) == size
    assert pool.submit(bytes, size).result(DEADLINE) == data
    assert [len(b) for b in pool.map(tasks.echo, [b"", data, b"1"], chunksize=3)] == [0, size, 1]


def test_many_large_ones_both_ways_at_once(pool_of_one: Pool) -> None:
    """40 times 4 MB go and come at the same time: neither side waits for the other for ever."""
    pool = pool_of_one
    blobs = [bytes([n]) * 4_000_000 for n in range(40)]

    def exchange() -> list[bytes]:
        echoed = [pool.submit(tasks.echo, blob) for blob in blobs]
        return [task.result(DEADLINE) for task in echoed]

    assert in_background(exchange).result(2 * DEADLINE) == blobs
    assert list(pool.map(tasks.echo, blobs, chunksize=40, timeout=DEADLINE)) == blobs


@pytest.mark.usefixtures("pipes_only")
def test_who_waits_does_not_hold_back_the_rest_of_an_argument() -> None:
    """A caller that waits for a result lets the driver send what did not fit into the pipe yet."""
    with Pool(1, backend="process") as pool:
        pid = pool.submit(os.getpid).result(DEADLINE)
        os.kill(pid, signal.SIGSTOP)
        task = pool.submit(len, bytes(4_000_000))
        life = life_of(pool)
        until(lambda: handle_of(pool).pending and not life._turn.locked())
        waiting = in_background(task.result)
        until(lambda: bool(task._extras and task._extras.sleepers) or life._turn.locked())
        os.kill(pid, signal.SIGCONT)
        assert waiting.result() == 4_000_000
