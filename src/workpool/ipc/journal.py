"""What a worker process has begun and finished, readable after it was killed.

A few words and some room in memory that the worker and its parent share.

- Before a call begins, the worker stores its number and the time.
- A finished call's outcome is written into the journal before the next begins,
  and counts from the moment its end is stored. Outcomes then go through the pipe
  in batches; the journal is emptied after the write that carried them.
- A *slice* is many tiny calls in a row. Its results are written one behind the
  other, each counting from the moment the new end is stored (or, for numbers, from
  the moment it is stored itself, in a place that held a mark for "missing"). They
  are in order, so the number of the call that runs is the number of those there.

What a kill leaves behind, at any line: the number of the call that was running,
and every outcome before it, in the pipe or in the journal or in both (the parent
knows by number which it has). One call at most has begun and has no outcome:
the one that is charged.

Only the worker writes, but for two words: that it is written off, and that it is to
stand still. The parent ends a worker for one call and for no other: it asks it to
stand still, and then looks whether that call is still the latest. A worker notes a
call first, and then looks whether it is to stand still before it runs it; with a full
barrier between the two steps on both sides, one of them sees the other. So when the
parent finds nothing newer, nothing newer runs. The words are 8 bytes, aligned, and stored by one copy
each. The parent reads ``begun`` while the worker lives (an old value only makes
it look again later), and the rest after its death, when nothing moves any more.
"""

from __future__ import annotations

import io
import marshal
import mmap
import os
from contextlib import suppress
from itertools import accumulate, chain, groupby, repeat, tee
from operator import setitem
from typing import TYPE_CHECKING, Any, cast

from workpool._compat import Lock, across_forks
from workpool.ipc import nameless
from workpool.ipc.pickling import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MOST_IN_SLICE", "Journal", "make_journal"]

MOST_IN_SLICE = 8_192  # calls

_SIZE = 1 << 18
_RECORDS = 128  # bytes before the records: the words, and last the mark for "missing"
_SLICE = 1 << 17  # where the results of a slice begin
_BEGUN, _SINCE, _END, _SLICE_OF, _SLICE_SIZE, _SLICE_END, _SLICE_KIND, _VOID, _STILL = range(9)
_barrier = across_forks(Lock())  # guards nothing: to take it and let it go is a full barrier
# What stands in every place of a slice of numbers until its result is stored. A result
# that is this very number would be taken for missing, after a kill: one in 2**64.
_MISSING = os.urandom(8)
_PLACES = tuple(range(MOST_IN_SLICE))  # made once, instead of a number for each call
_FORMATS: dict[type[Any], str] = {int: "q", float: "d"}


def make_journal() -> int:
    """Make the memory for one worker; gives its file descriptor."""
    fd = nameless.make("journal")
    os.ftruncate(fd, _SIZE)
    return fd


