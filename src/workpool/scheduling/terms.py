"""The terms of a call: what ``options(...)`` sets and a task carries."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from workpool.errors import WorkerLost, brief
from workpool.plain import plain

if TYPE_CHECKING:
    from workpool.contexts import Wanted
    from workpool.seeds import Seeds

__all__ = [
    "NAMES",
    "Terms",
    "changed",
    "endless_is_none",
    "no_sooner_than_zero",
    "positive_or_none",
    "seeds_of",
    "text_or_none",
]

_MOST_DOUBLINGS = 32  # of a pause between attempts: some hundred years, whatever it began with


def seeds_of(seed: int | None) -> Seeds | None:
    """Make what numbers the calls on a seed, if there is one."""
    if seed is None:
        return None
    from workpool.seeds import Seeds

    return Seeds(seed)


def endless_is_none(seconds: Any) -> Any:
    """Take a limit that no clock can reach for no limit; other values as they are."""
    seconds = plain(seconds)
    if isinstance(seconds, (int, float)) and seconds > threading.TIMEOUT_MAX:
        return None
    return seconds


def _within_clocks(seconds: Any) -> Any:
    """Take what no clock can reach for the longest that one can; other values as they are."""
    seconds = plain(seconds)
    if isinstance(seconds, (int, float)) and seconds > threading.TIMEOUT_MAX:
        return threading.TIMEOUT_MAX
    return seconds


def positive_or_none(name: str, seconds: Any) -> float | None:
    """Take a positive number of seconds or None, and what no clock can reach for None; refuse the rest."""
    value = endless_is_none(seconds)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"{name} is seconds as a number, or None; got {value!r}"
        raise TypeError(message)
    if not value > 0:
        message = f"{name} must be greater than 0 seconds, or None for no limit; got {value!r}"
        raise ValueError(message)
    return value


def no_sooner_than_zero(name: str, count: Any) -> int:
    """Take a whole number of 0 or more; refuse the rest."""
    value = plain(count)
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{name} is a whole number; got {value!r}"
        raise TypeError(message)
    if value < 0:
        message = f"{name} must be 0 or more; got {value}"
        raise ValueError(message)
    return value


def text_or_none(name: str, text: Any) -> str | None:
    """Take a string or None; refuse the rest."""
    value = plain(text)
    if value is not None and not isinstance(value, str):
        message = f"{name} is a string or None; got {value!r}"
        raise TypeError(message)
    return value


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a number of seconds, 0 or more."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"{name} is seconds as a number; got {value!r}"
        raise TypeError(message)
    if not value >= 0:
        message = f"{name} must be 0 seconds or more; got {value!r}"
        raise ValueError(message)


def _seconds(name: str, value: Any) -> float:
    check_seconds(name, value)
    seconds: float = value
    return seconds


def _seconds_or_none(name: str, value: Any) -> float | None:
    return None if value is None else _seconds(name, value)


def _whole(name: str, number: Any) -> int:
    value = plain(number)
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{name} is a whole number, the smaller the sooner; got {value!r}"
        raise TypeError(message)
    return value


def _error_types(name: str, given: object) -> tuple[type[BaseException], ...]:
    kinds = cast("tuple[object, ...]", given if isinstance(given, tuple) else (given,))
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        message = f"{name} is an exception type or a tuple of them; got {given!r}"
        raise TypeError(message)
    return cast("tuple[type[BaseException], ...]", kinds)


def _checked_context(wanted: Any) -> Wanted:
    if wanted is False:  # what nearly every pool says: no need to load what knows about contexts
        return False
    from workpool.contexts import checked

    return checked(wanted)


def _amounts(name: str, given: object) -> Mapping[str, float]:
    if given is None:
        return _NOTHING
    if not isinstance(given, Mapping):
        message = f"{name} says of each resource how much, such as {{'GPU': 1}}; got {given!r}"
        raise TypeError(message)
    amounts: dict[Any, Any] = dict(cast("Mapping[object, object]", given))
    for resource, amount in amounts.items():
        fits = isinstance(amount, (int, float)) and not isinstance(amount, bool) and amount >= 0
        if not isinstance(resource, str) or not fits:
            message = (
                f"{name} says of each resource how much, such as {{'GPU': 1}}; got {amounts!r}"
            )
            raise TypeError(message)
        try:
            resource.encode()
        except UnicodeEncodeError:
            message = f"{name} has a name that is no text, which no engine can send: {resource!r}"
            raise ValueError(message) from None
    return MappingProxyType(amounts)


_NOTHING: Mapping[str, float] = MappingProxyType({})


class Terms:
    """What a call may ask for; one object is shared by all calls on the same terms, and never changed."""

    __slots__ = (
        "backoff",
        "context",
        "grace",
        "name",
        "priority",
        "queue_timeout",
        "resources",
        "retries",
        "retry_on",
        "seeds",
        "time_limit",
    )

    def __init__(
        self,
        *,
        time_limit: float | None = None,
        grace: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] = (WorkerLost,),
        backoff: float = 0.0,
        priority: int = 0,
        name: str | None = None,
        queue_timeout: float | None = None,
        resources: Mapping[str, float] | None = None,
        context: Any = False,
        seeds: Seeds | None = None,
    ) -> None:
        self.time_limit = positive_or_none("time_limit", time_limit)
        self.grace = _seconds_or_none("grace", _within_clocks(grace))
        self.retries = no_sooner_than_zero("retries", retries)
        self.retry_on = _error_types("retry_on", retry_on)
        self.backoff = _seconds("backoff", _within_clocks(backoff))
        self.priority = _whole("priority", priority)
        self.name = text_or_none("name", name)
        self.queue_timeout = _seconds_or_none("queue_timeout", endless_is_none(queue_timeout))
        self.resources = _amounts("resources", resources)
        self.context = _checked_context(context)
        self.seeds = seeds

    @property
    def carries(self) -> bool:
        """Whether something goes along with each call."""
        return bool(self.context) or self.seeds is not None

    def shown(self) -> list[str]:
        """Show those that are not as they are by themselves."""
        here, usual = _all_of(self), _all_of(_USUAL)
        here["resources"] = dict(self.resources)  # as they were given
        return [f"{name}={value!r}" for name, value in here.items() if value != usual[name]]

    def retries_after(self, error: BaseException, attempts: int) -> bool:
        """Tell whether a call that failed so, at its ``attempts``-th attempt, runs again."""
        if attempts > self.retries:
            return False
        try:
            return isinstance(error, self.retry_on)
        except (
            BaseException
        ) as failure:  # a metaclass of the user's: with no answer there is no other attempt
            _note_failure(error, failure)
            return False

    def said_of_a_death(self, attempts: int) -> str:
        """Say of a call whose worker died at its ``attempts``-th attempt what retries would do for it, or have done."""
        left_out = not any(kind in self.retry_on for kind in WorkerLost.__mro__)
        if not self.retries:
            terms = "retries=1, with WorkerLost in retry_on," if left_out else "retries=1"
            return f"{terms} would run this one again"
        if left_out:
            return "retry_on leaves WorkerLost out, so it is not run again"
        return f"that was attempt {attempts} of at most {self.retries + 1}"

    def pause_before(self, attempt: int) -> float:
        """Give the seconds to wait before the next attempt: backoff, doubled each time."""
        return self.backoff * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS) if self.backoff else 0.0


def _note_failure(error: BaseException, failure: BaseException) -> None:
    """Say in an error's notes why it was the last; if Ctrl-C struck there, have it heard."""
    from workpool.calm import is_ctrl_c, ring_again

    if is_ctrl_c(failure):
        ring_again(failure)
        return
    text = f"It was not tried again: to ask whether it is one of retry_on raised {brief(failure)}"
    with suppress(Exception):  # what notes it has are whatever the user's code put there
        BaseException.add_note(error, text)


# As ``options`` takes them.
_IN_ORDER = tuple(Terms.__init__.__kwdefaults__ or ())


def _all_of(terms: Terms) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in _IN_ORDER}


_USUAL = Terms()

#: What ``options`` takes.
NAMES = frozenset(_IN_ORDER) - {"seeds"} | {"seed"}


def changed(terms: Terms, **given: Any) -> Terms:
    """Give the terms with those set anew, and checked, that are not None."""
    new = {term: what for term, what in given.items() if what is not None}
    return Terms(**_all_of(terms) | new) if new else terms
