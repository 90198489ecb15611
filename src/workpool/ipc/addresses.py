"""Memory by its address: where it lies, to look at it from there, and to ask for large pages of it.

Loaded when a payload is large: ``ctypes`` takes its time, in each interpreter anew.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from workpool._compat import LINUX

__all__ = ["address_of", "ask_for_large_pages", "memory_at"]

_READ_ONLY = 0x100  # PyBUF_READ
_PAGE = 4_096
_MADV_HUGEPAGE = 14  # Linux


class _Buffer(ctypes.Structure):
    """``Py_buffer``, as the stable ABI has it."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("object", ctypes.c_void_p),
        ("size", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("rest", ctypes.c_void_p * 5),
    )


def address_of(data: bytes | memoryview) -> int:
    """Tell where its memory begins."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(buffer), 0)
    address: int = buffer.address
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address


def memory_at(address: int, size: int) -> memoryview:
    """Look at memory, to read it; whoever asks keeps it there."""
    look = ctypes.pythonapi.PyMemoryView_FromMemory
    look.restype = ctypes.py_object
    view: memoryview = look(ctypes.c_void_p(address), ctypes.c_ssize_t(size), _READ_ONLY)
    return view


def ask_for_large_pages(buffer: memoryview) -> None:
    """Have memory that nobody has touched come in large pages: in small ones that takes longer than a copy to it."""
    advise = _madvise()
    if advise is not None:
        first = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        begin, end = -(-first // _PAGE) * _PAGE, (first + len(buffer)) // _PAGE * _PAGE
        # A no is no matter.
        advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    return getattr(ctypes.CDLL(None), "madvise", None) if LINUX else None
