"""Processes killed with items of a queue in hand, or asleep in it.

What is promised: nobody is blocked, join says so instead of waiting for ever, and
what the dead had in hand can be told and taken over.
"""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import random
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess

import pytest

from tests.support.dying import die
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.queues import until_asleep
from workpool.errors import JoinTimeout, WorkerLost
from workpool.ipc import shared_queue
from workpool.queues import Queue

fork = multiprocessing.get_context("fork")


pytestmark = pytest.mark.usefixtures("arena")


def start(target: Callable[..., object], *args: object) -> BaseProcess:
    process = fork.Process(target=target, args=args)
    process.start()
    return process


def kill(process: BaseProcess) -> int:
    """Kill a process, see it dead, and give its number."""
    pid = process.pid or 0
    process.kill()
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    process.close()
    return pid


def hold(queue: Queue[int], count: int, gate: str) -> None:
    """Take items, and stop at the gate with them in hand."""
    for _ in range(count):
        queue.get()
    stop(gate, "holding")


def test_a_join_tells_who_died_with_what() -> None:
    """It raises instead of waiting for ever; what was taken over and done lets it pass."""
    queue: Queue[int] = Queue(scope="process")
    for number in range(5):
        queue.put(number)
    with Gate() as gate:
        holder = start(hold, queue, 2, gate.path)
        gate.arrival()
        joining = in_background(queue.join)
        until_asleep(queue, "joiners")
        pid = kill(holder)
    with pytest.raises(
        WorkerLost, match=f"2 items were taken .* died .*2 by process {pid}.*3 more are queued"
    ):
        joining.result()
    assert queue.abandoned() == {pid: 2}
    assert queue.unfinished == 5
    for item in queue.reclaim():
        queue.put(item)
        queue.task_done()
    assert queue.abandoned() == {}
    queue.shutdown()
    assert sorted(queue) == list(range(5))
    queue.join()


def test_what_is_taken_over_is_as_if_taken() -> None:
    """It is unfinished until it is marked; who leaves off in the middle leaves the rest abandoned."""
    queue: Queue[int] = Queue(scope="process")
    for number in range(3):
        queue.put(number)
    with Gate() as gate:
        holder = start(hold, queue, 3, gate.path)
        gate.arrival()
        pid = kill(holder)
    taking_over = queue.reclaim()
    assert next(taking_over) == 0
    assert queue.abandoned() == {pid: 2}
    with pytest.raises(WorkerLost):
        queue.join(timeout=0)
    assert sorted(taking_over) == [1, 2]
    with pytest.raises(JoinTimeout, match="0 queued, 3 taken"):
        queue.join(timeout=0)
    for _ in range(3):
        queue.task_done()
    queue.join(timeout=0)


def again(data: bytes) -> Queue[int]:
    """Reach a queue anew, as the next task does."""
    gc.collect()
    queue: Queue[int] = pickle.loads(data)
    return queue


def test_what_was_taken_over_is_marked_by_a_later_task() -> None:
    """A task takes it over and ends; the next, with a queue unpickled anew, marks it done."""

    def child(data: bytes) -> None:
        shared_queue._known.clear()  # what came with the fork is none of ours
        assert next(again(data).reclaim()) == 0
        again(data).task_done()

    queue: Queue[int] = Queue(scope="process")
    queue.put(0)
    with Gate() as gate:
        holder = start(hold, queue, 1, gate.path)
        gate.arrival()
        kill(holder)
    process = start(child, pickle.dumps(queue))
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    queue.join(timeout=0)


def take_over(queue: Queue[int], gate: str) -> None:
    assert next(queue.reclaim()) == 0
    stop(gate, "taken over")


def test_what_was_taken_over_is_told_of_who_took_it_over() -> None:
    """When that one dies too, its process id is named, not the first one's."""
    queue: Queue[int] = Queue(scope="process")
    queue.put(0)
    for call in (partial(hold, queue, 1), partial(take_over, queue)):
        with Gate() as gate:
            holder = start(call, gate.path)
            gate.arrival()
            assert queue.abandoned() == {}
            pid = kill(holder)
        assert queue.abandoned() == {pid: 1}


def test_sleepers_are_killed() -> None:
    """Who sleeps in get or put and is killed takes nothing from those who sleep beside it."""
    queue: Queue[int] = Queue(scope="process")
    full: Queue[int] = Queue(1, scope="process")
    full.put(0)
    doomed = [start(queue.get), start(full.put, 1)]
    until_asleep(queue, "getters")
    until_asleep(full, "putters")
    getting, putting = in_background(queue.get), in_background(full.put, 2)
    for process in doomed:
        kill(process)
    queue.put(1)
    assert getting.result() == 1
    assert full.get() == 0
    putting.result()
    assert full.get() == 2
    assert queue.unfinished == 1
    assert full.unfinished == 2


def work(queue: Queue[int], out: Queue[int], seed: int) -> None:
    """Pass items on; die in the middle of one now and then."""
    dice = random.Random(seed)
    for item in queue:
        if dice.random() < 0.05:
            die()
        out.put(item)


def test_no_item_is_lost_whoever_dies() -> None:
    """Consumers are killed and replaced; each item is done, once, or again after it was taken over."""
    queue: Queue[int] = Queue(20, scope="process")
    out: Queue[int] = Queue(scope="process")
    seeds = iter(range(1000))
    crew = [start(work, queue, out, next(seeds)) for _ in range(3)]
    putting = in_background(lambda: [queue.put(n) for n in range(200)])
    deaths_seen = 0
    while True:
        for place, process in enumerate(crew):
            if process.exitcode is not None:
                assert process.exitcode == -signal.SIGKILL
                process.close()
                deaths_seen += 1
                crew[place] = start(work, queue, out, next(seeds))
        for item in queue.reclaim():
            out.put(item)
            queue.task_done()
        try:
            queue.join(timeout=0.05)
        except (JoinTimeout, WorkerLost):
            continue
        if putting.ended:
            break
    putting.result()
    queue.join(timeout=0)
    queue.shutdown()
    for process in crew:
        process.join(DEADLINE)
        process.close()
    out.shutdown()
    assert sorted(out) == list(range(200))
    assert deaths_seen
