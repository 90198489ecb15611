"""No increment is ever lost, whoever counts, however many do, and whatever comes in between.

One property holds Counter, Shared and Array, on threads and on processes. It can fail:
the last test gives it a counter without a lock, the classic read, pause, write.

Processes are started once and are sent work; what is drawn is how many workers
count, by how much, and how often each lets others run before and within a step.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Generator, MutableSequence, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier as ProcessBarrier
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from workpool.ipc import memory
from workpool.shared import Array, Counter, Scope, Shared
from workpool.shared.in_threads import ThreadCounter

CREW = 4
DEADLINE = 60.0

Barrier = threading.Barrier | ProcessBarrier


class Counting(Protocol):
    """Something to count on."""

    def add(self, n: int, pauses: int, together: Barrier) -> None:
        """Add once; ``pauses`` and ``together`` are ways to let others run meanwhile."""
        ...

    def total(self) -> int:
        """Tell what was counted."""
        ...


class SlowCell:
    """The cell of a counter, with a pause between what is read and what is written."""

    def __init__(self, cell: MutableSequence[int]) -> None:
        self._cell = cell
        self.pauses = 0

    def __getitem__(self, index: int) -> int:
        value = self._cell[index]
        let_others_run(self.pauses)
        return value

    def __setitem__(self, index: int, value: int) -> None:
        self._cell[index] = value


class SlowThreadCounter(ThreadCounter):
    """A counter of threads that keeps its number in such a cell."""

    def __init__(self, initial: int) -> None:
        self.cell = SlowCell([0])
        super().__init__(initial)

    @property
    def _value(self) -> int:
        return self.cell[0]

    @_value.setter
    def _value(self, value: int) -> None:
        self.cell[0] = value


class OnCounter:
    """Counts by add, on a counter that is made slow where it could lose something."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        home: Any = counter._home
        if isinstance(home, ThreadCounter):
            home = counter._home = SlowThreadCounter(counter.value)
            self.cell = home.cell
        else:
            self.cell = home._cell = SlowCell(home._cell)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.counter,)

    def add(self, n: int, pauses: int, together: Barrier) -> None:
        self.cell.pauses = pauses
        self.counter.add(n)

    def total(self) -> int:
        return self.counter.value


class OnComparing(OnCounter):
    """Counts by compare_and_set, again and again until no one came in between."""

    def add(self, n: int, pauses: int, together: Barrier) -> None:
        self.cell.pauses = pauses
        seen = self.counter.value
        while not self.counter.compare_and_set(seen, seen + n):
            seen = self.counter.value


@dataclass
class OnShared:
    shared: Shared[int]

    def add(self, n: int, pauses: int, together: Barrier) -> None:
        with self.shared.lock() as box:
            seen = box.value
            let_others_run(pauses)
            box.value = seen + n

    def total(self) -> int:
        return self.shared.get()


@dataclass
class OnArray:
    array: Array

    def add(self, n: int, pauses: int, together: Barrier) -> None:
        with self.array.lock() as view:
            seen = view[0]
            let_others_run(pauses)
            view[0] = seen + n

    def total(self) -> int:
        return int(self.array[0])


@dataclass
class Unlocked:
    """Reads, pauses, writes; the pause is just as long as all others need to read as well."""

    region: memory.Region

    def add(self, n: int, pauses: int, together: Barrier) -> None:
        cell = self.region.view.cast("q")
        seen = cell[0]
        together.wait(DEADLINE)
        cell[0] = seen + n
        together.wait(DEADLINE)

    def total(self) -> int:
        return self.region.view.cast("q")[0]


def let_others_run(times: int) -> None:
    """Give the core away so many times."""
    for _ in range(times):
        os.sched_yield()


@dataclass(frozen=True)
class Plan:
    """What each worker adds, one row a worker; how many times over; and all their pauses in turn."""

    amounts: Sequence[Sequence[int]]
    pauses: Sequence[int]
    turns: int

    @property
    def total(self) -> int:
        return sum(map(sum, self.amounts)) * self.turns


