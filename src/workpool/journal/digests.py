"""Which item it is: a digest that is the same in the next run, and on another Python.

An item's digest is that of its pickle, made in a form that depends on the value alone:
without pickle's memo (else it would matter whether two equal parts are one object),
with sets in a fixed order (else it would follow the hash seed of the process), and with
paths as their text (else it would follow the version of Python, which moves their classes).
"""

from __future__ import annotations

import io
import pickle
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, cast

from workpool.errors import NotPicklable
from workpool.ipc.pickling import PLAIN, PROTOCOL, dumps

__all__ = ["SETS", "SIZE", "canonical", "digest", "earlier_digest"]

SIZE = 16  # bytes of a digest
SETS = b"\x8f", b"\x91"  # the opcodes of a set and of a frozenset


def digest(item: Any, position: int) -> bytes:
    """Give the digest of an item; NotPicklable if it has none."""
    try:
        data = canonical(item)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = (
            f"item {position} cannot be known again by a journal: its pickle failed with "
            f"{type(error).__name__}: {error}. Map over values that can be pickled, such as paths or keys."
        )
        raise NotPicklable(message, part="argument") from error
    return blake2b(data, digest_size=SIZE).digest()


def earlier_digest(item: Any) -> bytes:
    """Give the digest that an item had in journals of format 1, where paths were pickled as they are."""
    return blake2b(canonical(item, pickle.Pickler, _InOrder), digest_size=SIZE).digest()


def canonical(
    value: Any,
    kind: type[pickle.Pickler] | None = None,
    careful: type[pickle.Pickler] | None = None,
) -> bytes:
    """Pickle a value in a form that depends on it alone, as far as that goes."""
    try:
        if type(value) in PLAIN:
            return _pickled(pickle.Pickler, value)
        data = _pickled(kind or _Paths, value)
        # A byte of a string may look like a set: then the longer way is taken each time.
        if any(data.find(code) >= 0 for code in SETS):
            data = _pickled(careful or _PathsInOrder, value)
    except RecursionError:
        raise
    except Exception:  # lambdas, cycles: in a form that may depend on more than the value
        return dumps(value)
    return data


def _pickled(kind: type[pickle.Pickler], value: Any) -> bytes:
    buffer = io.BytesIO()
    pickler = kind(buffer, PROTOCOL)
    pickler.fast = True  # no memo
    pickler.dump(value)
    return buffer.getvalue()


class _InOrder(pickle.Pickler):
    """Pickles sets as their members' pickles, sorted."""

    def persistent_id(self, obj: Any) -> Any:
        """Stand in for a set; None for everything else."""
        kind: Any = obj.__class__
        if kind is set or kind is frozenset:
            members = cast("set[Any]", obj)
            return kind.__name__, sorted(_pickled(type(self), member) for member in members)
        return None


class _Paths(pickle.Pickler):
    """Pickles paths as their text."""

    def reducer_override(self, obj: Any, /) -> Any:
        """Say what a path is pickled as; NotImplemented for everything else."""
        if not isinstance(obj, PurePath):
            return NotImplemented
        kind = type(obj)
        home = kind.__module__
        home = "pathlib" if home.startswith("pathlib.") else home  # pathlib._local, on 3.13
        return tuple, ((f"{home}.{kind.__qualname__}", str(obj)),)  # as which no tuple is pickled


class _PathsInOrder(_InOrder, _Paths):
    """Both."""
