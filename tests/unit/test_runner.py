"""What a worker process does with calls that are recalled: each is begun there, or handed back."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import pytest

from tests.support.gates import DEADLINE, in_background
from tests.support.queues import until
from workpool.ipc import pickling
from workpool.ipc.batch import Batch
from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.onecall import CALL, PLAIN_ITEM
from workpool.ipc.outbox import Outbox
from workpool.ipc.runner import Runner

# What is done in the middle of a call, by the number it is given; and the numbers that ran.
done_at: dict[int, Callable[[], object]] = {}
ran: list[int] = []


def note(n: int) -> int:
    ran.append(n)
    if n in done_at:
        done_at[n]()
    return n


@pytest.fixture
def journal() -> Iterator[Journal]:
    """Give a journal, which stands for that of either side."""
    fd = make_journal()
    made = Journal(fd)
    os.close(fd)
    yield made
    made.close()


@pytest.fixture
def runner(journal: Journal) -> Iterator[Runner]:
    """Give a runner whose outcomes go into a pipe with room for all of them."""
    done_at.clear()
    ran.clear()
    r, w = os.pipe()
    yield Runner(threading.Lock(), journal, Outbox(w, journal), None)
    os.close(r)
    os.close(w)


def batch(first: int, size: int) -> Batch:
    """Make a batch of small numbers."""
    fn = pickling.dumps(bool)
    return Batch(first, first, "bool", 1, fn, range(size), PLAIN_ITEM)


def test_a_recall_takes_what_has_not_begun(runner: Runner) -> None:
    """Everything up to the number goes back, and the latest call that has begun is told."""
    runner.todo.extend([batch(0, 5), batch(5, 5)])
    assert runner.take_back(9) == -1
    assert not runner.todo


def test_a_recall_leaves_what_was_sent_after_it(runner: Runner) -> None:
    """A batch with higher numbers, there already when the recall is heard, runs."""
    later = batch(10, 5)
    runner.todo.extend([batch(0, 10), (15, "call"), later])
    runner.take_back(9)
    assert list(runner.todo) == [(15, "call"), later]
    assert later.size == 5


def test_a_recalled_batch_counts_as_begun_as_far_as_it_ran(runner: Runner) -> None:
    """A batch behind one that runs says nothing about how far that one got."""
    running, behind = batch(0, 10), batch(10, 10)
    for _ in range(4):
        running.items.popleft()
    runner.todo.extend([running, behind])
    assert runner.take_back(19) == 3
    assert runner.take_back(19) == 3  # and is not forgotten by the next recall


def test_what_arrives_after_its_recall_does_not_begin(runner: Runner) -> None:
    """A recall may overtake a batch that is still in the pipe."""
    runner.take_back(9)
    late = batch(0, 10)
    runner.todo.append(late)
    runner.run_all()
    assert runner.begun == -1
    assert late.size == 0


@pytest.mark.parametrize("size", [2, 50], ids=["one by one", "in slices"])
def test_a_function_that_came_in_pieces_runs(runner: Runner, size: int) -> None:
    """A large function, for which there was no room beside the pipe, is a list of pieces; its batch runs like any."""
    items = batch(0, size)
    items.fn = [memoryview(pickling.dumps(bool))]
    runner.todo.append(items)
    runner.run_all()
    assert runner.begun == size - 1


def call(number: int) -> tuple[int, object]:
    """Make a task that notes its number."""
    data = pickling.dumps(((number,), {}))
    return number, (number, "note", 1, pickling.dumps(note), data, CALL)


def noting(first: int, size: int) -> Batch:
    """Make a batch of items that note their numbers: in slices, but for the first three."""
    items = range(first, first + size)
    return Batch(first, first, "note", 1, pickling.dumps(note), items, PLAIN_ITEM)


def taken(journal: Journal, first: int, upto: int) -> None:
    journal.stop()
    assert journal.standing() is not None
    journal.take(first, upto)


def test_tasks_that_were_taken_do_not_run(runner: Runner, journal: Journal) -> None:
    """Without a word from the control thread; what is sent later does."""
    done_at[1] = lambda: taken(journal, 2, 4)
    runner.todo.extend(map(call, range(5)))
    runner.run_all()
    assert ran == [0, 1]
    assert runner.running == -1
    journal.open_gates()
    runner.todo.extend([call(5), noting(6, 50)])
    runner.run_all()
    assert ran == [0, 1, *range(5, 56)]


@pytest.mark.parametrize("at", [1, 20], ids=["one by one", "in a slice"])
def test_items_that_were_taken_do_not_run(runner: Runner, journal: Journal, at: int) -> None:
    """A slice ends behind the item that runs, and the next does not begin."""
    done_at[at] = lambda: taken(journal, at + 1, 149)
    runner.todo.extend([noting(0, 100), noting(100, 50)])
    runner.run_all()
    assert ran == list(range(at + 1))
    assert not runner.todo
    assert journal.begun()[0] <= at + 1  # it was noted, to be looked up


def test_an_item_that_was_not_taken_but_did_not_begin_is_told_by_the_next_recall(
    runner: Runner, journal: Journal
) -> None:
    """A slice may end at a gate before the call that the parent takes for begun."""
    done_at[20] = journal.stop
    runner.todo.append(noting(0, 100))
    running = in_background(runner.run_all)
    until(lambda: journal.begun()[0] == 21)  # the next slice, which stands still
    left = journal.standing()
    assert left is not None
    assert left[0] == 21
    journal.take(22, 99)
    running.result()
    assert ran == list(range(21))
    assert runner.take_back(99) == 20


def test_a_worker_that_was_stopped_goes_on(runner: Runner, journal: Journal) -> None:
    """Where nothing was taken, all of it runs, in order."""
    done_at[20] = journal.stop
    runner.todo.extend([noting(0, 100), call(100)])
    running = in_background(runner.run_all)
    until(lambda: journal.begun()[0] == 21)
    journal.go_on()
    running.result()
    assert ran == list(range(101))


def test_what_was_held_and_let_go_is_still_taken(runner: Runner, journal: Journal) -> None:
    """Holding a worker to end it for one call does not give back what was taken from it."""

    def take_and_hold() -> None:
        taken(journal, 2, 4)
        assert not journal.hold(0)

    done_at[1] = take_and_hold
    runner.todo.extend(map(call, range(5)))
    runner.run_all()
    assert ran == [0, 1]
    journal.forget_taken()
    assert not journal.still


def test_what_was_stopped_stays_so_when_it_cannot_be_held(journal: Journal) -> None:
    """A time limit that runs out too late, meanwhile, does not let it go on."""
    journal.begin(3, 1)
    journal.stop()
    assert not journal.hold(2)
    assert journal.still
    journal.forget_taken()
    assert journal.still
    journal.go_on()
    assert not journal.still


def test_what_was_taken_before_stays_taken(journal: Journal) -> None:
    """A worker that was stopped between noting a call and looking may not have looked at the next time."""
    journal.begin(1, 1)
    taken(journal, 2, 4)
    journal.begin(2, 2)  # and before it looks:
    taken(journal, 3, 9)
    assert journal.taken() == (2, 9)
    journal.begin(10, 3)
    taken(journal, 11, 12)
    assert journal.taken() == (11, 12)


def test_a_journal_that_is_emptied_late_does_not_forget_what_has_begun(journal: Journal) -> None:
    """Nor does a slice that was answered before take the place of what began after it."""
    journal.begin_slice(0, 10, 1, int)
    journal.end_slice_at(1)  # its first call failed, and was answered at once
    journal.begin(7, 2)
    journal.empty()
    assert journal.begun()[0] == 7


def slow_to_come() -> Any:
    """Stand for the import of a function's module."""
    threading.Event().wait(0.2)
    return note


