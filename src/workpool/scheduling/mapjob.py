"""One call of map: the items still to run, drawn as chunks, and what came out.

A map call is a single entry of the queue, however many items it has. Workers
draw chunks from it, sized at that moment. What comes out is a *piece*: results
of neighbouring items, of any length, so a chunk may come back in parts (some
done, the rest taken back or lost) without anybody counting parts.

Everything here is guarded by the scheduler's lock, except the pulling of the
input, which runs the user's iterator in the thread of whoever consumes (or
joins); ``puller`` lets one thread at a time do that.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.calm import calmly
from workpool.scheduling.accepted import Accepted
from workpool.scheduling.chunk import Chunk, Piece
from workpool.scheduling.pace import TARGET, together
from workpool.scheduling.pulling import SLOW, Pulling
from workpool.situation import here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workpool.scheduling.guests import Host
    from workpool.scheduling.ledger import Epoch
    from workpool.scheduling.pulling import Puller
    from workpool.scheduling.terms import Terms

__all__ = ["Chunk", "MapJob", "Piece"]

WIDEST_WINDOW = 16_384  # items pulled ahead of the consumer at most, unless buffersize says so


class MapJob(Pulling):
    """What is left of a map call and what came out of it so far."""

    host: Host

    def __init__(
        self,
        host: Host,
        fn: Callable[..., Any],
        *,
        star: bool,
        terms: Terms,
        chunksize: int | None,
        window: int | None,
        ordered: bool,
        epoch: Epoch,
    ) -> None:
        super().__init__(host, window=window, ordered=ordered, epoch=epoch)
        self.fn = fn
        self.star = star  # items are tuples of arguments
        self.terms = terms
        self.chunksize = chunksize
        self.failed = 0
        self.blob: Any = None  # what a backend keeps about the function, such as its pickle
        # Not drawn: a deque, or a range or list with _next as its cursor.
        self._items: Any = deque()
        self._next = 0  # items drawn
        self._gaps: deque[tuple[int, int]] = deque()  # of items restored: where, and how many
        self._queued = False
        self.accepted = Accepted()
        self._ready: dict[int, Piece] = {}  # by start, when ordered
        self._completed: deque[Piece] = deque()  # when not

    # ------------------------------------------------------------------- input

    def begin(self, source: Iterator[Any] | None, items: Sequence[Any] | None) -> None:
        """Accept the input: one that is to be pulled, or a sized one."""
        with self.host.lock:
            self.epoch = self.host.ledger.current
            if source is not None:
                self.give_source(source)
            else:
                self.give_all(items or ())

    def give_all(self, items: Sequence[Any]) -> None:
        """Accept a sized input whole; lock held."""
        self.host.admit(self, len(items))
        self._items = items
        self.pulled = len(items)
        self.accepted.upto(self.pulled)
        if items:
            self._queued = True
            self.host.enqueue_job(self)
        elif self.meter is not None:
            self.meter.end()

    def give_source(self, source: Iterator[Any]) -> None:
        """Accept an input to be pulled as it is needed; lock held."""
        self.host.admit(self, 0)
        self._source = source
        self.epoch.open_jobs.append(self)

    def widen(self, window: int) -> None:
        """Let so many items be pulled ahead, before the first is."""
        self._window = max(1, window)

    @property
    def undrawn(self) -> int:
        """Items accepted and not drawn; lock held."""
        items = self._items
        return len(items) if items.__class__ is deque else len(items) - self._next

    @property
    def queued_at(self) -> float:
        """When the next item was accepted, 0.0 if there is none; lock held."""
        return self.accepted.drawn(self._next)

    def window(self) -> int:
        """How many items may be pulled ahead of the consumer."""
        if self._window is not None:
            return self._window
        seconds = self.host.pace.of(self.fn)
        workers = self.host.max_workers
        if seconds is None:
            return 4 * workers
        wide = (
            int(8 * workers * TARGET / seconds)
            if seconds * WIDEST_WINDOW > TARGET
            else WIDEST_WINDOW
        )
        return max(4 * workers, min(wide, WIDEST_WINDOW))

    def pull(self, until: float | None = None, *, by: Puller = "consumer") -> None:
        """Pull input up to the window, or as far as need be (see `Pulling`)."""
        if self.exhausted:
            return
        me, before = object(), here.pulls_for
        try:
            if not self.begin_pulling(me):
                return
            batch, slow = 1, False
            while (source := self._source) is not None:
                room = self.window() - self.ahead(by)
                began = monotonic()
                if room <= 0 or self.is_enough(by, began, until, slow=slow):
                    return
                wanted = min(batch, room)
                items: list[Any] = []
                try:
                    items.extend(islice(source, wanted))
                except BaseException as error:
                    self._break_off(items, error)
                    raise
                kept: dict[int, Any] | None = None
                if self.scribe is not None:
                    kept = self.restore(items, last=len(items) < wanted)
                # Few at a time from a slow input, so that its first items start at once.
                slow = monotonic() - began >= SLOW
                batch = 1 if slow else batch * 2
                if not calmly(self._take_in, items, wanted, kept):
                    return
                if items:
                    self.host.hire()
        except BaseException:
            self.host.unattended()  # on the way to hire, it may be
            raise
        finally:
            here.pulls_for = before
            if self.puller is me:
                self.puller = None
            self.end_pulling()

    def _break_off(self, items: list[Any], error: BaseException) -> None:
        """Have the items run that came before an error of the input, and the consumer told of it behind them."""
        kept = self.restore(items, last=False) if self.scribe is not None else None
        calmly(self._take_in, items, len(items), kept, error)
        if items:
            self.host.hire()

    def _take_in(
        self,
        items: list[Any],
        wanted: int,
        kept: dict[int, Any] | None,
        error: BaseException | None = None,
    ) -> bool:
        """Count and queue what was pulled; False if nobody wants it any more."""
        with self.host.lock:
            if self.closed or self._source is None:  # cut off meanwhile
                return False
            if items:
                self._accept(items, kept)
            if error is not None:
                self.fail_input(error)
            elif len(items) < wanted:
                self.end_of_source()
        return True

    def _accept(self, items: list[Any], kept: dict[int, Any] | None) -> None:
        """Queue what was pulled; lock held."""
        self.host.admit(self, len(items))
        self.pulled += len(items)
        self.accepted.upto(self.pulled)
        if kept:
            self._part(items, kept)
        else:
            self._items.extend(items)
        if self._items and not self._queued:
            self._queued = True
            self.host.enqueue_job(self)

    def _part(self, items: list[Any], kept: dict[int, Any]) -> None:
        """Settle what is kept of items just pulled, and leave what is to run; lock held."""
        start = self.pulled - len(items)
        run: list[Any] = []  # results of neighbours
        for position, item in enumerate(items, start):
            if position in kept:
                run.append(kept[position])
            else:
                self._items.append(item)
            if run and (position not in kept or position == self.pulled - 1):
                first = position - len(run) + (position in kept)
                self._gaps.append((first, len(run)))
                self.settle(Piece(first, run, None), restored=len(run))
                run = []

    def draw(self, workers: int, *, most: int = 0) -> tuple[Chunk | None, bool]:
        """Cut the next chunk, or ``most`` items; lock held. The second value tells whether there is more."""
        items = self._items
        lazy = items.__class__ is deque
        left = self.undrawn
        if self.closed or not left:
            self._queued = False
            self.host.litter.append(self)
            return None, False
        size = most or self.chunksize or together(self.host.pace.of(self.fn), left, workers)
        if self._gaps:
            size = min(size, self._to_next_gap())
        start = self._next
        if size >= left:
            size = left
            self._queued = False
        if lazy:
            chunk = Chunk(self, start, [items.popleft() for _ in range(size)])
        else:
            chunk = Chunk(self, start, items[start : start + size])
        chunk.queued_at = self.accepted.drawn(start)
        self._next = start + size
        if not lazy and size == left:
            self._items = deque()  # let go of the input
            self.host.litter.append(items)
        return chunk, size < left

    def _to_next_gap(self) -> int:
        """Step over what was restored; give how many items to run are next to each other there."""
        gaps = self._gaps
        while gaps and gaps[0][0] == self._next:
            self._next += gaps.popleft()[1]
        return gaps[0][0] - self._next if gaps else self.pulled - self._next

    # ------------------------------------------------------------------ output

    def deliver(self, piece: Piece) -> None:
        """Take in results; lock held. With a journal they are settled when they are kept."""
        if self.scribe is not None:
            self.scribe.take(self, piece)
        else:
            self.settle(piece)

    def settle(self, piece: Piece, restored: int = 0) -> None:
        """Count items done and wake the consumer; lock held."""
        count = len(piece.values)
        self.settled += count
        if piece.errors is not None:
            self.failed += len(piece.errors)
        if not self.closed:
            if self.ordered:
                self._ready[piece.start] = piece
                if piece.start == self.consumed or self.settled == self.pulled:
                    self.tell()
            else:
                self._completed.append(piece)
                self.tell()
        self.tell_watchers()
        if self.meter is not None:
            failed = 0 if piece.errors is None else len(piece.errors)
            self.meter.count(count - failed, failed, restored)
            if self._source is None and self.settled == self.pulled:
                self.meter.end()
        self.host.dismiss(self.epoch, count)

    @property
    def has_next(self) -> bool:
        """Whether there is something to fetch; lock held, or a hint without."""
        return self.consumed in self._ready if self.ordered else bool(self._completed)

    def fetch(self) -> Piece | None:
        """Take the next piece, if it is there; lock held."""
        if self.ordered:
            piece = self._ready.pop(self.consumed, None)
        else:
            piece = self._completed.popleft() if self._completed else None
        if piece is not None:
            self.consumed += len(piece.values)
        return piece

    def close(self, reason: BaseException | None = None) -> None:
        """Cancel what has not started; lock held. What runs runs on, its results unseen."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        if self.meter is not None:
            self.meter.end()
        undrawn = self.undrawn
        self.host.litter.extend((self._items, self._ready, self._completed))
        self._items, self._ready, self._completed = deque(), {}, deque()
        self.end_of_source()
        if undrawn:
            self.drop(undrawn)
        self.host.abandon(self)
        self.tell()

    def drop(self, count: int) -> None:
        """Count items done that will never run; lock held."""
        self.settled += count
        self.host.tally.withdrew_items(count)
        if self.scribe is not None:
            self.scribe.look()
        self.host.dismiss(self.epoch, count)
