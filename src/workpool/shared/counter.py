"""A number that many workers count on, and that loses none of their counts."""

from __future__ import annotations

from operator import index
from typing import Protocol

from workpool.shared.home import Handle, Home, Scope, home_of

__all__ = ["Counter", "CounterHome"]


class CounterHome(Protocol):
    """A counter, where it lives.

    The first value is as the caller gave it, the rest are integers. What is no integer of 64
    bits is refused with OverflowError, TypeError or ValueError, and changes nothing.
    """

    def add(self, n: int) -> int:
        """Add, and return the sum."""
        ...

    def get(self) -> int:
        """Return the value."""
        ...

    def compare_and_set(self, expected: int, new: int) -> bool:
        """Set to `new` if it is `expected`."""
        ...


class Counter(Handle[CounterHome]):
    """An integer that all workers add to, one at a time.

    All operations are linearizable: each takes effect at one moment between its
    call and its return, and all workers see the same order of these moments. A
    worker that is killed in the middle has counted or has not, and blocks no one.

    Parameters
    ----------
    initial : int
        The first value.
    scope : {"thread", "process"}
        Who counts: the threads of this process, or any process it is sent to.

    Raises
    ------
    OverflowError
        A value that 64 bits with a sign cannot hold, on any scope; the counter
        stays as it was. `Shared` holds larger numbers.
    TypeError
        Something that is not an integer.
    """

    __slots__ = ()

    def __init__(self, initial: int = 0, *, scope: Scope | Home = "thread") -> None:
        home = home_of(scope)
        try:
            self._set_home(home.make_counter(initial), scope)
        except (OverflowError, TypeError, ValueError) as error:
            raise _refusal(error, initial=initial) from error

    def __repr__(self) -> str:
        return f"Counter({self.value}, scope={self.scope!r})"

    @property
    def value(self) -> int:
        """The number now."""
        return self._home.get()

    def add(self, n: int = 1) -> int:
        """Add to the number.

        Parameters
        ----------
        n : int
            How much; may be negative.

        Returns
        -------
        int
            The new value: no other `add` of 1 returned the same.
        """
        try:
            if type(n) is not int:  # those of numpy have 64 bits or fewer, and wrap around
                n = int(index(n))
            return self._home.add(n)
        except (OverflowError, TypeError, ValueError) as error:
            raise _refusal(error, n=n) from error

    def compare_and_set(self, expected: int, new: int) -> bool:
        """Set the number, if it is what the caller thinks it is.

        Parameters
        ----------
        expected : int
            The value it must have.
        new : int
            The value it gets.

        Returns
        -------
        bool
            Whether it was set.
        """
        try:
            expected = int(index(expected))
        except TypeError as error:
            raise _refusal(error, expected=expected) from error
        try:
            return self._home.compare_and_set(expected, int(index(new)))
        except (OverflowError, TypeError, ValueError) as error:
            raise _refusal(error, new=new) from error


def _refusal(error: Exception, **numbers: object) -> OverflowError | TypeError:
    """Say what is wrong with a number, given by its name, that the cell did not take."""
    ((name, value),) = numbers.items()
    if isinstance(error, TypeError):
        return TypeError(f"{name} must be an integer, not {value!r}")
    return OverflowError(
        f"{name}={value} takes the counter beyond 64 bits with a sign; use Shared for larger numbers"
    )
