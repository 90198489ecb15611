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

The worker writes all but four words (that it is written off, that it is to stand still,
what was taken back from it) and the *gates*. The parent ends a worker for one call and for no other: it
asks it to stand still, and then looks whether that call is still the latest. A worker notes a
call first, and then looks whether it is to stand still before it runs it; with a full
barrier between the two steps on both sides, one of them sees the other. So when the
parent finds nothing newer, nothing newer runs. The words are 8 bytes, aligned, and stored by one copy
each. The parent reads ``begun`` while the worker lives (an old value only makes
it look again later), and the rest after its death, when nothing moves any more, or while
it stands still (``standing``).

Taking back without the worker's help, where one call holds the whole worker: the parent has it
stand still, reads what has begun, and notes which numbers it takes (``take``). A worker that has noted a call
finds that it is to stand still, and drops what was taken. A slice has no look between
its calls: it goes through a gate (a byte) before each, and ends at a closed one. There is no barrier there,
but time: a store is seen by all within microseconds, and the parent reads much later than it closes.
"""

from __future__ import annotations

import io
import marshal
import mmap
import os
import struct
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
# Of an outcome: the size of its payload (inverted where that is a note), number, kind, begin and end.
_HEAD = struct.Struct("<qqqqq")
_RECORDS = 128  # bytes before the records: the words, and last the mark for "missing"
_SLICE = 1 << 17  # where the results of a slice begin
_BEGUN, _SINCE, _END, _SLICE_OF, _SLICE_SIZE, _SLICE_END, _SLICE_KIND, _VOID, _STILL = range(9)
_TAKEN_FROM, _TAKEN_UPTO = 9, 10  # the first and the last number taken back
_GO_ON, _WAIT = (
    0,
    1,
)  # what _STILL says; higher: go on without what is taken, one number for each time
_GATES = _SLICE - 8_256  # where they begin, one for each call of the longest slice and one more
_OPEN, _CLOSED = b"\1" * 8_256, bytes(8_256)
_barrier = across_forks(Lock())  # guards nothing: to take it and let it go is a full barrier
# What stands in every place of a slice of numbers until its result is stored. A result
# that is this very number would be taken for missing, after a kill: one in 2**64.
_MISSING = os.urandom(8)
_PLACES = tuple(range(MOST_IN_SLICE))  # made once, instead of a number for each call
_FORMATS: dict[type[Any], str] = {int: "q", float: "d"}


def make_journal() -> int:
    """Make the memory for one worker; gives its file descriptor."""
    fd = nameless.make("journal")
    try:
        os.ftruncate(fd, _SIZE)
        with mmap.mmap(fd, _SIZE) as memory:
            memory[_GATES:_SLICE] = _OPEN
    except BaseException:
        os.close(fd)
        raise
    return fd


class Journal:
    """One worker's journal, as either side sees it."""

    __slots__ = (
        "_at",
        "_memory",
        "_places",
        "_plain",
        "_slice_runs",
        "_stopped",
        "_taken",
        "_times_taken",
        "_words",
        "gates",
    )

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
        self.gates = memoryview(self._memory)[_GATES:_SLICE]
        self._at = _RECORDS
        self._slice_runs = False  # on the worker's side
        # On the parent's side: what _STILL says when nothing is being decided, how often it took,
        # and whether it was stopped, and that is not over.
        self._taken, self._times_taken, self._stopped = _GO_ON, 0, False

    # ------------------------------------------------------------ the worker's side

    def begin(self, number: int, now: int) -> None:
        """Note that call ``number`` begins at ``now`` (monotonic, nanoseconds)."""
        words = self._words
        words[_SINCE] = now
        words[_BEGUN] = number + 1

    def finish(self, number: int, kind: int, payload: Any, began: int, ended: int) -> bool:
        """Write down the outcome of a call: its payload, or the note where that lies; False when there is no room."""
        noted = payload.__class__ is not bytes
        if noted:
            payload = marshal.dumps(payload)
        at, size = self._at, len(payload)
        begin = at + _HEAD.size
        end = begin + size
        if end > _GATES:
            return False
        _HEAD.pack_into(self._memory, at, ~size if noted else size, number, kind, began, ended)
        self._memory[begin:end] = payload
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
            # Calls one by one may have begun since, where its first call was answered at once.
            words[_BEGUN] = max(words[_BEGUN], words[_SLICE_OF] + words[_SLICE_SIZE] - 1)
            words[_SLICE_OF] = 0
        words[_END] = 0

    def end_slice_at(self, size: int) -> None:
        """Note that the slice is over: so many of its calls were begun, and all of them are finished."""
        self._slice_runs = False
        self._words[_SLICE_SIZE] = size

    def drop_slice(self) -> None:
        """Note that none of its calls has begun: all were taken back."""
        self._slice_runs = False
        self._words[_SLICE_OF] = 0

    def taken(self) -> tuple[int, int] | None:
        """Give the first and the last number that the parent took back; None while it is making up its mind."""
        words = self._words
        said = words[_STILL]
        with _barrier:
            pass
        taken = words[_TAKEN_FROM], words[_TAKEN_UPTO]
        with _barrier:
            pass
        return taken if said > _WAIT and words[_STILL] == said else None

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
        words[_STILL] = _WAIT
        with _barrier:
            pass
        if self.begun()[0] == number:
            return True
        # It has looked, or will; either way it goes on, unless it was stopped before.
        words[_STILL] = _WAIT if self._stopped else self._taken
        return False

    def stop(self) -> None:
        """Have nothing run any more that begins from now on, nor the rest of a slice."""
        self._stopped = True
        self._words[_STILL] = _WAIT
        self._memory[_GATES:_SLICE] = _CLOSED
        with _barrier:
            pass

    def go_on(self) -> None:
        """Let it go on as before."""
        self.open_gates()
        self._stopped = False
        self._words[_STILL] = self._taken

    def open_gates(self) -> None:
        """Let slices run again; none that was stopped is running any more."""
        self._memory[_GATES:_SLICE] = _OPEN

    def standing(self) -> tuple[int, list[Any], tuple[int, list[Any]] | None] | None:
        """Give what ``last_words`` gives, of a worker that was stopped a while ago; None if it moves meanwhile.

        What it writes next it begins by changing one of these words.
        """
        words = self._words
        before = words[:_VOID].tolist()
        with _barrier:
            pass
        try:
            left = self.last_words()
        except (ValueError, EOFError, TypeError):
            return None
        with _barrier:
            pass
        return left if words[:_VOID].tolist() == before else None

    def take(self, first: int, upto: int) -> None:
        """Take back the calls with these numbers from a worker that was stopped; all else may run."""
        words = self._words
        if self._taken and first <= words[_TAKEN_UPTO] + 1:
            first = words[
                _TAKEN_FROM
            ]  # it may have noted one of those taken before, and not looked yet
        words[_TAKEN_FROM], words[_TAKEN_UPTO] = first, upto
        with _barrier:
            pass
        self._times_taken += 1
        self._stopped = False
        words[_STILL] = self._taken = _WAIT + self._times_taken

    def forget_taken(self) -> None:
        """Spare the worker the look at what was taken: it is past that."""
        self._taken = _GO_ON
        if not self._stopped:
            self._words[_STILL] = _GO_ON

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

    @property
    def keeps_outcomes(self) -> bool:
        """Whether something may be finished that has not gone through the pipe; a guess while the worker goes on."""
        return bool(self._words[_END] or self._words[_SLICE_OF])

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
            size, number, kind, began, ended = _HEAD.unpack_from(self._memory, at)
            at += _HEAD.size
            payload: Any = self._memory[at : at + (size if size >= 0 else ~size)]
            at += len(payload)
            if size < 0:
                payload = marshal.loads(payload)  # noqa: S302 - ours
            outcomes.append((number, kind, payload, began, ended, 1))
        first = words[_SLICE_OF] - 1
        if first < 0:
            return begun, outcomes, None
        size = words[_SLICE_SIZE]
        values: list[Any] = (
            self._kept_numbers(size) if words[_SLICE_KIND] else self._kept_values(size)
        )
        return max(begun, first + min(len(values), size - 1)), outcomes, (first, values)

    def sliced_before(self, number: int) -> tuple[int, list[Any]] | None:
        """Give the values of the slice that runs from its first number on to the one before this; None without a slice.

        They are finished, as the worker has said by telling that this call has begun, and nothing is behind it:
        so they stay, while the worker may be storing its value.
        """
        words = self._words
        first = words[_SLICE_OF] - 1
        if not 0 <= first < number:
            return None
        most = min(number - first, words[_SLICE_SIZE])
        return first, self._kept_numbers(most) if words[_SLICE_KIND] else self._kept_values(most)

    def _kept_values(self, most: int) -> list[Any]:
        end = self._words[_SLICE_END]
        stream = io.BytesIO(self._memory[_SLICE : _SLICE + end])
        values: list[Any] = []
        while stream.tell() < end and len(values) < most:
            values.append(marshal.load(stream))  # noqa: S302 - ours
        return values

    def _kept_numbers(self, most: int) -> list[Any]:
        raw = self.numbers(most)
        missing = self._memory[_RECORDS - 8 : _RECORDS]
        kept = next((i for i in range(most) if raw[8 * i : 8 * i + 8] == missing), most)
        values = memoryview(raw[: 8 * kept])
        is_float = self._words[_SLICE_KIND] == ord(_FORMATS[float])
        return values.cast("d").tolist() if is_float else values.cast("q").tolist()

    def close(self) -> None:
        """Unmap it."""
        for places in self._places.values():
            places.release()
        self.gates.release()
        self._words.release()
        self._memory.close()
