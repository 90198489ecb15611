"""``async with Pool(...)``: the end of the block waits without blocking the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from workpool.scheduling.scheduler import Scheduler

__all__ = ["Entering"]


class Entering:
    """A pool as an asynchronous context manager, in asyncio and trio."""

    _scheduler: Scheduler

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more; the pool's affair."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        from workpool.eventloops import call_beside, is_cancellation

        scheduler = self._scheduler
        if exc_type is not None and is_cancellation(exc_type):
            self.shutdown(wait=False, cancel_futures=True)
            return
        if exc_type is not None:
            scheduler.close()  # what was not pulled is not wanted any more
        scheduler.refuse_inside("shutdown")
        try:
            with scheduler.waiting_here():
                await call_beside(self.shutdown)
        except BaseException as error:
            # Or no thread could be had to wait in: closed at least, so that the workers end.
            self.shutdown(wait=False, cancel_futures=is_cancellation(type(error)))
            raise
