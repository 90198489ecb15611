"""The queue between processes: how it travels, what travels in it, and who may mark what done."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.queues import empty_hands, until_asleep
from workpool.errors import JoinTimeout, NotPicklable
from workpool.ipc import hands, memory, shared_queue
from workpool.queues import Queue, ShutDown

fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module", autouse=True)
def singletons() -> None:
    """Make what stays until the process ends, before the first test looks for leaks."""
    memory.allocate(1)
    resource_tracker.ensure_running()
    forkserver.ensure_running()


@pytest.fixture
def queue() -> Iterator[Queue[Any]]:
    made: Queue[Any] = Queue(scope="process")
    yield made
    # The test's arguments live longer than the test, and what they have mapped must not.
    empty_hands(made)


def run(process: BaseProcess) -> None:
    """Wait for the good end of a process."""
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()


def start(target: Callable[..., object], *args: object, method: str = "fork") -> BaseProcess:
    context: Any = multiprocessing.get_context(method)
    process: BaseProcess = context.Process(target=target, args=args)
    process.start()
    return process


def in_a_new_thread(call: Callable[[], object]) -> None:
    """Call in a thread that has ended when this returns."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(DEADLINE)


def double_all(source: Queue[int], sink: Queue[int]) -> None:
    """Take until the end, and put twice as much."""
    for number in source:
        sink.put(2 * number)


class Stubborn:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return give_up, ()


def give_up() -> NoReturn:
    raise LookupError("no such thing here")


class Locked:
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


# ------------------------------------------------------------------ how it travels


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_goes_to_a_process_as_an_argument(method: str) -> None:
    """Whatever the start method, both ends work on the same items."""
    source: Queue[int] = Queue(scope="process")
    sink: Queue[int] = Queue(maxsize=3, scope="process")
    process = start(double_all, source, sink, method=method)
    for number in range(10):
        source.put(number)
    assert [sink.get(timeout=DEADLINE) for _ in range(10)] == [2 * n for n in range(10)]
    source.join(timeout=DEADLINE)
    source.shutdown()
    run(process)


def test_it_goes_through_another_queue(queue: Queue[Any]) -> None:
    """A queue is an item like others: what comes out is the one that was put in."""
    inner: Queue[str] = Queue(2, scope="process")
    queue.put(inner)
    found = queue.get()
    inner.put("x")
    assert found.get() == "x"
    assert found.maxsize == 2
    found.task_done()
    inner.join(timeout=0)


def test_all_its_copies_in_a_process_are_one(queue: Queue[Any]) -> None:
    """What was taken through one may be marked done through another."""
    data = pickle.dumps(queue)
    queue.put(1)
    assert pickle.loads(data).get() == 1
    pickle.loads(data).task_done()
    queue.join(timeout=0)


def test_what_was_taken_outlives_the_copy_it_was_taken_through() -> None:
    """A task takes an item and ends; the next, with a copy of its own, marks it done."""

    def child(data: bytes) -> None:
        shared_queue._known.clear()  # what came with the fork is none of ours
        for _ in range(2):
            assert pickle.loads(data).get() == 1
            gc.collect()
            pickle.loads(data).task_done()

    made: Queue[int] = Queue(scope="process")
    made.put(1)
    made.put(1)
    run(start(child, pickle.dumps(made)))
    made.join(timeout=0)


def test_processes_and_threads_share_it() -> None:
    """Several processes, and several threads in each, take each item once."""
    source: Queue[int] = Queue(maxsize=10, scope="process")
    sink: Queue[int] = Queue(scope="process")
    crew = [start(double_in_threads, source, sink) for _ in range(2)]
    putting = [
        in_background(lambda first: [source.put(n) for n in range(first, 300, 3)], first)
        for first in range(3)
    ]
    for one in putting:
        one.result()
    source.join(timeout=DEADLINE)
    source.shutdown()
    for process in crew:
        run(process)
    sink.shutdown()
    assert sorted(sink) == [2 * n for n in range(300)]


