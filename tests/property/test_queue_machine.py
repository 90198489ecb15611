"""Every queue does what a plain list and two numbers do, whatever the calls and their order.

No call here waits: what would wait must say Full, Empty or JoinTimeout. The queue
between processes is held by several of its objects at once, each with a memory of
its own of where things lie, as several processes have.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]  # untyped in hypothesis
)

from tests.support.queues import KINDS, Kind, inner
from workpool.errors import JoinTimeout
from workpool.ipc.shared_queue import SharedQueue
from workpool.queues import Empty, Full, Queue, ShutDown
from workpool.queues.process import ProcessQueue, _attach

# From nothing up to more than a whole segment, so that the tail goes on in another one now and then.
SIZES = st.sampled_from([0, 1, 40, 1_000, 9_000, 30_000, 200_000])


pytestmark = pytest.mark.usefixtures("arena")


def others(queue: Queue[Any]) -> list[Queue[Any]]:
    """Reach the queue as other processes do; they share the ledger, for this is one process."""
    if not isinstance(queue, ProcessQueue):
        return []
    shared = inner(queue)
    copies = [SharedQueue(shared._region, shared.maxsize) for _ in range(2)]
    for copy in copies:
        copy._hands = shared._hands
    return [_attach(copy) for copy in copies]


class QueueMachine(RuleBasedStateMachine):
    """The queue, and the plain model: what is queued, how many are taken, whether it is shut down."""

    kind: ClassVar[Kind]

    def __init__(self) -> None:
        super().__init__()
        self.queued: list[tuple[int, bytes]] = []
        self.taken = 0
        self.count = 0
        self.maxsize = 0
        self.closed = False

    @initialize(maxsize=st.sampled_from([-1, 0, 0, 1, 3]))
    def make(self, maxsize: int) -> None:
        self.maxsize = maxsize
        queue = self.kind.make(maxsize)
        self.queues = [queue, *others(queue)]

    @property
    def full(self) -> bool:
        return 0 < self.maxsize <= len(self.queued)

    def one(self, which: int) -> Queue[Any]:
        return self.queues[which % len(self.queues)]

    WHICH = st.integers(0, 2)
    WAITS = st.sampled_from([(False, None), (True, 0), (True, 0.0), (False, 5)])

    @rule(which=WHICH, size=SIZES, waits=WAITS, urgency=st.integers(0, 3))
    def put(self, which: int, size: int, waits: tuple[bool, float | None], urgency: int) -> None:
        """Put, or be refused for the one reason there is."""
        self.count += 1
        item = (urgency, self.count.to_bytes(4, "big") + bytes(size))
        queue = self.one(which)
        if self.closed:
            with pytest.raises(ShutDown):
                queue.put(item, *waits)
        elif self.full:
            with pytest.raises(Full):
                queue.put(item, *waits)
        else:
            queue.put(item, *waits)
            self.queued.append(item)

    @rule(which=WHICH, waits=WAITS)
    def get(self, which: int, waits: tuple[bool, float | None]) -> None:
        """Get what the order says, or be refused for the one reason there is."""
        queue = self.one(which)
        if self.queued:
            assert queue.get(*waits) == self.next()
            self.taken += 1
        else:
            with pytest.raises(ShutDown if self.closed else Empty):
                queue.get(*waits)

    def next(self) -> tuple[int, bytes]:
        if self.kind.order == "priority":
            self.queued.remove(smallest := min(self.queued))
            return smallest
        return self.queued.pop(-1 if self.kind.order == "lifo" else 0)

    @rule(which=WHICH, count=st.integers(1, 4))
    def get_some(self, which: int, count: int) -> None:
        """Empty it more often than drawing single gets would."""
        for _ in range(min(count, len(self.queued))):
            assert self.one(which).get_nowait() == self.next()
            self.taken += 1

    @rule(which=WHICH)
    def task_done(self, which: int) -> None:
        """Mark one done; one too many is refused."""
        if self.taken:
            self.one(which).task_done()
            self.taken -= 1
        elif not self.queued:
            with pytest.raises(ValueError, match="task_done"):
                self.one(which).task_done()

    @rule(which=WHICH)
    def finish_all(self, which: int) -> None:
        """Mark all done that are taken."""
        for _ in range(self.taken):
            self.one(which).task_done()
        self.taken = 0

    @rule(which=WHICH)
    def join(self, which: int) -> None:
        """A join that only looks tells how many are left."""
        left = len(self.queued) + self.taken
        if not left:
            self.one(which).join(timeout=0)
            return
        with pytest.raises(JoinTimeout) as caught:
            self.one(which).join(timeout=0)
        assert caught.value.unfinished == left

    @precondition(lambda self: self.count > 5)
    @rule(which=WHICH, immediate=st.booleans())
    def shutdown(self, which: int, immediate: bool) -> None:
        """Nothing gets in from now on; with ``immediate``, nothing is left to take."""
        self.one(which).shutdown(immediate)
        self.closed = True
        if immediate:
            self.queued.clear()

    @invariant()
    def counts(self) -> None:
        """All of its objects agree with the model."""
        for queue in getattr(self, "queues", []):
            assert queue.qsize() == len(queue_model := self.queued)
            assert queue.empty() == (not queue_model)
            assert queue.full() == self.full
            assert queue.unfinished == len(queue_model) + self.taken
            assert queue.abandoned() == {}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_queue_is_a_list_and_two_numbers(kind: Kind) -> None:
    """Order, bound, unfinished count, shutdown and refusals are those of the model."""
    machine = type("Machine", (QueueMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )
