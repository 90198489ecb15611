"""Telling a worker that is held between two calls from one that what it was sent is still on its way to."""

from __future__ import annotations

from time import monotonic

__all__ = ["HELD_AFTER", "Held"]

HELD_AFTER = 0.5  # seconds in which a worker that answers begins what it was sent whole


class Held:
    """What is known of one worker that has not begun its next call; every call is made with its turn."""

    __slots__ = ("_after", "_number", "_ran", "_since", "asked", "away")

    def __init__(self) -> None:
        self.asked = False  # to give that call back, and has not answered
        self.away = False  # it gave it back, and has not said that it is ready
        self._number, self._since = -1, 0.0  # of the call, and since when it could begin
        # Seconds it is given; twice as long each time in a row, in which so many calls were finished.
        self._after, self._ran = HELD_AFTER, -1

    def look(self, number: int, ran: int, *, sent: bool) -> bool:
        """Tell whether that call is to run elsewhere: it was sent whole, and has not begun for long.

        Large as it is, it may take the worker long to read, and would no other less: so what is moved
        is given twice as long the next time, until a call is finished.
        """
        now = monotonic()
        if number != self._number or not sent:
            self._number, self._since = number, now
            return False
        if ran != self._ran:
            self._ran, self._after = ran, HELD_AFTER
        if now < self._since + self._after:
            return False
        self._number, self._after = -1, 2 * self._after
        return True