def plans(turns: Sequence[int]) -> st.SearchStrategy[Plan]:
    """Draw two to four workers that all make equally many increments.

    Workers take a while to get going all at once, so many turns are many races.
    """
    amounts = st.tuples(st.integers(2, CREW), st.integers(1, 20)).flatmap(
        lambda shape: st.lists(
            st.lists(st.integers(1, 10**6), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    )
    pauses = st.lists(st.sampled_from([0, 0, 0, 1, 3]), min_size=1, max_size=5)
    return st.builds(Plan, amounts, pauses, st.sampled_from(turns))


def follow(counting: Counting, plan: Plan, worker: int, together: Barrier) -> None:
    """Do one worker's part of a plan."""
    together.wait(DEADLINE)
    for step, n in enumerate(plan.turns * list(plan.amounts[worker])):
        counting.add(n, plan.pauses[(worker + step) % len(plan.pauses)], together)


class Threads:
    """Follows plans with threads."""

    def follow(self, counting: Counting, plan: Plan) -> None:
        together = threading.Barrier(len(plan.amounts))
        threads = [
            threading.Thread(target=follow, args=(counting, plan, worker, together))
            for worker in range(len(plan.amounts))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


class Processes:
    """Follows plans with a few processes that stay."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        # Kept here: a barrier has a name, until it is unpickled, and loses it with this object.
        self._barriers = {number: context.Barrier(number) for number in range(2, CREW + 1)}
        self._pipes: list[Connection] = []
        self._processes: list[ForkServerProcess] = []
        for worker in range(CREW):
            ours, theirs = context.Pipe()
            # The region takes the arena along, as a pool's launcher does.
            args = (theirs, worker, self._barriers, memory.allocate(1))
            process = context.Process(target=serve, args=args, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def follow(self, counting: Counting, plan: Plan) -> None:
        pipes = self._pipes[: len(plan.amounts)]
        for pipe in pipes:
            pipe.send((counting, plan))
        for pipe in pipes:
            assert pipe.poll(DEADLINE)
            assert pipe.recv() == "done"

    def close(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            process.join(DEADLINE)
            process.close()


def serve(
    pipe: Connection, worker: int, barriers: dict[int, ProcessBarrier], region: memory.Region
) -> None:
    """Follow plans until the pipe is closed."""
    while True:
        try:
            counting, plan = pipe.recv()
        except EOFError:
            return
        follow(counting, plan, worker, barriers[len(plan.amounts)])
        pipe.send("done")


@pytest.fixture(scope="module", autouse=True)
def singletons() -> None:
    """Make what stays until the process ends, before the first test looks for leaks."""
    memory.allocate(1)
    forkserver.ensure_running()


@pytest.fixture(scope="module")
def processes() -> Generator[Processes]:
    """Start the processes once."""
    crew = Processes()
    yield crew
    crew.close()


@pytest.fixture(scope="module")
def threads() -> Generator[Threads]:
    """Let threads alternate far more often than they usually do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield Threads()
    sys.setswitchinterval(interval)


def no_increment_is_lost(counting: Counting, crew: Threads | Processes, plan: Plan) -> None:
    """The property: what was added is there."""
    before = counting.total()
    crew.follow(counting, plan)
    assert counting.total() - before == plan.total


# Each example is a real race, and takes what time the machine takes.
racing = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])

KINDS: dict[str, Callable[[Scope], Counting]] = {
    "add": lambda scope: OnCounter(Counter(scope=scope)),
    "compare_and_set": lambda scope: OnComparing(Counter(scope=scope)),
    "Shared": lambda scope: OnShared(Shared(0, scope=scope)),
    "Array": lambda scope: OnArray(Array(1, int, scope=scope)),
}


@pytest.mark.parametrize("scope", ["thread", "process"])
@pytest.mark.parametrize("kind", KINDS)
@racing
@given(plan=plans(turns=[1, 50]))
def test_no_increment_by_threads_is_lost(
    plan: Plan, kind: str, scope: Scope, threads: Threads
) -> None:
    """Threads that count on one value, of either scope, arrive at the sum of what they added."""
    no_increment_is_lost(KINDS[kind](scope), threads, plan)


@pytest.mark.parametrize("kind", KINDS)
@racing
@given(plan=plans(turns=[1, 50]))
def test_no_increment_by_processes_is_lost(plan: Plan, kind: str, processes: Processes) -> None:
    """Processes that count on one value arrive at the sum of what they added."""
    no_increment_is_lost(KINDS[kind]("process"), processes, plan)


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_the_property_catches_a_counter_without_a_lock(
    workers: str, threads: Threads, processes: Processes
) -> None:
    """Read, pause, write loses increments, and the property says so."""
    # Both are asked for by name: what a module keeps has to be there before the look for leaks.
    crew: Threads | Processes = threads if workers == "threads" else processes

    @settings(racing, database=None, max_examples=5, phases=[Phase.generate])
    @given(plan=plans(turns=[1]))
    def claim(plan: Plan) -> None:
        no_increment_is_lost(Unlocked(memory.allocate(8)), crew, plan)

    with pytest.raises(AssertionError, match="total"):
        claim()
