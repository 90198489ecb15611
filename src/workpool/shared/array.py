"""A buffer of numbers that all workers see, without a copy."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, SupportsIndex, cast

from workpool.errors import WouldDeadlock
from workpool.shared.home import Handle, Home, Scope, home_of
from workpool.waits import checked_timeout

__all__ = ["Array", "ArrayHome"]

# Names as numpy has them: what the struct module calls each, and its bytes.
_TYPES: dict[str, tuple[str, int]] = {
    "bool": ("?", 1),
    "int8": ("b", 1),
    "uint8": ("B", 1),
    "int16": ("h", 2),
    "uint16": ("H", 2),
    "int32": ("i", 4),
    "uint32": ("I", 4),
    "int64": ("q", 8),
    "uint64": ("Q", 8),
    "float32": ("f", 4),
    "float64": ("d", 8),
}
# Those that only numpy can show.
_NUMPYS: dict[str, int] = {"float16": 2, "complex64": 8, "complex128": 16}
_MOST = sys.maxsize // 16
_PYTHONS: dict[Any, str] = {bool: "bool", int: "int64", float: "float64", complex: "complex128"}


class ArrayHome(Protocol):
    """An array, where it lives."""

    @property
    def memory(self) -> memoryview[int]:
        """Its bytes."""
        ...

    @property
    def dtype(self) -> str:
        """The name of the type of its numbers."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """How many there are, in each direction."""
        ...

    @property
    def owner_died(self) -> bool:
        """Whether the last owner of the lock ended as owner, and the present one was told."""
        ...

    def acquire(self, timeout: float | None) -> bool:
        """Own the lock: ``None`` waits for ever."""
        ...

    def release(self) -> None:
        """Let the next one have the lock."""
        ...

    def leave(self) -> None:
        """Release the lock if this thread owns it: it was struck on its way out."""
        ...


class Array(Handle[ArrayHome]):
    """Numbers in memory that all workers see: what one writes, the others read.

    Passed to a task, it is not copied, on any backend. ``array.view`` shows it as a numpy array
    where numpy is installed, else as a :class:`memoryview` of its type and shape; indexing goes
    there. A single number is read and written whole. What changes together, or depends on what was
    there, is done under the lock: ``with array.lock() as view: view += 1``.

    It is zero at first, and ends when nobody has it any more, neither the array nor a view of it; no
    name of it is left behind, however its users end. A killed worker does not keep the
    lock; the next one is told by ``owner_died``.

    Parameters
    ----------
    shape : int or tuple of int
        How many numbers, in each direction; each at least 1.
    dtype : str or type
        ``"bool"``, ``"int8"`` to ``"int64"``, ``"uint8"`` to ``"uint64"``, ``"float32"``, ``"float64"``; with
        numpy also ``"float16"``, ``"complex64"``, ``"complex128"``. Or what Python or numpy have for
        these: ``float``, ``numpy.float32``.
    scope : {"thread", "process"}
        Who sees it: the threads of this process, or any process it is sent to.

    Raises
    ------
    ValueError, TypeError
        No such shape, or a type that is not among these.
    OSError
        There is not so much memory. Once made, all of it is there.
    """

    __slots__ = ()

    def __init__(
        self,
        shape: int | tuple[int, ...],
        dtype: Any = "float64",
        *,
        scope: Scope | Home = "thread",
    ) -> None:
        home = home_of(scope)
        name, size = _type(dtype)
        sizes = _shape(shape)
        self._set_home(home.make_array(math.prod(sizes) * size, name, sizes), scope)

    def __repr__(self) -> str:
        return f"<Array {self.shape} {self.dtype}, scope={self.scope!r}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """How many numbers there are, in each direction."""
        return self._home.shape

    @property
    def dtype(self) -> str:
        """The name of the type of its numbers."""
        return self._home.dtype

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return len(self._home.memory)

    @property
    def memory(self) -> memoryview[Any]:
        """The numbers as a memoryview of their type and shape; as bytes, if only numpy has the type."""
        kind = _TYPES.get(self.dtype)
        memory = self._home.memory
        # Each time another, which whoever asked may release.
        return memory[:] if kind is None else cast("Any", memory).cast(kind[0], list(self.shape))

    @property
    def view(self) -> Any:
        """The numbers as a numpy array where numpy is installed, else as ``memory``; no copy."""
        numpy = _numpy()
        if numpy is None:
            return self.memory
        return numpy.frombuffer(self._home.memory, self.dtype).reshape(self.shape)

    @property
    def owner_died(self) -> bool:
        """Whether the one before the present owner of the lock died, or ended, as owner.

        True only inside a ``lock`` block. What the dead one was changing may be half changed.
        """
        return self._home.owner_died

    def lock(self, timeout: float | None = None) -> _Block:
        """Keep others from changing it in blocks of theirs: ``with array.lock() as view: view[0] += 1``.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait for others to be done with it; ``None`` waits for ever.

        Returns
        -------
        context manager
            Gives ``view``. Entering it may raise `TimeoutError`, and raises `WouldDeadlock` if this
            thread is in such a block already.
        """
        return _Block(self, checked_timeout(timeout))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.view)

    def __getitem__(self, index: Any) -> Any:
        return self.view[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self.view[index] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Be a numpy array, of this very memory unless another type or a copy is asked for."""
        numpy = sys.modules["numpy"]
        if copy or (dtype is not None and numpy.dtype(dtype) != self.dtype):
            if copy is False:
                message = f"an Array of {self.dtype} cannot be shown as {dtype} without a copy"
                raise ValueError(message)
            return numpy.array(self.view, dtype)
        return self.view