class Journal:
    """One worker's journal, as either side sees it."""

    __slots__ = ("_at", "_memory", "_places", "_plain", "_slice_runs", "_words")

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _SIZE)
        self._words = memoryview(self._memory)[:_RECORDS].cast("Q")
        slice_ = memoryview(self._memory)[_SLICE:]
        self._places: dict[type[Any], memoryview[Any]] = {
            int: slice_.cast("q"),
            float: slice_.cast("d"),
        }
        # By the type of a value, where its storing counts: nowhere for what may be another value later.
        self._plain = dict.fromkeys(PLAIN, self._words)
        self._at = _RECORDS
        self._slice_runs = False  # on the worker's side

    # ------------------------------------------------------------ the worker's side

    def begin(self, number: int, now: int) -> None:
        """Note that call ``number`` begins at ``now`` (monotonic, nanoseconds)."""
        words = self._words
        words[_SINCE] = now
        words[_BEGUN] = number + 1

    def finish(self, record: bytes) -> bool:
        """Write down an outcome; False when there is no room for it."""
        at = self._at
        end = at + 4 + len(record)
        if end > _SLICE:
            return False
        self._memory[at:end] = len(record).to_bytes(4, "little") + record
        self._at = end
        self._words[_END] = end
        return True

    def begin_slice(self, number: int, size: int, now: int, kind: type[Any]) -> None:
        """Note that calls from ``number`` on begin, one after the other; results of ``kind`` are expected."""
        words = self._words
        words[_SINCE] = now
        words[_SLICE_END] = 0
        words[_SLICE_SIZE] = size
        if kind in _FORMATS:
            self._memory[_SLICE : _SLICE + 8 * size] = _MISSING * size
            words[_SLICE_KIND] = ord(_FORMATS[kind])
            self._missing()
        else:
            words[_SLICE_KIND] = 0
            self._memory.seek(_SLICE)
        words[_SLICE_OF] = number + 1
        self._slice_runs = True

    def _missing(self) -> None:
        """Leave word of the mark for "missing", which each process draws for itself."""
        self._memory[_RECORDS - 8 : _RECORDS] = _MISSING

    def keep(self, values: Iterator[Any], kind: type[Any]) -> Iterator[None]:
        """Write down each value before the next is asked for, all in C; it ends at one that cannot be.

        The journal is to give back the very value. So it takes none of another type, of which code of its
        own might make a number, and none that can change, as the next call may change it.
        """
        # Faster than a method bound to the view: no argument tuple is made for it.
        store = cast("Callable[[Any, int, Any], None]", setitem)
        if kind in _FORMATS:
            _, same = next(groupby(chain((kind(),), values), type))
            next(same)  # that one only says of which type the others are to be
            return map(store, repeat(self._places[kind]), _PLACES, same)
        kinds, values = tee(values)
        takes = map(self._plain.__getitem__, map(type, kinds))
        ends = accumulate(map(self._memory.write, map(marshal.dumps, values)))
        return map(store, takes, repeat(_SLICE_END), ends)

    def numbers(self, size: int) -> bytes:
        """Give the first numbers of a slice as they stand there, 8 bytes each."""
        return self._memory[_SLICE : _SLICE + 8 * size]

    def empty(self) -> None:
        """Forget the outcomes: they have gone through the pipe. A slice that still runs stays."""
        self._at = _RECORDS
        words = self._words
        if words[_SLICE_OF] and not self._slice_runs:
            # First the word that says it all began, then the one that says there is a slice.
            words[_BEGUN] = words[_SLICE_OF] + words[_SLICE_SIZE] - 1
            words[_SLICE_OF] = 0
        words[_END] = 0

    def end_slice_at(self, size: int) -> None:
        """Note that the slice is over: so many of its calls were begun, and all of them are finished."""
        self._slice_runs = False
        self._words[_SLICE_SIZE] = size

    @property
    def void(self) -> bool:
        """Whether the parent has written this worker off: nothing may begin any more."""
        return bool(self._words[_VOID])

    @property
    def still(self) -> bool:
        """Whether the call that was begun last is not to run yet, or never; looked at behind a full barrier."""
        return bool(self._words[_STILL])

    # ------------------------------------------------------------ the parent's side

    def hold(self, number: int) -> bool:
        """Have nothing run any more that begins after this call; False, and nothing is held, if something has."""
        words = self._words
        words[_STILL] = 1
        with _barrier:
            pass
        if self.begun()[0] == number:
            return True
        words[_STILL] = 0  # it has looked, or will; either way it goes on
        return False

    def declare_void(self) -> None:
        """Write the worker off, where it cannot be killed."""
        self._words[_VOID] = 1

    def begun(self) -> tuple[int, float]:
        """Give the number of the latest call begun (-1: none) and when, in monotonic seconds."""
        words = self._words
        number = words[_BEGUN] - 1
        if words[_SLICE_OF]:
            number = max(number, words[_SLICE_OF] - 1)
        return number, words[_SINCE] / 1e9

    def running(self) -> tuple[int, float]:
        """Give the same, but for a slice the call that runs in it; a guess while the worker goes on."""
        number, since = self.begun()
        if self._words[_SLICE_OF]:
            with suppress(ValueError, EOFError, TypeError):
                number = self.last_words()[0]
        return number, since

    def last_words(self) -> tuple[int, list[Any], tuple[int, list[Any]] | None]:
        """Give what a dead worker left: the call that had begun, outcomes, and values of a slice from a number on."""
        words = self._words
        begun = words[_BEGUN] - 1
        at, end = _RECORDS, words[_END]
        outcomes: list[Any] = []
        while at < end:
            size = int.from_bytes(self._memory[at : at + 4], "little")
            outcomes.append(marshal.loads(self._memory[at + 4 : at + 4 + size]))  # noqa: S302 - ours
            at += 4 + size
        first = words[_SLICE_OF] - 1
        if first < 0:
            return begun, outcomes, None
        values: list[Any] = self._numbers_kept() if words[_SLICE_KIND] else self._values_kept()
        return (
            max(begun, first + min(len(values), words[_SLICE_SIZE] - 1)),
            outcomes,
            (first, values),
        )

    def _values_kept(self) -> list[Any]:
        end = self._words[_SLICE_END]
        stream = io.BytesIO(self._memory[_SLICE : _SLICE + end])
        values: list[Any] = []
        while stream.tell() < end:
            values.append(marshal.load(stream))  # noqa: S302 - ours
        return values

    def _numbers_kept(self) -> list[Any]:
        size = self._words[_SLICE_SIZE]
        raw = self.numbers(size)
        missing = self._memory[_RECORDS - 8 : _RECORDS]
        kept = next((i for i in range(size) if raw[8 * i : 8 * i + 8] == missing), size)
        values = memoryview(raw[: 8 * kept])
        is_float = self._words[_SLICE_KIND] == ord(_FORMATS[float])
        return values.cast("d").tolist() if is_float else values.cast("q").tolist()

    def close(self) -> None:
        """Unmap it."""
        for places in self._places.values():
            places.release()
        self._words.release()
        self._memory.close()
