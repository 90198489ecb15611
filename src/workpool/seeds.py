"""Random numbers that depend on the task alone: not on the workers, their number or their order.

The calls of ``submit`` and ``map`` on one seed are numbered as they are made. A task's own seed is
made of the seed, the number of its call and, in a map call, the position of its item.
So it is the same at each attempt, and whatever travels with it.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import count
from operator import index
from typing import Any

from workpool._compat import RLock
from workpool.situation import here

__all__ = ["Luck", "Seeds", "derived", "seeded"]


class Seeds:
    """A seed, and how many calls were made on it."""

    __slots__ = ("_calls", "_lock", "_unused", "seed")

    def __init__(self, seed: int) -> None:
        try:
            number = None if isinstance(seed, bool) else index(seed)  # numpy's integers, too
        except TypeError:
            number = None
        if number is None:
            message = f"seed is a whole number, or None; got {seed!r}"
            raise TypeError(message)
        self.seed = number
        # Guards _calls. A finalizer that submits, too, may strike where it is held.
        self._lock = RLock()
        self._calls = count()  # each step of it is one, whoever strikes
        self._unused: list[
            int
        ] = []  # numbers of calls that were refused; each step of it is one, too

    def __repr__(self) -> str:
        return repr(self.seed)

    def next_call(self) -> str:
        """Name the next call."""
        try:
            number = self._unused.pop()
        except IndexError:
            with self._lock:
                number = next(self._calls)
        return f"{self.seed}/{number}"

    def give_back(self, call: str) -> None:
        """Have the name of a call that was refused be that of the next one."""
        self._unused.append(int(call.rpartition("/")[2]))


def derived(call: str, position: int | None = None) -> int:
    """Make the seed of a task: 128 bits, which no two share but by chance."""
    name = call if position is None else f"{call}/{position}"
    return int.from_bytes(blake2b(name.encode(), digest_size=16).digest())


class Luck:
    """What a task can ask about chance."""

    __slots__ = ("_rng", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._rng: random.Random | None = None

    @property
    def rng(self) -> random.Random:
        """The task's own generator, the same one at each look."""
        if self._rng is None:
            self._rng = random.Random(self.seed)  # noqa: S311 - the same numbers again are the point
        return self._rng


@contextmanager
def seeded(seed: int, *, alone: bool, restore: bool) -> Generator[None]:
    """Let a task have its seed; where nobody else uses them, seed the generators of the process too.

    ``alone`` says that no other thread draws from ``random`` meanwhile, ``restore`` that
    somebody will afterwards.
    """
    situation = here.situation
    before = None
    if situation is not None:
        before, situation.luck = situation.luck, Luck(seed)
    states = _states() if restore else None
    if alone:
        _seed(seed)
    try:
        yield
    finally:
        if situation is not None:
            situation.luck = before
        if states is not None:
            _put_back(states)


def _numpys() -> Any:
    """Give numpy's generators, if numpy is loaded; it loads them itself only when they are asked for."""
    return importlib.import_module("numpy.random") if "numpy" in sys.modules else None


def _seed(seed: int) -> None:
    random.seed(seed)
    numpys = _numpys()
    if numpys is not None:
        # Another seed: the two are the same kind of generator, and would give the same numbers.
        other = blake2b(seed.to_bytes(16), digest_size=16, person=b"numpy").digest()
        numpys.seed([*other])


def _states() -> tuple[Any, Any]:
    numpys = _numpys()
    return random.getstate(), None if numpys is None else numpys.get_state()


def _put_back(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    if states[1] is not None:
        _numpys().set_state(states[1])
