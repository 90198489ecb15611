"""What the two kinds of map calls have in common: an input to be pulled, and those who wait for what comes of it.

The scheduler's lock guards all of it, but for the pulling itself, which runs the user's
iterator in the thread of whoever consumes (or joins). ``puller`` lets one thread at a
time do that.

How far a call of ``pull`` goes: to the end of the window, which is counted from what is consumed, or, for a join,
from what is settled. Before that, where the input turns out to be slow: the call that makes the map goes
on when something is on its way, a consumer when something can be fetched. And for nobody beyond ``until``,
a moment of ``monotonic()``, looked at between two items or batches of a quick input.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from workpool.scheduling.ledger import rouse
from workpool.scheduling.pace import TARGET
from workpool.situation import here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workpool.scheduling.guests import Meter, Scribe
    from workpool.scheduling.ledger import Epoch

__all__ = ["SLOW", "Puller", "Pulling"]

SLOW = TARGET / 8  # seconds for which the input may keep whoever pulls from what there is to do
Puller: TypeAlias = Literal["call", "consumer", "join"]


class Pulling:
    """A map call's input: how far it is pulled, settled and consumed."""

    def __init__(self, host: Any, *, window: int | None, ordered: bool, epoch: Epoch) -> None:
        self.host = host
        self.ordered = ordered
        self.epoch = epoch
        self.closed: bool = False
        self.unseen = False  # nobody has its results any more
        self.reason: BaseException | None = None  # why it ended early, until the consumer is told
        self.input_failed = (
            False  # whether the reason is an error of the input, which it raised to who pulled it
        )
        self.pulled: int = 0  # items accepted
        self.settled: int = 0  # items with an outcome, or dropped
        self.consumed: int = 0  # items whose outcome was fetched
        self.listeners: list[Callable[[], object]] = []  # each wakes a consumer; twice does no harm
        self.watchers: list[Any] = []  # held locks of joins that pull, released at each piece
        self.meter: Meter | None = None
        self.scribe: Scribe | None = None
        self.puller: object = None  # stands for the call of pull that has the input
        self._source: Iterator[Any] | None = None  # what is still to be pulled
        self._window: int | None = window

    @property
    def exhausted(self) -> bool:
        """Whether all input is pulled."""
        return self._source is None

    @property
    def complete(self) -> bool:
        """Whether no outcome is still to come."""
        return (self._source is None or self.closed) and self.settled == self.pulled

    @property
    def finished(self) -> bool:
        """Whether nothing more will come: all pulled, all fetched; or closed."""
        return self.closed or (self._source is None and self.consumed == self.pulled)

    # A join waits until all input is pulled, and so would the input that joins: for the very call of ``pull``
    # in which it runs. Whose input is pulled is known by the thread, for the input may call from as deep as it
    # likes, and several pulls may stand inside one another; each gives back what it found.

    def begin_pulling(self, who: object) -> bool:
        """Let one call have the input; False if another has.

        A lock would not do: Ctrl-C may come between its acquisition and the ``try`` after it. To give it back is to
        put ``puller`` to None, and ``here.pulls_for`` to what it was, first thing in the ``finally`` of the call:
        where no call comes before, nothing strikes before.
        """
        with self.host.lock:
            if self.puller is not None:
                return False
            self.puller = who
        here.pulls_for = (*here.pulls_for, self)
        return True

    def end_pulling(self) -> None:
        """Have it known that the input is free again, which the caller has seen to; without the lock."""
        with self.host.lock:
            self.tell_watchers()  # a join that found the input taken looks again
            if self.listeners and self.could_pull("consumer"):
                self.tell()  # and a consumer, whom this call left something to pull
        self.host.sweep()

    def ahead(self, by: Puller) -> int:
        """How many items are pulled and not consumed (or, for a join, not settled)."""
        return self.pulled - (self.settled if by == "join" else self.consumed)

    def is_enough(self, by: Puller, now: float, until: float | None, *, slow: bool) -> bool:
        """Tell whether to leave the rest of the window for later; looked at without the lock, as a hint."""
        if until is not None and now >= until:
            return True
        return slow and ((by == "call" and self.pulled > 0) or (by == "consumer" and self.has_next))

    @property
    def has_next(self) -> bool:
        """Whether there is something to fetch."""
        raise NotImplementedError

    def window(self) -> int | None:
        """How many items may be pulled ahead of the consumer; None is no bound."""
        return self._window

    def could_pull(self, by: Puller = "join") -> bool:
        """Tell whether there is input to pull right now; lock held."""
        if self._source is None or self.puller is not None:
            return False
        window = self.window()
        return window is None or self.ahead(by) < window

    def restore(self, items: list[Any], *, last: bool) -> dict[int, Any]:
        """Ask what is kept of these items; the call ends if that cannot be told."""
        assert self.scribe is not None
        try:
            return self.scribe.restore(self.pulled, items, last=last)
        except BaseException as error:
            with self.host.lock:
                if self.closed or self._source is None:  # and its journal with it, under our feet
                    return {}
                self.close(error)
                self.input_failed = True
            raise

    def close(self, reason: BaseException | None = None) -> None:
        """Cancel what has not started; lock held."""
        raise NotImplementedError

    def cut_off(self, reason: BaseException) -> None:
        """Pull no more input, for a reason that the consumer is told when it gets there; lock held."""
        if self._source is not None:
            self.reason = reason
            self.end_of_source()

    def fail_input(self, error: BaseException) -> None:
        """Pull no more input, because it raised: that is no end of the results in silence; lock held."""
        if self._source is None:
            return  # it was cut off meanwhile, for another reason
        reason = error
        if not isinstance(error, Exception):
            # Ctrl-C, say: that is for the thread which it struck, and not for another that consumes.
            # Of its text nothing: it is user code, and the lock is held.
            reason = CancelledError(
                f"the input of this map call was cut short after {self.pulled} items, by {type(error).__name__}; "
                "their results were given"
            )
        self.cut_off(reason)
        self.input_failed = True

    def end_of_source(self) -> None:
        """Note that all input is pulled; lock held."""
        if self._source is None:
            return
        self.host.litter.append(self._source)
        self._source = None
        self.epoch.open_jobs.remove(self)
        self.host.dismiss(self.epoch, 0)
        self.tell()
        self.tell_watchers()
        if self.meter is not None:
            self.meter.know_total(self.pulled)
            if self.settled == self.pulled:
                self.meter.end()
        if self.scribe is not None:
            self.scribe.look()

    def tell(self) -> None:
        """Wake the consumers; lock held."""
        if self.listeners:
            for listener in self.listeners:
                listener()
            self.listeners.clear()  # only now: whoever is interrupted above has not forgotten anyone

    def listen(self, listener: Callable[[], object]) -> bool:
        """Have a consumer woken when there may be more for it; False if it can pull instead; lock held."""
        if self.could_pull("consumer"):
            return False
        self.listeners.append(listener)
        return True

    def tell_watchers(self) -> None:
        """Wake the joins that wait for input they may pull; lock held."""
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            rouse(watcher)
