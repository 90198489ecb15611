"""The terms of a call: what ``options(...)`` sets and a task carries."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import attrs

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


def positive_or_none(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is not a positive number of seconds or None."""
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"{attribute.name} is seconds as a number, or None; got {value!r}"
        raise TypeError(message)
    if not value > 0:
        message = (
            f"{attribute.name} must be greater than 0 seconds, or None for no limit; got {value!r}"
        )
        raise ValueError(message)


def no_sooner_than_zero(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is not a whole number of 0 or more."""
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{attribute.name} is a whole number; got {value!r}"
        raise TypeError(message)
    if value < 0:
        message = f"{attribute.name} must be 0 or more; got {value}"
        raise ValueError(message)


def check_seconds(name: str, value: object) -> None:
    """Refuse what is not a number of seconds, 0 or more."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        message = f"{name} is seconds as a number; got {value!r}"
        raise TypeError(message)
    if not value >= 0:
        message = f"{name} must be 0 seconds or more; got {value!r}"
        raise ValueError(message)


def _seconds(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    check_seconds(attribute.name, value)


def _seconds_or_none(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _seconds(instance, attribute, value)


def _text_or_none(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, str):
        message = f"{attribute.name} is a string or None; got {value!r}"
        raise TypeError(message)


def _whole(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"{attribute.name} is a whole number, the smaller the sooner; got {value!r}"
        raise TypeError(message)


def _error_types(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in value):
        given = value if len(value) > 1 else value[0]  # and put into a tuple by _as_tuple
        message = f"{attribute.name} is an exception type or a tuple of them; got {given!r}"
        raise TypeError(message)


def _as_tuple(
    value: type[BaseException] | tuple[type[BaseException], ...],
) -> tuple[type[BaseException], ...]:
    return value if isinstance(value, tuple) else (value,)


def _checked_context(wanted: Any) -> Wanted:
    if wanted is False:  # what nearly every pool says: no need to load what knows about contexts
        return False
    from workpool.contexts import checked

    return checked(wanted)


def _amounts(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    for name, amount in value.items():
        fits = isinstance(amount, (int, float)) and not isinstance(amount, bool) and amount >= 0
        if not isinstance(name, str) or not fits:
            message = f"{attribute.name} says of each resource how much, such as {{'GPU': 1}}; got {dict(value)!r}"
            raise TypeError(message)
        try:
            name.encode()
        except UnicodeEncodeError:
            message = (
                f"{attribute.name} has a name that is no text, which no engine can send: {name!r}"
            )
            raise ValueError(message) from None


def _as_amounts(value: Any) -> Any:
    if value is None:
        return _NOTHING
    if not isinstance(value, Mapping):
        message = f"resources says of each resource how much, such as {{'GPU': 1}}; got {value!r}"
        raise TypeError(message)
    return MappingProxyType(dict(cast("Mapping[str, float]", value)))


_NOTHING: Mapping[str, float] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Terms:
    """What a call may ask for; one object is shared by all calls on the same terms."""

    time_limit: float | None = attrs.field(
        default=None, converter=endless_is_none, validator=positive_or_none
    )
    grace: float | None = attrs.field(
        default=None, converter=_within_clocks, validator=_seconds_or_none
    )
    retries: int = attrs.field(default=0, converter=plain, validator=no_sooner_than_zero)
    retry_on: tuple[type[BaseException], ...] = attrs.field(
        default=(WorkerLost,), converter=_as_tuple, validator=_error_types
    )
    backoff: float = attrs.field(default=0.0, converter=_within_clocks, validator=_seconds)
    priority: int = attrs.field(default=0, converter=plain, validator=_whole)
    name: str | None = attrs.field(default=None, converter=plain, validator=_text_or_none)
    queue_timeout: float | None = attrs.field(
        default=None, converter=endless_is_none, validator=_seconds_or_none
    )
    resources: Mapping[str, float] = attrs.field(
        default=None, converter=_as_amounts, validator=_amounts
    )
    context: Wanted = attrs.field(default=False, converter=_checked_context)
    seeds: Seeds | None = None

    @property
    def carries(self) -> bool:
        """Whether something goes along with each call."""
        return bool(self.context) or self.seeds is not None

    def shown(self) -> list[str]:
        """Show those that are not as they are by themselves."""
        here = {field.name: getattr(self, field.name) for field in attrs.fields(Terms)}
        usual = {field.name: getattr(_USUAL, field.name) for field in attrs.fields(Terms)}
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


_USUAL = Terms()

#: What ``options`` takes.
NAMES = frozenset(field.name for field in attrs.fields(Terms)) - {"seeds"} | {"seed"}


def changed(terms: Terms, **given: Any) -> Terms:
    """Give the terms with those set anew, and checked, that are not None."""
    new = {term: what for term, what in given.items() if what is not None}
    return attrs.evolve(terms, **new) if new else terms