class SlowToCome:
    """A function that takes long to be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return slow_to_come, ()


def test_the_import_of_a_function_is_no_part_of_its_calls(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all that comes next would be taken for slow, and be waited for."""
    data = pickling.dumps(((1,), {}))
    runner.todo.append((0, (0, "note", 1, pickling.dumps(SlowToCome()), data, CALL)))
    told: list[Any] = []
    monkeypatch.setattr(Outbox, "add", lambda _, *outcome, more: told.append((*outcome, more)))
    runner.run_all()
    *_, began, ended, _more = told[0]
    assert ended - began < 0.1 * 1e9


class _Asked:
    """A lock that says when the runner's thread wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self.wanted = threading.Event()

    def acquire(self, blocking: bool = True) -> bool:
        if threading.get_ident() == self._thread:
            self.wanted.set()
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Halfway(deque[int]):
    """Items of which the last one has been taken back while the batch's size counts it still."""

    def __init__(self, items: Iterable[int], said: threading.Event) -> None:
        super().__init__(items)
        self.halfway = threading.Event()
        self._said = said

    def pop(self) -> int:  # type: ignore[override]  # the only way it is used
        item = super().pop()
        self.halfway.set()
        assert self._said.wait(DEADLINE)
        return item


def test_an_item_of_a_slice_knows_its_place_while_others_are_taken_back(runner: Runner) -> None:
    """Whatever the step at which the control thread is."""
    lock = _Asked()
    runner._lock, runner._tries = lock, map(lock.acquire, repeat(False))
    running = noting(100, 50)
    running.items = items = _Halfway(running.items, lock.wanted)
    places: list[int] = []

    def take_back() -> None:
        with lock:
            runner.take_back(149)

    def look() -> None:
        lock.wanted.clear()
        taking = in_background(take_back)
        assert items.halfway.wait(DEADLINE)
        places.append(runner.position())
        lock.wanted.set()
        taking.result()
        with lock:
            places.append(runner.number())

    done_at[120] = look
    runner.todo.append(running)
    runner.run_all()
    assert places == [120, 120]
    assert ran == list(range(100, 121))