class _Block:
    """One holding of an array's lock."""

    __slots__ = ("_array", "_timeout")

    def __init__(self, array: Array, timeout: float | None) -> None:
        self._array = array
        self._timeout = timeout

    def __enter__(self) -> Any:
        home = self._array._home
        try:
            owned = home.acquire(self._timeout)
        except WouldDeadlock:
            message = (
                "lock() would wait for this thread itself, which is in such a block; use its view"
            )
            raise WouldDeadlock(message) from None
        if not owned:
            message = f"another worker had the array locked for all of {self._timeout} s"
            raise TimeoutError(message)
        try:
            return self._array.view
        except BaseException:  # Ctrl-C, say: the block will not be entered, nor left
            home.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        home = self._array._home
        try:
            home.release()
        except BaseException:  # Ctrl-C, say: nobody else could release it any more
            home.leave()
            raise


def _shape(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    """Check a shape."""
    given: Any = shape if isinstance(shape, (tuple, list)) else (shape,)
    try:
        sizes = tuple(operator.index(cast("SupportsIndex", size)) for size in given)
    except TypeError:
        message = f"shape must be a whole number or a tuple of them, not {shape!r}"
        raise TypeError(message) from None
    if not sizes or min(sizes) < 1:
        message = f"shape must have one direction or more, each of at least 1, not {shape!r}"
        raise ValueError(message)
    if math.prod(sizes) > _MOST:
        message = f"shape must be of at most {_MOST} numbers, not {shape!r}"
        raise ValueError(message)
    return sizes


def _type(dtype: Any) -> tuple[str, int]:
    """Find the name of a type, and the bytes of one number."""
    name = _PYTHONS.get(dtype) if isinstance(dtype, type) else dtype
    if not isinstance(name, str) or (name not in _TYPES and name not in _NUMPYS):
        name = _numpys_name(dtype)
    if name in _TYPES:
        return name, _TYPES[name][1]
    if name in _NUMPYS and _numpy() is not None:
        return name, _NUMPYS[name]
    needs = " (these three need numpy)" if _numpy() is None else ""
    message = (
        f"dtype must be one of {', '.join(_TYPES)}, {', '.join(_NUMPYS)}{needs}, "
        f"in this machine's byte order, not {dtype!r}"
    )
    kind = ValueError if isinstance(dtype, str) else TypeError
    raise kind(message)


def _numpys_name(dtype: Any) -> str:
    """Ask numpy what a type is; empty if it is none, or lies the other way round."""
    numpy = _numpy()
    if numpy is None or dtype is None:  # which numpy takes for float64
        return ""
    try:
        found = numpy.dtype(dtype)
    except TypeError:
        return ""
    return str(found.name) if found.isnative else ""


_missing = False


def _numpy() -> Any:
    """Give numpy, or None where it is not installed; that is found out once, for it takes long."""
    global _missing  # noqa: PLW0603 - of this process
    if _missing and "numpy" not in sys.modules:
        return None
    try:
        import numpy  # noqa: ICN001 - it is looked for, not used here
    except ImportError:
        _missing = "numpy" not in sys.modules  # else somebody has it be refused
        return None
    return numpy
