"""Memoryviews on their way: they arrive as read-only views of the same shape and format.

Where the pickle has its buffers beside it, that costs no copy on the other side.
"""

from __future__ import annotations

import pickle
from typing import Any

__all__ = ["reduce_view"]

_FORMATS = frozenset("cbB?hHiIlLqQnNfdP")  # which can be had by a cast


def reduce_view(view: memoryview) -> tuple[Any, ...]:
    """Pickle a memoryview, for a pickler's table; one that no cast could make again arrives as bytes."""
    if view.format not in _FORMATS or not (view.nbytes or view.ndim == 1):
        return bytes, (view.tobytes(),)
    whole = view if view.c_contiguous else view.tobytes()
    return _make_view, (pickle.PickleBuffer(whole), view.format, view.shape)


def _make_view(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    flat = memoryview(buffer).cast("B").toreadonly()
    if not flat:  # to zeros in a shape there is no cast, but this one
        return flat.cast(form)  # type: ignore[call-overload, no-any-return]  # as below
    return flat.cast(form, shape)  # type: ignore[call-overload, no-any-return]  # it takes the formats that a view has
