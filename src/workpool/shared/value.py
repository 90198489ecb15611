"""A value that is changed as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar, cast

from workpool.errors import WouldDeadlock
from workpool.shared.home import Handle, Home, Scope, home_of
from workpool.waits import checked_timeout

__all__ = ["Box", "Shared", "SharedHome"]

T = TypeVar("T")


class SharedHome(Protocol[T]):
    """A value and its lock, where they live. What comes out, and what goes in, is a copy."""

    def get(self) -> T:
        """Return the value, once no one has it open."""
        ...

    def set(self, value: T) -> None:
        """Replace the value, once no one has it open."""
        ...

    def open(self, timeout: float | None) -> T:
        """Lock it and return the value. TimeoutError: it is not locked."""
        ...

    def commit(self, value: T) -> None:
        """Replace the value that is open; if that fails, it stays."""
        ...

    def close(self) -> None:
        """Unlock it."""
        ...

    def leave(self) -> None:
        """Unlock it if this thread has it open: it was struck on its way out."""
        ...


class Shared(Handle[SharedHome[T]], Generic[T]):
    """A value that workers read and change, one at a time.

    What comes out is a copy: to change a list that was got from it changes
    nothing for others until it is put back, by the end of a `lock` block,
    `update` or `set`. Then all see the new value, or, if the worker is killed
    at that moment, all see the old one.

    Parameters
    ----------
    value : object
        The first value.
    scope : {"thread", "process"}
        Who shares it: the threads of this process, or any process it is sent to.
        For threads the value is copied as `copy.deepcopy` does it, for
        processes it is pickled (with cloudpickle, where pickle cannot).

    Raises
    ------
    NotPicklable
        The value, or one that is to replace it, cannot be copied that way; what
        was there stays.
    """

    __slots__ = ()

    def __init__(self, value: T, *, scope: Scope | Home = "thread") -> None:
        self._set_home(home_of(scope).make_shared(value), scope)

    def __repr__(self) -> str:
        try:
            value = self._home.open(0)
        except TimeoutError:
            shown = "<locked>"
        else:
            # What came out is a copy: to show it needs no lock.
            try:
                self._home.close()
            except BaseException:
                self._home.leave()
                raise
            shown = repr(value)
        return f"Shared({shown}, scope={self.scope!r})"

    def get(self) -> T:
        """Return a copy of the value.

        Returns
        -------
        object
            The value as last committed; waits for a block that is open elsewhere.

        Raises
        ------
        WouldDeadlock
            This thread has it open: inside the block, read ``box.value``.
        """
        try:
            return self._home.get()
        except WouldDeadlock:
            raise _nested(get="read box.value") from None

    def set(self, value: T) -> None:
        """Replace the value.

        Parameters
        ----------
        value : object
            The new value, whatever the old one is.

        Raises
        ------
        WouldDeadlock
            This thread has it open: inside the block, set ``box.value``.
        """
        try:
            self._home.set(value)
        except WouldDeadlock:
            raise _nested(set="assign to box.value") from None

    def update(self, change: Callable[[T], T]) -> T:
        """Replace the value by what a function makes of it.

        Parameters
        ----------
        change : callable
            Takes the value and returns the new one. Others wait meanwhile. If
            it raises, the value stays as it was.

        Returns
        -------
        object
            The new value.

        Raises
        ------
        WouldDeadlock
            This thread has it open.
        """
        if not callable(cast("object", change)):
            message = f"update() takes a function of the value, not {change!r}; set() replaces it"
            raise TypeError(message)
        with self.lock() as box:
            box.value = change(box.value)
        return box.value

    def lock(self, timeout: float | None = None) -> _Block[T]:
        """Open the value to change it: ``with shared.lock() as box: box.value += 1``.

        Others wait until the block ends. Its end puts ``box.value`` back; a
        block that ends with an exception leaves the value as it was.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait for others to be done with it; ``None`` waits for ever.

        Returns
        -------
        context manager
            Gives a `Box`. Entering it may raise `TimeoutError`, and raises
            `WouldDeadlock` if this thread has the value open already.
        """
        return _Block(self._home, checked_timeout(timeout))


class Box(Generic[T]):
    """Holds the value inside a ``with shared.lock() as box`` block."""

    __slots__ = ("_open", "_value")

    def __init__(self, value: T) -> None:
        self._value = value
        self._open = True

    def __repr__(self) -> str:
        return f"Box({self._value!r})"

    @property
    def value(self) -> T:
        """The value; what it is at the end of the block is what all others get."""
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        if not self._open:
            message = "the block that this box belongs to has ended; open the value again"
            raise RuntimeError(message)
        self._value = value

    def _close(self) -> None:
        self._open = False


class _Block(Generic[T]):
    """One opening of a shared value."""

    __slots__ = ("_box", "_home", "_timeout")

    def __init__(self, home: SharedHome[T], timeout: float | None) -> None:
        self._home = home
        self._timeout = timeout
        self._box: Box[T] | None = None

    def __enter__(self) -> Box[T]:
        try:
            value = self._home.open(self._timeout)
        except WouldDeadlock:
            raise _nested(lock="use the box of the block that is open") from None
        try:
            self._box = Box(value)
        except BaseException:  # Ctrl-C, say: the block will not be entered, nor left
            self._home.close()
            raise
        return self._box

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._box is not None:
                self._box._close()
                if kind is None:
                    self._home.commit(self._box.value)
        finally:
            try:
                self._home.close()
            except BaseException:  # Ctrl-C, say: nobody else could unlock it any more
                self._home.leave()
                raise


def _nested(**way_out_of_call: str) -> WouldDeadlock:
    """Refuse a call, given by its name, and say the way out."""
    ((call, way_out),) = way_out_of_call.items()
    message = f"{call}() would wait for this thread itself, which has the value open; {way_out}"
    return WouldDeadlock(message)
