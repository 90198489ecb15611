"""A queue between processes that no death can block, and that knows who has what.

Payloads lie in shared memory as `Segments` of records, under one `RobustLock`.
Who must wait sleeps on the word of a `Bell`. Which records this process has
taken and not marked done is also noted here (`Hands`), so that `done` needs no
lock: it stamps the thread's oldest, or else another thread's.

Guarantees
    *A kill leaves each call before or after*, never between: see `Segments` for
    the steps. The kernel frees the lock, and what it guards is sound as it is.

    *No one sleeps on because of a dead one*: who was to wake others and died
    first delays them by `LOOK` seconds; then each looks for itself. So does
    whoever could not ring, and a call that has done its work never fails for that.

    *A call that fails has taken nothing*: a `get` that finds no memory, or that
    an exception strikes, leaves the item in the queue. If another has taken the
    next one meanwhile, it is abandoned, as what a dead process had.

    *What a dead process had taken can be told*, and taken over. Others touch no
    record but of the dead, so a living taker may stamp whenever it likes. An
    interpreter is a process here: it has a number of its own, and what it had is
    a dead one's when it has ended (see `lives`).

    *No one waits for the dead*: `join` returns what they left.
"""

from __future__ import annotations

import os
from queue import Empty, Full
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakValueDictionary

from workpool._compat import RLock, ShutDown
from workpool.ipc import lives
from workpool.ipc.bell import BELL_SIZE, Bell, told
from workpool.ipc.hands import Hands
from workpool.ipc.joiners import Joiners
from workpool.ipc.memory import SPARE_LIMIT, allocate
from workpool.ipc.remains import first_dead, remains_of
from workpool.ipc.robust_lock import LOCK_SIZE, RobustLock, locked
from workpool.ipc.segments import BASE_SIZE, DISCARDED, RESERVE, Segments
from workpool.ipc.taken import OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workpool.ipc.memory import Region
    from workpool.ipc.remains import Remains
    from workpool.ipc.taken import Since

__all__ = ["SharedQueue"]

R = TypeVar("R")

# Where in the region: the locks of head and tail, the segments, and the bells of three kinds of waiters.
_HEAD, _TAIL, _SEGMENTS = 0, LOCK_SIZE, 2 * LOCK_SIZE
_GET, _PUT, _JOIN = (_SEGMENTS + BASE_SIZE + BELL_SIZE * i for i in range(3))
_SIZE: Final = _JOIN + BELL_SIZE

# Whether a core sees the writes of another in their order, so that taker and putter can do without
# a lock that both take (see `Segments`).
_ORDERED: Final = hasattr(os, "uname") and os.uname().machine in {"x86_64", "i686", "s390x"}

_known: WeakValueDictionary[tuple[str, int, int], SharedQueue] = WeakValueDictionary()
_lock = RLock()  # guards _known
_pid = os.getpid()


