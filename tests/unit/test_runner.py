"""What a worker process does with calls that are recalled: each is begun there, or handed back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from workpool.ipc import pickling
from workpool.ipc.batch import Batch
from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.outbox import Outbox
from workpool.ipc.runner import PLAIN_ITEM, Runner


@pytest.fixture
def runner() -> Iterator[Runner]:
    """Give a runner whose outcomes go into a pipe with room for all of them."""
    fd = make_journal()
    journal = Journal(fd)
    os.close(fd)
    r, w = os.pipe()
    yield Runner(threading.Lock(), journal, Outbox(w, journal), None)
    os.close(r)
    os.close(w)
    journal.close()


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
