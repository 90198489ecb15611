"""Waiting for one of several descriptors, of which some may be left out for a while by another thread."""

from __future__ import annotations

import select

__all__ = ["CAN_SHARE", "LONGEST", "Watch"]

# Linux lets one thread change what another is waiting for; elsewhere nobody but the waiter may.
CAN_SHARE = hasattr(select, "epoll")
LONGEST = 1_000_000.0  # seconds of one wait: the system counts milliseconds in an int


class Watch:
    """Descriptors that one thread waits for."""

    __slots__ = ("_epoll", "_poll")

    def __init__(self, readable: list[int]) -> None:
        self._epoll = select.epoll() if CAN_SHARE else None
        self._poll = None if CAN_SHARE else select.poll()
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

    def wait(self, seconds: float | None, *, room_on: int = -1) -> set[int]:
        """Give the descriptors that are ready, none after so many seconds; ``room_on`` when it can be written to."""
        if seconds is not None:
            seconds = min(seconds, LONGEST)  # who waits looks at the clock, and comes again
        if self._epoll is not None:
            if room_on >= 0:
                self._epoll.register(room_on, select.EPOLLOUT)
            try:
                return {fd for fd, _ in self._epoll.poll(seconds)}
            finally:
                if room_on >= 0:
                    self._epoll.unregister(room_on)
        assert self._poll is not None
        if room_on >= 0:
            self._poll.register(room_on, select.POLLOUT)
        try:
            return {fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)}
        finally:
            if room_on >= 0:
                self._poll.unregister(room_on)

    def close(self) -> None:
        """Give back the descriptor this took."""
        if self._epoll is not None:
            self._epoll.close()
