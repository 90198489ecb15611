"""Large payloads, the receiver's side: mapped where they lie, and used there.

The mapping is private: what is unpickled from it may be written to, as if it were
a copy, and the kernel copies just the pages that are. Nobody else sees that. The
mapping goes with the last object in it, and then the sender hears that the
room is free (see ``depot.py``).

A fork while something is mapped
    The child has the same mapping, and would see what a sender lays into the room
    when the parent has let go of it. So before a fork the kernel copies all that is mapped, as
    if each page were written to: it is the process's own then, and its room free. Where that
    cannot be, the room stays reserved while its sender lives. There are not many
    such: a process that has left so much behind copies what it is sent.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workpool.ipc import pickling
from workpool.ipc import pieces as in_pieces
from workpool.ipc.depot import read_into

if TYPE_CHECKING:
    from workpool.ipc.depot import Note, Slots

__all__ = ["Borrowed", "loads"]

_LINE = 64
_PRIVATE: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
# Before Python 3.13 each mapping keeps a descriptor of its own, of which there are few.
_MOST_MAPPED = 4_096 if _PRIVATE else 64

# Of Linux 5.14; the module has no name for it. Pages of a private mapping become the process's own.
_POPULATE_WRITE = 23
_MOST_RESERVED = 64 << 20  # bytes

# What is mapped here, by number: the mapping, weakly, with a callback that clears its slot; and that.
_mapped: dict[int, tuple[weakref.ref[mmap.mmap], Slots, int]] = {}
_reserved = 0  # bytes that were mapped at a fork and could not be copied


class Borrowed:
    """A payload that lies in a sender's depot; to be opened once, or let go of."""

    __slots__ = ("_fd", "_note", "_slots")

    def __init__(self, fd: int, slots: Slots, note: Note) -> None:
        self._fd = fd
        self._slots = slots
        self._note: Note | None = note

    def __del__(self) -> None:
        if self._note is not None:
            self._slots.clear(self._note[1])  # it was never opened

    def load(self) -> Any:
        """Unpickle it; large buffers stay where they are."""
        offset, slot, *lengths = self._open()
        size = sum(-(-length // _LINE) * _LINE for length in lengths)
        memory = _map(self._fd, offset, size, self._slots, slot)
        pieces: list[memoryview] = []
        at = 0
        for length in lengths:
            pieces.append(memory[at : at + length])
            at += -(-length // _LINE) * _LINE
        del memory
        return in_pieces.loads(pieces[:1], pieces[1:])

    def _open(self) -> Note:
        note, self._note = self._note, None
        if note is None:
            message = "a borrowed payload is opened once"
            raise RuntimeError(message)
        return note


def loads(data: Any) -> Any:
    """Unpickle a payload, wherever it lies."""
    if data.__class__ is bytes:
        return pickling.loads(data)
    if isinstance(data, Borrowed):
        return data.load()
    if data.__class__ is list:  # a pickle and its buffers, which came through the pipe
        return pickling.loads(data[0], buffers=[bytearray(buffer) for buffer in data[1:]])
    return pickling.loads(data)


def _map(fd: int, offset: int, size: int, slots: Slots, slot: int) -> memoryview:
    """Map the room, or copy it where too much is mapped already, or it cannot be."""
    if len(_mapped) < _MOST_MAPPED and _reserved < _MOST_RESERVED:
        try:
            mapping = mmap.mmap(
                fd,
                size,
                flags=mmap.MAP_PRIVATE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
                offset=offset,
                **_PRIVATE,
            )
        except BaseException as error:
            from workpool.ipc.strikes import outside

            if not isinstance(error, (OSError, MemoryError)) or outside(error):
                slots.clear(slot)
                raise
            # Else no descriptor or no addresses are left.
        else:
            number = id(mapping)

            def gone(_: object) -> None:
                # The mapping is about to go, and nothing looks into it any more.
                if _mapped.pop(number, None) is not None:
                    slots.clear(slot)

            _mapped[number] = weakref.ref(mapping, gone), slots, slot
            _prepare_for_forks()
            return memoryview(mapping)
    try:
        copy = bytearray(size)
        read_into(fd, copy, offset)
        return memoryview(copy)
    finally:
        slots.clear(slot)


def _prepare_for_forks() -> None:
    """Load what is asked when this process forks: nothing is to be loaded in the middle of that.

    Something is mapped by then, so a thread that forks meanwhile asks for it, and waits until it is loaded.
    """
    if "workpool.ipc.available" not in sys.modules:
        with suppress(Exception):  # there is no file or no memory left
            import_module("workpool.ipc.available")


def _make_ours() -> None:
    """Have what is mapped here be this process's own, before a child has it, too."""
    global _reserved  # noqa: PLW0603 - one a process
    if not _mapped:
        return
    from workpool.ipc.available import available  # loaded by then: it is slow to

    free = available()
    room = sys.maxsize if free is None else free // 2
    for number, (reference, slots, slot) in list(_mapped.items()):
        mapping = reference()
        # From here on nobody else clears the slot: neither the last object in it nor the child.
        if mapping is None or _mapped.pop(number, None) is None:
            continue
        size = len(mapping)
        try:
            if size > room:
                raise MemoryError
            mapping.madvise(_POPULATE_WRITE)
        except (OSError, MemoryError):
            _reserved += size
        else:
            room -= size
            slots.clear(slot)


if hasattr(os, "register_at_fork"):
    # What another thread maps meanwhile is the parent's to let go of.
    os.register_at_fork(before=_make_ours, after_in_child=_mapped.clear)
