"""What goes along with a call beside its arguments: context variables, and a seed.

Both are opt-in terms, and cost nothing when they are off: the function is then called as it is.
When one is on, the function is wrapped before the call is pickled or queued. A wrapper is
named and timed for the function in it (``func``), as a ``functools.partial`` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool.contexts import Arrived, Carried, taken
from workpool.naming import StandsFor
from workpool.seeds import derived, seeded

if TYPE_CHECKING:
    from workpool.scheduling.terms import Terms
    from workpool.task import Task

__all__ = ["Wrapped", "WrappedItems", "packer", "wrap_map"]

Pack = Callable[["Task[Any]"], None]


class Wrapped(StandsFor):
    """A function, and what is around it while it runs.

    Parameters
    ----------
    func : callable
        The function.
    context : Carried or Arrived or None
        Its context variables.
    call : str or None
        What its seed is made of.
    alone : bool
        No other thread of this process draws random numbers while it runs.
    restore : bool
        Others will afterwards, and shall find their generators as they were.
    """

    __slots__ = ("alone", "call", "context", "func", "restore")

    def __init__(
        self,
        func: Callable[..., Any],
        context: Carried | Arrived | None,
        call: str | None,
        *,
        alone: bool,
        restore: bool,
    ) -> None:
        self.func = func
        self.context = context
        self.call = call
        self.alone = alone
        self.restore = restore

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.func!r}>"

    @property
    def known_as(self) -> Callable[..., Any]:
        """What a journal is to know of it: function and seed."""
        return self.func if self.call is None else partial(self.func, self.call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, with all of that around it."""
        if self.call is None:
            return self._run(*args, **kwargs)
        with seeded(derived(self.call), alone=self.alone, restore=self.restore):
            return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        if self.context is None:
            return self.func(*args, **kwargs)
        return self.context.run(self.func, *args, **kwargs)

    def __reduce__(self) -> tuple[object, ...]:
        # A worker process runs one task at a time, and nobody else uses its generators.
        return _arrived, (type(self), self.func, self.context, self.call)


class WrappedItems(Wrapped):
    """The same for the items of a map call, which come with their positions."""

    __slots__ = ()

    def __call__(self, numbered: tuple[int, tuple[Any, ...]]) -> Any:
        """Call the function with the item, and the seed of its position."""
        position, args = numbered
        assert self.call is not None  # else there are no positions
        seed = derived(self.call, position)
        with seeded(seed, alone=self.alone, restore=self.restore):
            return self._run(*args)


def _arrived(
    kind: type[Wrapped], func: Callable[..., Any], context: Arrived | None, call: str | None
) -> Wrapped:
    return kind(func, context, call, alone=True, restore=False)


def packer(terms: Terms, pack: Pack | None, *, inline: bool) -> Pack | None:
    """Give what is to be done to a task at its submit: the backend's part, and ours if the terms ask for it."""
    if not terms.carries:
        return pack
    return partial(_wrap_task, terms, pack, inline)


def _wrap_task(terms: Terms, pack: Pack | None, inline: bool, task: Task[Any]) -> None:
    call = task._call
    assert call is not None  # it has not run
    fn, args, kwargs = call
    if not isinstance(fn, Wrapped):  # an item of a map call is wrapped already
        task._call = (_wrapped(Wrapped, fn, terms, inline=inline), args, kwargs)
    if pack is not None:
        pack(task)


def wrap_map(
    terms: Terms, fn: Callable[..., Any], items: Iterable[Any], *, star: bool, inline: bool
) -> tuple[Wrapped, Iterable[Any], bool]:
    """Give the function, the items, and whether these are the arguments, of a map call on such terms."""
    if terms.seeds is None:
        return _wrapped(Wrapped, fn, terms, inline=inline), items, star
    every: Iterable[Any] = items if star else ((item,) for item in items)
    return _wrapped(WrappedItems, fn, terms, inline=inline), enumerate(every), False


def _wrapped(kind: type[Wrapped], fn: Callable[..., Any], terms: Terms, *, inline: bool) -> Wrapped:
    context = taken(terms.context) if terms.context else None
    call = None if terms.seeds is None else terms.seeds.next_call()
    return kind(fn, context, call, alone=inline, restore=inline)
