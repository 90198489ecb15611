"""Waiting for one of several descriptors, of which one may be left out for a while by another thread.

Who reads a descriptor instead of the sleeper leaves it out (``rest``) and need not
put it back: an alarm wakes the sleeper after `REST` seconds, who then does
(``listen``). So several reads in a row cost the sleeper nothing, and no system call.
"""

from __future__ import annotations

import select
from contextlib import suppress
from typing import TYPE_CHECKING

from workpool._compat import LINUX

if TYPE_CHECKING:
    from collections.abc import Sequence

if TYPE_CHECKING or LINUX:
    from workpool.ipc.alarm import Alarm, have_alarms

__all__ = ["CAN_SHARE", "LONGEST", "REST", "Watch"]

# Linux lets one thread change what another is waiting for; elsewhere nobody but the waiter may.
CAN_SHARE = LINUX and hasattr(select, "epoll") and have_alarms()
REST = 0.005  # seconds; less than a timer's tick of the kernel costs more to set
LONGEST = 1_000_000.0  # seconds of one wait: the system counts milliseconds in an int


class Watch:
    """Descriptors that one thread waits for.

    Whoever calls ``rest`` and ``listen`` sees to it that nobody else does so meanwhile.
    While a descriptor is left out, the alarm is set, or the sleeper is awake.

    Raises
    ------
    OSError
        The system has no descriptor to give.
    """

    __slots__ = ("_alarm", "_epoll", "_poll", "resting")

    def __init__(self, readable: list[int]) -> None:
        self.resting = -1  # the descriptor that is left out
        self._epoll = select.epoll() if CAN_SHARE else None
        self._poll = None if CAN_SHARE else select.poll()
        self._alarm: Alarm | None = None
        if self._epoll is not None:
            try:
                self._alarm = Alarm()
                self.heed(self._alarm.fd)
            except BaseException:
                self.close()
                raise
        for fd in readable:
            self.heed(fd)

    def heed(self, fd: int) -> None:
        """Wait for the descriptor to become readable."""
        if self._epoll is not None:
            self._epoll.register(fd, select.EPOLLIN)
        elif self._poll is not None:
            self._poll.register(fd, select.POLLIN)

    def ignore(self, fd: int) -> None:
        """Wait for it no more; on Linux also while another thread is waiting."""
        if self._epoll is not None:
            self._epoll.unregister(fd)
        elif self._poll is not None:
            self._poll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Wait for it no more, nor listen to it again; it may be left out, or forgotten already."""
        if fd == self.resting:
            self.resting = -1
            return
        with suppress(OSError, KeyError):
            self.ignore(fd)

    def rest(self, fd: int) -> None:
        """Leave a descriptor out for a while: the caller reads it. Only where `CAN_SHARE`."""
        assert self._alarm is not None
        if self.resting < 0:
            self._alarm.set(REST)
            self.resting = fd
            self.ignore(fd)

    def listen(self) -> None:
        """Wait again for what was left out."""
        fd = self.resting
        if fd >= 0:
            self.heed(fd)
            self.resting = -1

    def wait(self, seconds: float | None, *, room_on: Sequence[int] = ()) -> set[int]:
        """Give the descriptors that are ready, none after so many seconds; of ``room_on`` those with room in them.

        None is given, too, when the alarm has rung.
        """
        if seconds is not None:
            seconds = min(seconds, LONGEST)  # who waits looks at the clock, and comes again
        if self._epoll is not None:
            for fd in room_on:
                self._epoll.register(fd, select.EPOLLOUT)
            try:
                ready = {fd for fd, _ in self._epoll.poll(seconds)}
            finally:
                for fd in room_on:
                    self._epoll.unregister(fd)
            assert self._alarm is not None
            if self._alarm.fd in ready:
                # A rest that begins at this very moment has no alarm. The sleeper is awake, though.
                self._alarm.stop()
                ready.discard(self._alarm.fd)
            return ready
        assert self._poll is not None
        for fd in room_on:
            self._poll.register(fd, select.POLLOUT)
        try:
            return {fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)}
        finally:
            for fd in room_on:
                self._poll.unregister(fd)

    def close(self) -> None:
        """Give back the descriptors this took."""
        if self._epoll is not None:
            self._epoll.close()
        if self._alarm is not None:
            self._alarm.close()