def double_in_threads(source: Queue[int], sink: Queue[int]) -> None:
    threads = [threading.Thread(target=double_all, args=(source, sink)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)


# ------------------------------------------------------------------ what travels in it


def test_what_only_cloudpickle_can_send_arrives(queue: Queue[Any]) -> None:
    """Lambdas and closures are items like others."""
    offset = 3
    queue.put(lambda n: n + offset)
    assert queue.get()(4) == 7


def test_what_cannot_be_pickled_is_refused(queue: Queue[Any]) -> None:
    """The put says where the culprit lies and what to do, and the queue is as it was."""
    with pytest.raises(
        NotPicklable, match=r"put\(\) cannot send this Locked .* holds a lock at lock: "
    ) as caught:
        queue.put(Locked())
    assert caught.value.path == "lock"
    assert queue.unfinished == queue.qsize() == 0
    queue.put(1)
    assert queue.get() == 1


def test_what_cannot_be_unpickled_is_charged_to_its_get(queue: Queue[Any]) -> None:
    """That get fails and says why; the item counts as done, and the others come."""
    queue.put(1)
    queue.put(Stubborn())
    queue.put(2)
    assert queue.get() == 1
    with pytest.raises(
        NotPicklable, match=r"LookupError: no such thing here.*counts as done"
    ) as caught:
        queue.get()
    assert isinstance(caught.value.__cause__, LookupError)
    assert queue.unfinished == 2
    assert queue.get() == 2
    queue.task_done()
    queue.task_done()
    queue.join(timeout=0)


def test_a_join_ends_with_an_item_that_cannot_be_unpickled(queue: Queue[Any]) -> None:
    """If it was the last one, join returns."""
    queue.put(Stubborn())
    joining = in_background(queue.join)
    until_asleep(queue, "joiners")
    with pytest.raises(NotPicklable):
        queue.get()
    joining.result()


@pytest.mark.parametrize("size", [0, 15, 16, 17, 61_000, 65_536, 5_000_000])
def test_an_item_may_be_of_any_size(queue: Queue[Any], size: int) -> None:
    """Much larger ones than what memory comes in, and others before and behind."""
    items = [b"before", os.urandom(size), b"behind"]
    for item in items:
        queue.put(item)
    assert [queue.get() for _ in items] == items


def test_an_item_is_a_copy(queue: Queue[Any]) -> None:
    """What is done to it after put does not change what get gives."""
    item = [1]
    queue.put(item)
    item.append(2)
    assert queue.get() == [1]


def test_a_put_that_finds_no_memory_fails_alone(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the system's; the queue is as it was, and goes on when there is memory."""
    queue.put(1)

    def no_memory(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as broken:
        broken.setattr(memory.Region, "open", no_memory)
        with pytest.raises(OSError, match="Cannot allocate"):
            queue.put(bytes(1_000_000))
        queue.put(2)
    queue.put(bytes(1_000_000))
    assert [queue.get(), queue.get(), len(queue.get())] == [1, 2, 1_000_000]


# ------------------------------------------------------------------ who may mark what done


def test_a_process_marks_what_it_took(queue: Queue[Any]) -> None:
    """In a process that took nothing, task_done is one too many, though items are not done."""

    def child() -> None:
        with pytest.raises(ValueError, match="The process that takes an item marks it"):
            queue.task_done()
        queue.get()
        queue.task_done()

    for number in range(3):
        queue.put(number)
    queue.get()
    run(start(child))
    assert queue.unfinished == 2
    queue.task_done()
    assert queue.unfinished == 1


def test_a_thread_marks_its_own_first(queue: Queue[Any]) -> None:
    """A thread's task_done is for what it took; without any, for what another thread took."""
    for number in range(3):
        queue.put(number)
    queue.get()
    in_background(lambda: [queue.get(), queue.task_done()]).result()
    assert queue.unfinished == 2
    in_background(queue.task_done).result()
    assert queue.unfinished == 1
    with pytest.raises(ValueError, match="task_done"):
        queue.task_done()


def test_a_thread_does_not_mark_what_an_ended_one_had(
    queue: Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has the number of that one: what the ended one left is known as not done."""
    monkeypatch.setattr(hands, "get_ident", lambda: 7)  # as the system may give it to both

    def take(*, done: bool) -> None:
        queue.get()
        if done:
            queue.task_done()

    def child() -> None:
        in_a_new_thread(lambda: take(done=False))
        in_a_new_thread(lambda: take(done=True))
        os._exit(0)  # at which what is left is abandoned

    queue.put("left")
    queue.put("done")
    run(start(child))
    assert list(queue.reclaim()) == ["left"]
    queue.task_done()


def test_nothing_is_abandoned_while_its_taker_lives(queue: Queue[Any]) -> None:
    """What a living process has in hand is not for others to take over."""
    taken, leave = fork.Event(), fork.Event()

    def child() -> None:
        queue.get()
        taken.set()
        leave.wait(DEADLINE)
        queue.task_done()

    queue.put(1)
    process = start(child)
    assert taken.wait(DEADLINE)
    assert queue.abandoned() == {}
    assert list(queue.reclaim()) == []
    with pytest.raises(JoinTimeout, match="0 queued, 1 taken"):
        queue.join(timeout=0)
    leave.set()
    queue.join(timeout=DEADLINE)
    run(process)


# ------------------------------------------------------------------ sleepers in other processes


def test_a_process_that_sleeps_wakes(queue: Queue[Any]) -> None:
    """Sleepers in get, put and join of other processes are woken by what they wait for."""
    bounded: Queue[int] = Queue(1, scope="process")
    bounded.put(0)
    getter = start(queue.get)
    putter = start(bounded.put, 1)
    joiner = start(bounded.join, DEADLINE)
    until_asleep(queue, "getters")
    until_asleep(bounded, "putters")
    until_asleep(bounded, "joiners")
    queue.put(1)
    run(getter)
    assert bounded.get() == 0
    run(putter)
    bounded.task_done()
    assert bounded.get() == 1
    bounded.task_done()
    run(joiner)


def test_a_shutdown_is_told_to_all_processes() -> None:
    """Sleepers in get and put of other processes get ShutDown."""
    empty: Queue[int] = Queue(scope="process")
    full: Queue[int] = Queue(1, scope="process")
    full.put(1)

    def told(call: Callable[..., object], *args: object) -> None:
        with pytest.raises(ShutDown):
            call(*args)

    processes = [start(told, empty.get), start(told, full.put, 2)]
    until_asleep(empty, "getters")
    until_asleep(full, "putters")
    empty.shutdown()
    full.shutdown()
    for process in processes:
        run(process)
    assert full.get_nowait() == 1
