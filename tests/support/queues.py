"""The kinds of queues that tests run on, and a look at who waits in them."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from unittest.mock import patch

from tests.support.gates import DEADLINE
from workpool.ipc import shared_queue
from workpool.ipc.shared_queue import SharedQueue
from workpool.queues import LifoQueue, PriorityQueue, Queue, thread
from workpool.queues.process import ProcessQueue

__all__ = [
    "KINDS",
    "Kind",
    "drained",
    "empty_hands",
    "guarded",
    "in_hand",
    "inner",
    "no_memory",
    "until",
    "until_asleep",
]


@dataclass(frozen=True)
class Kind:
    """A kind of queue: how it is made, and which item comes next."""

    name: str
    make: Callable[[int], Queue[Any]]
    order: Literal["fifo", "lifo", "priority"] = "fifo"
    scope: Literal["thread", "process"] = "thread"


def guarded(maxsize: int) -> Queue[Any]:
    """Make a queue as a Python without the GIL would."""
    with patch.object(thread, "FREE", new=False):
        return Queue(maxsize)


KINDS = [
    Kind("thread", Queue),
    Kind("guarded", guarded),
    Kind("lifo", LifoQueue, order="lifo"),
    Kind("priority", PriorityQueue, order="priority"),
    Kind("process", lambda maxsize: Queue(maxsize, scope="process"), scope="process"),
]


def inner(queue: Queue[Any]) -> SharedQueue:
    """Give what lies behind a queue between processes."""
    assert isinstance(queue, ProcessQueue)
    return queue._shared


def drained(queue: Queue[Any]) -> list[Any]:
    """Take all that is queued, and mark it done."""
    items: list[Any] = []
    while queue.qsize():
        items.append(queue.get(timeout=DEADLINE))
        queue.task_done()
    return items


def empty_hands(queue: Queue[Any]) -> None:
    """Let a queue between processes go of its memory, for good; no other process may have it now."""
    shared = inner(queue)
    shared_queue._known.pop(shared_queue._key(shared._region))
    shared._region.give_back()
    shared.__dict__.clear()


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that tells nobody when it is."""
    pause = threading.Event()
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{condition!r} did not come true within {DEADLINE} s"
        pause.wait(0.001)


def until_asleep(queue: Queue[Any], who: Literal["getters", "putters", "joiners"]) -> None:
    """Wait until someone is about to sleep in a call of the queue."""
    if isinstance(queue, ProcessQueue):
        bell = getattr(inner(queue), f"_{who}")
        until(lambda: bool(bell.awaited[0]))
    else:
        sleepers = getattr(queue, f"_{who}")
        until(lambda: bool(sleepers))


def in_hand(queue: Queue[Any]) -> int:
    """Count what this process knows to have taken."""
    hands = inner(queue)._hands
    return sum(len(held) for held in hands._ledger.values()) + len(hands.opening)


def no_memory(*_: object) -> NoReturn:
    """Do what the system does that has no memory left."""
    raise OSError(errno.ENOMEM, "Cannot allocate memory")
