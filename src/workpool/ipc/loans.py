"""Large payloads between interpreters of one process: bytes are read where they lie, by their address.

Nothing is laid down for them, and no object is shared: what travels is where the bytes are
and how many. The receiver copies them into objects of its own while it unpickles; a memoryview
of bytes (of the caller's) arrives as a read-only view of that very memory.

Only bytes go this way, for nobody can change them. What can be changed, such as a
bytearray or an array, is laid into the depot as for a process, so that
a task sees what was sent, whatever becomes of it meanwhile.

Who owns the memory
    The sender's object does. It is kept by the `Loan` (the task's payload) until that is
    done with, and by the receiver's `Tenancy` from before the note of it is sent
    until the receiver's byte is clear again: it clears it when it has unpickled, or when
    the last view is gone. So two keep it, and each lets go on its own.
A receiver that ends
    Its byte stays set. Its tenancy is declared void when its interpreter is destroyed, and
    not before: one that was written off still runs, and may read (``backends/interpreter/host.py``).
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from workpool.ipc import pieces as in_pieces
from workpool.ipc.borrowing import Borrowed
from workpool.ipc.depot import Depot, Parcel, Slots

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

    from workpool.ipc.depot import Note
    from workpool.ipc.pieces import Piece

__all__ = ["Lender", "Lent", "Tenancy"]

_BY_ADDRESS = -1  # where the note of a parcel has its offset


# ------------------------------------------------------------------- the sender's side


class Lender(Depot):
    """A depot that lends bytes where they are."""

    def lay_down(self, pieces: Sequence[Piece], buffers: Sequence[memoryview]) -> Parcel | None:
        """Lend what nobody can change; copy the rest into a room."""
        if _unchangeable(pieces, buffers):
            return Loan(pieces, buffers)
        return super().lay_down(pieces, buffers)


class Tenancy(Slots):
    """The slots of one interpreter, with what it was lent by address."""

    __slots__ = ("_kept", "_numbers")

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        super().__init__(memory, start)
        # What was lent, and with which slot; by numbers that are not used again, as slots are: who lets
        # go of one thing never lets go of the next.
        self._kept: dict[int, tuple[int, object]] = {}
        self._numbers = count()

    def take(self) -> int:
        """Set the byte of a free slot, after letting go of what the receiver has done with."""
        self.sweep()
        return super().take()

    def any_taken(self) -> bool:
        """Tell whether the receiver may have anything; lets go of the rest."""
        self.sweep()
        return super().any_taken()

    def keep(self, slot: int, what: object) -> int:
        """Keep that until the receiver clears the slot, which is taken; gives the number to let go of it by."""
        number = next(self._numbers)
        self._kept[number] = slot, what
        return number

    def sweep(self) -> None:
        """Let go of what the receiver has done with."""
        for number in list(self._kept):
            self.let_go(number)

    def let_go(self, number: int) -> None:
        """Let go of one thing, if the receiver has done with it; from any thread, in the middle of anything."""
        slot, _ = self._kept.get(number, (-1, None))
        if slot >= 0 and not self.is_taken(slot):
            self._kept.pop(number, None)

    def declare_void(self) -> None:
        """Hear that the receiver's interpreter is destroyed."""
        super().declare_void()
        self._kept.clear()


class Loan(Parcel):
    """Bytes that lie where the caller, or the pickler, has them."""

    __slots__ = ("_buffers", "_pieces")

    def __init__(self, pieces: Sequence[Piece], buffers: Sequence[memoryview]) -> None:
        self._pieces = pieces
        self._buffers = buffers
        self._lent: list[tuple[Slots, int]] = []

    def __del__(self) -> None:
        for slots, number in self._lent:
            assert isinstance(slots, Tenancy)
            slots.let_go(number)

    def note_for(self, slots: Slots) -> Note | None:
        """Give what the receiver needs to read it; None when it has too much already."""
        assert isinstance(slots, Tenancy)
        slot = slots.take()
        if slot < 0:
            return None
        self._lent.append((slots, slots.keep(slot, (self._pieces, self._buffers))))
        from workpool.ipc.addresses import address_of

        note = [_BY_ADDRESS, slot, len(self._pieces)]
        for each in (*self._pieces, *self._buffers):
            note += (address_of(each), len(each))
        return tuple(note)

    def read(self) -> list[Any]:
        """Give the pieces, to be sent another way."""
        return [b"".join(self._pieces), *self._buffers]


def _unchangeable(pieces: Sequence[Piece], buffers: Sequence[memoryview]) -> bool:
    return all(piece.__class__ is bytes for piece in pieces) and all(
        _owner(buffer).__class__ is bytes for buffer in buffers
    )


def _owner(view: memoryview) -> object:
    """Tell whose memory it is; pickle hands on a view of a view."""
    owner: object = view.obj
    return owner.obj if isinstance(owner, memoryview) else owner


# ------------------------------------------------------------------- the receiver's side


class Lent(Borrowed):
    """A payload that another interpreter has; to be opened once, or let go of."""

    __slots__ = ()

    def load(self) -> Any:
        """Unpickle it; views stay where they are."""
        _, slot, pieces, *places = self._open()
        use = _Use(self._slots, slot)
        from workpool.ipc.addresses import memory_at

        memory = [memory_at(*place) for place in zip(places[::2], places[1::2], strict=True)]
        buffers = [memoryview(_Window(each, use)) for each in memory[pieces:]]
        return in_pieces.loads(memory[:pieces], buffers)


class _Use:
    """Clears the slot when it is gone."""

    __slots__ = ("_slot", "_slots")

    def __init__(self, slots: Slots, slot: int) -> None:
        self._slots = slots
        self._slot = slot

    def __del__(self) -> None:
        self._slots.clear(self._slot)


class _Window:
    """Memory that is in use as long as any view of this is there."""

    __slots__ = ("_memory", "_use")

    def __init__(self, memory: memoryview, use: _Use) -> None:
        self._memory = memory
        self._use = use

    def __buffer__(self, flags: int) -> memoryview:
        return self._memory
