"""Which item it is: a digest that is the same in the next run, and on another Python.

An item's digest is that of its pickle, made in a form that depends on the value alone:
without pickle's memo (else it would matter whether two equal parts are one object),
with sets in a fixed order (else it would follow the hash seed of the process), and with
paths as their text (else it would follow the version of Python, which moves their classes).

So parts that are shared are written once for each place they are in, which grows without an end where
parts that are shared share parts. Where that comes to much more than the item itself, the digest
is that of its parts' digests, each made once.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, cast

from workpool.errors import NotPicklable, brief
from workpool.ipc.pickling import PLAIN, PROTOCOL, dumps

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "SETS",
    "SIZE",
    "canonical",
    "digest",
    "earlier_digest",
    "goes_as_a_set",
    "other_digests",
]

SIZE = 16  # bytes of a digest
SETS = b"\x8f", b"\x91"  # the opcodes of a set and of a frozenset

# Bytes up to which shared parts are written in each place, whatever they share; up to which that is tried
# where a digest is not the one that was kept; and how many times the item with each part once.
_MUCH, _MOST = 1 << 24, 1 << 30
_TIMES: Final = 64
_KINDS: Final[Any] = set, frozenset
_AS_SETS_ARE: Final = tuple(kind.__reduce__ for kind in _KINDS)


def digest(item: Any, position: int) -> bytes:
    """Give the digest of an item; NotPicklable if it has none."""
    try:
        try:
            return _whole(item, _MUCH)
        except _TooMuchError:
            return _by_parts(item)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = (
            f"item {position} cannot be known again by a journal: its pickle failed with "
            f"{brief(error)}. Map over values that can be pickled, such as paths or keys."
        )
        raise NotPicklable(message, part="argument") from error


def earlier_digest(item: Any) -> bytes:
    """Give the digest that an item had in journals of format 1, where paths were pickled as they are."""
    return _whole(item, _MOST, pickle.Pickler, _InOrder)


def other_digests(item: Any) -> list[bytes]:
    """Give the digests that the same item may have in a journal.

    One with its shared parts in each place, which was the only one, or with each once; and the earlier one.
    """
    ways: list[Callable[[], bytes]] = [
        lambda: _whole(item, _MOST),
        lambda: earlier_digest(item),
        lambda: _by_parts(item),
    ]
    found: list[bytes] = []
    for way in ways:
        try:
            found.append(way())
        except Exception:  # noqa: S110 - no digest in this way: too much, a lambda, a cycle
            pass
    return found


def _whole(
    item: Any,
    most: int,
    kind: type[pickle.Pickler] | None = None,
    careful: type[pickle.Pickler] | None = None,
) -> bytes:
    """Give the digest of an item with its shared parts in each place."""
    data = canonical(item, kind, careful, most)
    return blake2b(data, digest_size=SIZE).digest()


def canonical(
    value: Any,
    kind: type[pickle.Pickler] | None = None,
    careful: type[pickle.Pickler] | None = None,
    most: int = 0,
) -> bytes:
    """Pickle a value in a form that depends on it alone, as far as that goes; to so many bytes, see `_Bounded`."""
    try:
        if type(value) in PLAIN:
            return _pickled(pickle.Pickler, value)
        data = _pickled(kind or _Paths, value, most)
        # A byte of a string may look like a set: then the longer way is taken each time.
        if any(data.find(code) >= 0 for code in SETS):
            data = _pickled(careful or _PathsInOrder, value, most)
    except (RecursionError, _TooMuchError):
        raise
    except Exception:  # lambdas, cycles: in a form that may depend on more than the value
        return dumps(value)
    return data


def _pickled(kind: type[pickle.Pickler], value: Any, most: int = 0) -> bytes:
    buffer = io.BytesIO()
    if most:
        buffer = _Bounded()
        buffer.item, buffer.most = value, most
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
            return kind.__name__, self.in_order(obj)
        return None

    def in_order(self, members: Iterable[Any]) -> list[Any]:
        return sorted(_pickled(type(self), member) for member in members)


class _Paths(pickle.Pickler):
    """Pickles paths as their text, and sees sets of classes of their own."""

    def reducer_override(self, obj: Any, /) -> Any:
        """Say what those are pickled as; NotImplemented for everything else."""
        kind = cast("Any", type(obj))
        if isinstance(obj, PurePath):
            home = kind.__module__
            home = "pathlib" if home.startswith("pathlib.") else home  # pathlib._local, on 3.13
            name = f"{home}.{kind.__qualname__}"
            return tuple, ((name, str(obj)),)  # as which no tuple is pickled
        if goes_as_a_set(kind):
            make, (members,), *more = obj.__reduce_ex__(PROTOCOL)
            return make, (self.in_order(members),), *more
        return NotImplemented

    def in_order(self, members: Iterable[Any]) -> list[Any]:
        return [*members, *SETS]  # which asks for the longer way, as the opcode of a set does


def goes_as_a_set(kind: Any) -> bool:
    """Tell whether a class is pickled as sets are, by a list of the members in the order they happen to have."""
    return (
        issubclass(kind, _KINDS)
        and kind.__reduce__ in _AS_SETS_ARE
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind not in copyreg.dispatch_table
    )


class _PathsInOrder(_InOrder, _Paths):
    """Both."""


class _TooMuchError(Exception):
    """The shared parts of an item, in each place, come to too much."""


_MEASURED: Final = object()


class _Bounded(io.BytesIO):
    """Takes so many bytes; more, if they are not many times as many as the item has."""

    # No __init__, which would cost as much as all the rest.
    __slots__ = ("item", "most")

    item: Any
    most: int

    def write(self, data: ReadableBuffer, /) -> int:
        """Take some; the pickler gives 64 KiB at a time."""
        if self.tell() > self.most:
            if self.item is _MEASURED:
                raise _TooMuchError
            once = io.BytesIO()
            _Paths(once, PROTOCOL).dump(self.item)
            self.item, self.most = _MEASURED, max(self.most, _TIMES * once.tell())
        return super().write(data)


def _by_parts(item: Any) -> bytes:
    """Give the digest of an item by those of its parts, in which it does not matter what is shared."""
    return _digest_of(item, {})


def _digest_of(item: Any, known: dict[int, tuple[Any, bytes]]) -> bytes:
    buffer = io.BytesIO()
    pickler = _Parts(buffer, item, known)
    pickler.fast = True
    pickler.dump(item)
    return blake2b(buffer.getvalue(), digest_size=SIZE, person=b"parts").digest()


class _Parts(_Paths):
    """Pickles lists, tuples, dicts and sets within a value as their digests."""

    def __init__(self, buffer: io.BytesIO, whole: Any, known: dict[int, tuple[Any, bytes]]) -> None:
        super().__init__(buffer, PROTOCOL)
        self._whole = whole
        self._known = known  # by id: what has it, so that nothing else can, and the digest

    def persistent_id(self, obj: Any) -> Any:
        """Stand in for a part; None for everything else."""
        kind: Any = obj.__class__
        if kind is set or kind is frozenset:
            return kind.__name__, self.in_order(obj)
        if kind not in (list, tuple, dict) or obj is self._whole:
            return None
        if id(obj) not in self._known:
            self._known[id(obj)] = obj, _digest_of(obj, self._known)
        return self._known[id(obj)][1]

    def in_order(self, members: Iterable[Any]) -> list[Any]:
        return sorted(_digest_of(member, self._known) for member in members)
