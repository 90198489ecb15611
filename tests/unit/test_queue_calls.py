"""What every queue promises, on both scopes: waiting, the ledger, shutdown, iteration, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.queues import KINDS, Kind, until_asleep
from workpool.errors import JoinTimeout, Unsupported
from workpool.queues import Empty, Full, LifoQueue, PriorityQueue, Queue, ShutDown

Make = Callable[..., Queue[Any]]


pytestmark = pytest.mark.usefixtures("arena")


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def make(kind: Kind) -> Make:
    def make(maxsize: Any = 0) -> Queue[Any]:
        return kind.make(maxsize)

    return make


# ------------------------------------------------------------------ waiting


def test_get_waits_for_an_item(make: Make) -> None:
    """Who sleeps in get wakes with the item that is put."""
    queue = make()
    getting = in_background(queue.get)
    until_asleep(queue, "getters")
    queue.put(1)
    assert getting.result() == 1


def test_put_waits_for_room(make: Make) -> None:
    """Who sleeps in put on a full queue goes on when an item is taken."""
    queue = make(1)
    queue.put(1)
    putting = in_background(queue.put, 2)
    until_asleep(queue, "putters")
    assert queue.get() == 1
    putting.result()
    assert queue.get() == 2


def test_every_sleeper_gets_its_item(make: Make) -> None:
    """As many items as there are sleepers wake all of them."""
    queue = make()
    getting = [in_background(queue.get, timeout=DEADLINE) for _ in range(5)]
    until_asleep(queue, "getters")
    for number in range(5):
        queue.put(number)
    assert sorted(one.result() for one in getting) == list(range(5))


def test_a_wait_ends_in_time(make: Make) -> None:
    """A timeout ends in Empty or Full, and leaves the queue as it was."""
    queue = make(1)
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    queue.put(1, timeout=0.01)
    with pytest.raises(Full):
        queue.put(2, timeout=0.01)
    assert queue.get(timeout=0.01) == 1
    assert queue.unfinished == 1


def test_nowait_looks_only(make: Make) -> None:
    """put_nowait and get_nowait never wait."""
    queue = make(1)
    with pytest.raises(Empty):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(Full):
        queue.put_nowait(2)
    assert queue.get_nowait() == 1


def test_the_longest_timeout_is_no_error(make: Make) -> None:
    """A timeout beyond what the system can count waits as long as need be."""
    queue = make(1)
    getting = in_background(queue.get, timeout=1e300)
    until_asleep(queue, "getters")
    queue.put(1, timeout=float("inf"))
    assert getting.result() == 1


# ------------------------------------------------------------------ the ledger


def test_join_returns_when_the_last_item_is_done(make: Make) -> None:
    """Taken is not done: join sleeps until task_done was called for each item."""
    queue = make()
    for number in range(2):
        queue.put(number)
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    for left in (1, 0):
        queue.get()
        assert queue.unfinished == left + 1
        assert not joining.ended
        queue.task_done()
        assert queue.unfinished == left
    joining.result()


def test_join_on_a_queue_without_items_returns_at_once(make: Make) -> None:
    """Nothing put is nothing to wait for."""
    make().join()


def test_join_tells_what_is_left_when_the_time_is_up(make: Make) -> None:
    """JoinTimeout counts, is a TimeoutError, and the queue stays usable."""
    queue = make()
    for number in range(3):
        queue.put(number)
    queue.get()
    with pytest.raises(
        TimeoutError, match=r"3 items were not done after 0.01 s: 2 queued, 1 taken"
    ) as caught:
        queue.join(timeout=0.01)
    assert isinstance(caught.value, JoinTimeout)
    assert caught.value.unfinished == 3
    queue.task_done()
    assert queue.unfinished == 2


def test_one_task_done_too_many_is_refused(make: Make) -> None:
    """The call says so, and the count stays right."""
    queue = make()
    queue.put(1)
    queue.get()
    queue.task_done()
    with pytest.raises(ValueError, match=r"task_done\(\)"):
        queue.task_done()
    assert queue.unfinished == 0


def test_many_put_and_many_take(make: Make) -> None:
    """Each item arrives once, whoever puts and takes, and join waits for all of them."""
    queue = make(5)
    taken: list[int] = []
    each, putters, getters = 200, 3, 3

    def put(start: int) -> None:
        for number in range(start, start + each):
            queue.put(number)

    def take() -> None:
        taken.extend(queue)

    taking = [in_background(take) for _ in range(getters)]
    putting = [in_background(put, each * n) for n in range(putters)]
    for one in putting:
        one.result()
    queue.join(timeout=DEADLINE)
    queue.shutdown()
    for one in taking:
        one.result()
    assert sorted(taken) == list(range(each * putters))
    assert queue.unfinished == 0


def test_a_bound_holds_against_many(make: Make) -> None:
    """However many put at the same time, no more than maxsize are queued."""
    queue = make(2)
    start = threading.Barrier(4)

    def put() -> int:
        start.wait(DEADLINE)
        count = 0
        for number in range(50):
            try:
                queue.put_nowait(number)
                count += 1
            except Full:
                assert queue.qsize() <= 2
        return count

    putting = [in_background(put) for _ in range(4)]
    assert sum(one.result() for one in putting) == 2
    assert queue.qsize() == 2
    assert queue.full()


# ------------------------------------------------------------------ shutdown


def test_shutdown_lets_the_queue_run_empty(make: Make) -> None:
    """Nothing more gets in; what is in is given; then get says ShutDown."""
    queue = make()
    queue.put(1)
    queue.shutdown()
    with pytest.raises(ShutDown):
        queue.put(2)
    with pytest.raises(ShutDown):
        queue.put_nowait(2)
    assert queue.get() == 1
    for get in (queue.get, queue.get_nowait, lambda: queue.get(timeout=DEADLINE)):
        with pytest.raises(ShutDown):
            get()
    queue.task_done()
    queue.join()


def test_shutdown_at_once_throws_away_what_is_queued(make: Make) -> None:
    """It counts as done; what is taken is still waited for."""
    queue = make()
    for number in range(3):
        queue.put(number)
    queue.get()
    queue.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        queue.get()
    assert queue.qsize() == 0
    assert queue.unfinished == 1
    queue.task_done()
    queue.join()


def test_shutdown_wakes_who_waits(make: Make) -> None:
    """Sleepers in get and put are told, and sleepers in join when nothing is left."""
    empty, full = make(), make(1)
    full.put(1)
    waiting = [in_background(empty.get) for _ in range(2)]
    waiting += [in_background(full.put, 2) for _ in range(2)]
    joining = in_background(full.join)
    until_asleep(empty, "getters")
    until_asleep(full, "putters")
    until_asleep(full, "joiners")
    empty.shutdown()
    full.shutdown(immediate=True)
    for one in waiting:
        with pytest.raises(ShutDown):
            one.result()
    joining.result()


def test_shutdown_may_be_called_again(make: Make) -> None:
    """The second call may be the harder one."""
    queue = make()
    queue.put(1)
    queue.shutdown()
    queue.shutdown(immediate=True)
    queue.join()
    queue.shutdown()


# ------------------------------------------------------------------ iteration


def test_iteration_ends_with_the_queue(make: Make) -> None:
    """The loop takes all, marks each done when it asks for the next one, and ends at shutdown."""
    queue = make()
    for number in range(3):
        queue.put(number)
    queue.shutdown()
    assert [queue.unfinished for _ in queue] == [3, 2, 1]
    queue.join(timeout=0)


def test_a_loop_that_is_left_marks_its_item_done(make: Make) -> None:
    """A break or an error in the body does not leave join waiting for the item."""
    queue = make()
    for number in range(4):
        queue.put(number)
    for _ in queue:
        break
    assert queue.unfinished == 3

    def raises() -> None:
        for _ in queue:
            raise LookupError

    with pytest.raises(LookupError):
        raises()
    assert queue.unfinished == 2

    def returns() -> int:
        for item in queue:
            return int(item)
        return -1

    assert returns() in range(4)
    assert queue.unfinished == 1
    assert queue.qsize() == 1


# ------------------------------------------------------------------ refusals and looks


@pytest.mark.parametrize("maxsize", [1.0, "1", None, True])
def test_a_size_that_is_no_integer_is_refused(make: Make, maxsize: Any) -> None:
    """The call names the setting and the value."""
    with pytest.raises(TypeError, match=f"maxsize must be an integer .* not {maxsize!r}"):
        make(maxsize)


@pytest.mark.parametrize("maxsize", [0, -1])
def test_no_size_is_no_bound(make: Make, maxsize: int) -> None:
    """As in the standard library, zero and less mean that a queue is never full."""
    queue = make(maxsize)
    for number in range(100):
        queue.put_nowait(number)
    assert queue.maxsize == maxsize
    assert not queue.full()


def test_a_negative_timeout_is_refused(make: Make) -> None:
    """Also where no wait would have been needed."""
    queue = make(2)
    queue.put(1)
    for call in (
        lambda: queue.get(timeout=-1),
        lambda: queue.put(2, timeout=-1),
        lambda: queue.join(timeout=-1),
    ):
        with pytest.raises(ValueError, match="non-negative number of seconds, not -1"):
            call()
    assert queue.qsize() == 1


def test_an_unknown_scope_is_refused() -> None:
    """The call names the scopes there are."""
    with pytest.raises(ValueError, match='scope must be "thread" or "process", not \'proces\''):
        Queue(scope="proces")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("kind_of", [LifoQueue, PriorityQueue])
def test_an_order_that_processes_cannot_have_is_refused(kind_of: type[Queue[Any]]) -> None:
    """The call names the way out."""
    with pytest.raises(
        Unsupported,
        match=rf'{kind_of.__name__} has no scope="process". Use Queue\(scope="process"\)',
    ):
        kind_of(scope="process")


def test_a_queue_tells_how_full_it_is(make: Make) -> None:
    """Bound, queued, unfinished, and whether it is shut down; also under the names of queue.Queue."""
    queue = make(7)
    queue.put(1)
    queue.put(2)
    queue.get()
    seen = [queue.is_shutdown]
    queue.shutdown()
    assert [*seen, queue.is_shutdown] == [False, True]
    assert queue.unfinished_tasks == queue.unfinished == 2
    shown = repr(queue)
    assert "maxsize=7 qsize=1 unfinished=2 shut down" in shown