class SharedQueue:
    """The queue, of payloads; one object for each queue in each process.

    Made with `create`; reached by unpickling it in the others.

    Attributes
    ----------
    maxsize : int
        Most records in the queue; 0 or less: no bound.
    """

    def __init__(self, region: Region, maxsize: int, *, fresh: bool = False) -> None:
        self.maxsize = maxsize
        self._region = region
        self._segments = Segments(region, _SEGMENTS, fresh=fresh)
        self._hands = Hands({})
        self._number = 0  # this process's, once it has taken something
        make = RobustLock.create if fresh else RobustLock
        self._head = make(region, _HEAD)
        self._tail = make(region, _TAIL) if _ORDERED else self._head
        self._getters, self._putters = Bell(region, _GET), Bell(region, _PUT)
        self._joiners = Joiners(region, _JOIN, self._head, self._segments)
        self._awaited_by_getters = self._getters.awaited
        self._awaited_by_putters = self._putters.awaited
        self._awaited_by_joiners = self._joiners.awaited

    @classmethod
    def create(cls, maxsize: int) -> SharedQueue:
        """Make a queue, in memory that other processes can reach."""
        region = allocate(_SIZE, spare=min(RESERVE, SPARE_LIMIT))
        return _intern(region, lambda: cls(region, maxsize, fresh=True))

    @classmethod
    def attach(cls, region: Region, maxsize: int) -> SharedQueue:
        """Reach a queue that another process made."""

        def make() -> SharedQueue:
            queue = cls(region, maxsize)
            # A task may take an item and end; the next, with a queue unpickled anew, marks it done.
            locked(queue._head, queue._recall)
            return queue

        return _intern(region, make)

    def __reduce__(self) -> tuple[object, ...]:
        return SharedQueue.attach, (self._region, self.maxsize)

    # ---------------------------------------------------------------- put and get

    def put(self, payload: bytes, block: bool, timeout: float | None) -> None:
        """Put a payload; raises Full, ShutDown, or OSError when there is no memory."""
        segments, lock = self._segments, self._tail
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            seen = -1
            code = 0
            try:
                code = lock.take()
                if code:
                    code = lock.settle(code)
                if self.maxsize > 0 and segments.queued() >= self.maxsize:
                    seen = self._no_room(block, deadline)
                elif not segments.append(payload):
                    self._append_further(payload)
            except BaseException:
                # If the lock is not ours, or not yet, nothing happens. See RobustLock.
                lock.undo(code)
                raise
            if code:
                lock.undo(code)
            else:
                lock.give()
            # Only now, as for all bells: to release a lock makes sure that others see what we did
            # before we look whether they sleep.
            if seen < 0:
                if self._awaited_by_getters[0]:
                    told(self._head, self._getters.ring)
                return
            if segments.queued() >= self.maxsize:
                self._putters.wait(seen, deadline)

    def get(self, block: bool, timeout: float | None) -> tuple[memoryview[int], Iterator[object]]:
        """Take the next record in this process's name; raises Empty, ShutDown, or OSError when there is no memory.

        Whoever has unpickled it takes a step of the iterator that comes with it; else `put_back` or `drop` is due.
        """
        segments, lock = self._segments, self._head
        number = self._number or self._enrol()
        opening, keeping = self._hands.both
        deadline = None if timeout is None else monotonic() + timeout
        payload = None
        try:
            while True:
                seen = -1
                code = 0
                try:
                    code = lock.take()
                    if code:
                        code = lock.settle(code)
                    payload = segments.take(number, _pid, opening)
                    if payload is None:
                        seen = self._nothing(block, deadline)
                except BaseException:
                    lock.undo(code)
                    raise
                if code:
                    lock.undo(code)
                else:
                    lock.give()
                if payload is not None:
                    if self.maxsize > 0 and self._awaited_by_putters[0]:
                        told(self._tail, self._putters.ring)
                    return payload, keeping
                if segments.empty():
                    self._getters.wait(seen, deadline)
        except BaseException:
            if payload is not None:
                self.put_back()
            raise

    def put_back(self, *, abandoned: bool = False) -> None:
        """Give up the record that this thread took last: its `get`, or taking over, is about to fail.

        Where what is queued was thrown away meanwhile, it goes the same way, unless it was `abandoned`
        before and is so again.
        """
        opening = self._hands.opening

        def act() -> None:
            if self._segments.closed != DISCARDED:
                self._segments.put_back(opening)
            elif opening and abandoned:
                self._segments.abandon(opening)
            elif opening:
                self._hands.drop()

        locked(self._head, act)
        if self._awaited_by_getters[0]:
            told(self._head, self._getters.ring)
        if self._awaited_by_joiners[0] and self._segments.empty():
            self._joiners.look()

    def _append_further(self, payload: bytes) -> None:
        """Append where it takes a look at the chain."""
        while True:
            self._with_head(lambda: self._segments.prepare(len(payload)))
            if self._segments.append(payload):
                return

    def _no_room(self, block: bool, deadline: float | None) -> int:
        """Tell what to wait for, with the tail lock held; or that there is no waiting."""
        if self._segments.closed:
            raise ShutDown
        if not block or (deadline is not None and deadline <= monotonic()):
            raise Full
        return self._putters.enlist()

    def _nothing(self, block: bool, deadline: float | None) -> int:
        """Tell what to wait for, with the head lock held; or that there is no waiting."""
        if self._segments.closed:
            # Looked at again, now that nothing can be put any more.
            if not self._segments.empty():
                return -1
            raise ShutDown
        if not block or (deadline is not None and deadline <= monotonic()):
            raise Empty
        return self._getters.enlist()

    def _enrol(self) -> int:
        self._number = lives.our_number(self._region.arena)
        return self._number

    def close(self, *, discard: bool) -> None:
        """Let nothing be put any more; on request mark done what is queued."""

        def act() -> None:
            # A kill between the two: closed, and what is queued may still be taken.
            self._segments.close()
            if discard:
                self._segments.discard()
            for bell in (self._getters, self._putters, self._joiners):
                bell.ring_all()

        locked(self._tail, lambda: self._with_head(act))

    def _with_head(self, act: Callable[[], R]) -> R:
        """Call with the head lock held too; the tail lock is."""
        return act() if self._head is self._tail else locked(self._head, act)

    # ---------------------------------------------------------------- the ledger

    def done(self) -> None:
        """Mark done the oldest record that this thread has, or else this process.

        Raises
        ------
        LookupError
            There is none.
        """
        try:
            next(self._hands.marking)
        except IndexError:
            self._hands.mark_anyones()
        if self._awaited_by_joiners[0] and self._segments.empty():
            self._joiners.look()

    @property
    def keeping(self) -> Iterator[object]:
        """What comes with a record; for one that was taken over."""
        return self._hands.keeping

    def drop(self) -> None:
        """Mark done the record that this thread took last: its `get` is about to fail."""
        self._hands.drop()
        if self._awaited_by_joiners[0] and self._segments.empty():
            self._joiners.look()

    def queued(self) -> int:
        """Count the records that were not taken, at a look without a lock."""
        count = self._segments.queued()
        # Less than none, which is huge: this core has seen a taker's write, and not yet the putter's.
        return 0 if count >> 32 else count

    @property
    def closed(self) -> bool:
        """Whether nothing may be put any more."""
        return self._segments.closed != 0

    def remains(self) -> Remains:
        """Count what is not done."""
        return locked(self._head, self._look)

    def join(self, timeout: float | None) -> Remains:
        """Wait until all is done, or the time is up, or a dead process has some of it."""
        deadline = None if timeout is None else monotonic() + timeout

        def is_over(remains: Remains) -> bool:
            late = deadline is not None and deadline <= monotonic()
            return late or bool(remains.abandoned) or not remains.queued + remains.taken

        remains = locked(self._head, self._look)
        while not is_over(remains):
            seen = locked(self._head, self._joiners.enlist)
            # Only now: who marks the last one done takes no lock, and looks for us afterwards.
            remains = locked(self._head, self._look)
            if not is_over(remains):
                self._joiners.wait(seen, deadline)
        return remains

    def take_over(self, since: Since = OLDEST) -> tuple[memoryview[int], Since] | None:
        """Take one record that a dead process has, in our name; None when there is no more.

        Tells where the next one is to be looked for first, so that all of them are gone through once.
        """
        number = self._number or self._enrol()
        opening = self._hands.opening
        found: tuple[memoryview[int], Since] | None = None

        def act() -> None:
            nonlocal found
            dead = first_dead(self._segments, self._region.arena, since)
            if dead is not None:
                record, behind = dead
                self._segments.hand_over(record, number, _pid, opening)
                found = record[0], behind

        try:
            locked(self._head, act)
        except BaseException:
            if found is not None:
                self.put_back(abandoned=True)
            raise
        return found

    def _recall(self) -> None:
        """Find what this process has in hand, by its number; the head lock is held."""
        ours = (self._number or self._enrol(), _pid)
        segments = self._segments
        mine = [record for record in segments.taken() if segments.taker(record) == ours]
        self._hands.recall((places, place, 0) for _, places, place in mine)

    def _look(self) -> Remains:
        """Count what is not done; the lock is held."""
        return remains_of(self._segments, self._region.arena)


def _key(region: Region) -> tuple[str, int, int]:
    return region.arena.token, region.offset, region.uid


def _intern(region: Region, make: Callable[[], SharedQueue]) -> SharedQueue:
    """Return this process's one object for a queue: they share the ledger."""
    with _lock:
        queue = _known.get(_key(region))
        if queue is None:
            queue = make()
            # A signal's handler, or a finalizer, may have reached it in the middle of that.
            queue = _known.setdefault(_key(region), queue)
        return queue


def _after_fork_in_child() -> None:
    """Have nothing in hand: what the parent took is the parent's."""
    global _lock, _pid  # noqa: PLW0603 - another process, so another value
    _lock = RLock()
    _pid = os.getpid()
    for queue in list(_known.values()):
        queue._number = 0
        queue._hands.empty()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
