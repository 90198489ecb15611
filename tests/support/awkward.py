"""Things that make trouble on their way to a process or back: when they are pickled, unpickled, or merely shown."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NoReturn

__all__ = [
    "BadText",
    "ComesApart",
    "FailsToPickle",
    "FailsToState",
    "Frozen",
    "HidesTrace",
    "HugeText",
    "NoNotes",
    "NoTraceback",
    "NotFound",
    "NotHere",
    "PicklesOnce",
    "RebuildsBadly",
    "Redacted",
    "SetsNothing",
    "Slotted",
    "Unaskable",
    "comes_apart",
    "give",
    "give_or_keep",
    "nested",
    "raise_it",
    "take",
]


class BadText(Exception):
    """An error that cannot be shown: its text and its form raise."""

    def __str__(self) -> str:
        raise LookupError("no text")

    def __repr__(self) -> str:
        raise LookupError("no form")


class Unspeakable(BaseException):
    """Says nothing of itself, in no way."""

    def __repr__(self) -> str:
        message = "no text"
        raise RuntimeError(message)

    __str__ = __repr__


class UnspeakableEnd(Unspeakable, StopIteration):
    """The same, and may be taken for the end of an iteration."""


class HugeText(Exception):
    """An error whose text has no end to speak of."""

    def __str__(self) -> str:
        return "x" * 50_000_000

    __repr__ = __str__


@dataclass(frozen=True)
class Frozen(Exception):
    """An error that lets nothing be set, not even where it was raised."""

    code: int


class SetsNothing(Exception):
    """An error that ends whoever sets something of it."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise SystemExit(name)


class HidesTrace(Exception):
    """An error that raises when it is asked where it was raised, or why."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"__traceback__", "__cause__", "__context__"}:
            raise LookupError(name)
        return super().__getattribute__(name)


class NoTraceback(Exception):
    """An error that takes no traceback."""

    def with_traceback(self, _: object) -> NoReturn:
        raise LookupError("no traceback")


class NoNotes(Exception):
    """An error that takes no notes."""

    def add_note(self, _: object) -> NoReturn:
        raise LookupError("no notes")

    __notes__: Any = ()


class _Unanswering(type):
    def __instancecheck__(cls, _: object) -> NoReturn:
        raise LookupError("no answer")


class Unaskable(Exception, metaclass=_Unanswering):
    """A kind of errors that does not tell which are of it."""


class FailsToPickle:
    """Raises what it holds when it is pickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> NoReturn:
        raise self.error


class FailsToState:
    """Raises in ``__getstate__``."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getstate__(self) -> NoReturn:
        raise self.error


class PicklesOnce:
    """Arrives as a 0, and raises when it is pickled a second time."""

    def __init__(self) -> None:
        self.pickled = False

    def __reduce__(self) -> tuple[type[int], tuple[()]]:
        if self.pickled:
            raise ValueError("once is enough")
        self.pickled = True
        return int, ()


class RebuildsBadly:
    """Pickles well and raises in ``__setstate__``."""

    def __init__(self, kind: type[BaseException], *args: object) -> None:
        self.raises = kind, args

    def __setstate__(self, state: dict[str, Any]) -> NoReturn:
        kind, args = state["raises"]
        raise kind(*args)


class ComesApart(Exception):
    """An error that raises when it is unpickled in any process but the one that made it."""

    def __init__(self, pid: int) -> None:
        if pid != os.getpid():
            raise BadText
        super().__init__(pid)

    def __reduce__(self) -> tuple[type[ComesApart], tuple[int]]:
        return ComesApart, (self.args[0],)


def comes_apart() -> ComesApart:
    return ComesApart(os.getpid())


class NotHere:
    """A value that raises when it is unpickled in any process but the one that made it."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.state = kind, os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        kind, pid = state["state"]
        if pid != os.getpid():
            raise kind
        self.__dict__.update(state)


def nested(depth: int) -> list[Any]:
    """Make a list in a list, and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def give(make: Any, *args: Any) -> Any:
    """Make a value in the worker and return it."""
    return make(*args)


def give_or_keep(make: Any, args: tuple[Any, ...], bad: int, n: int) -> Any:
    """Return a value made here for one item, and the item for others."""
    return make(*args) if n == bad else n


def raise_it(make: Any, args: tuple[Any, ...], bad: int, n: int) -> Any:
    """Raise an error made here for one item, and return others."""
    if n == bad:
        raise make(*args)
    return n


def take(value: object) -> str:
    return type(value).__name__


class NotFound(Exception):
    """Makes its text of something else than that."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no such user: {name}")
        self.name = name


class Redacted(Exception):
    """Makes its text of what it does not tell to others."""

    def __init__(self, secret: str) -> None:
        super().__init__(f"refused: {secret}")

    def __reduce__(self) -> tuple[type[Redacted], tuple[str]]:
        return Redacted, ("(redacted)",)


class Slotted(Exception):
    """Holds something where no copy of its attributes has it."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> tuple[type[Slotted], tuple[int]]:
        return Slotted, (self.code,)
