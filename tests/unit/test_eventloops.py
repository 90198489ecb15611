"""Waking coroutines: once for many, never overlooked, and harmless when the loop is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from workpool.eventloops import wakeup


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts who rings, and can have one of them interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.rung = 0
        self.interrupt = False

    def call_soon_threadsafe(  # type: ignore[override]  # as it is called, without the types of args
        self, callback: Callable[..., object], *args: Any, **how: Any
    ) -> Any:
        self.rung += 1
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt
        return super().call_soon_threadsafe(callback, *args, **how)


def test_many_wake_a_loop_once() -> None:
    """What is set before the loop comes round rings once, and all of it is found."""
    loop = CountingLoop()

    async def main() -> None:
        several = [wakeup() for _ in range(100)]
        assert all(one.set() for one in several)
        assert loop.rung == 1
        for one in several:
            await one
        late = wakeup()
        late.set()
        assert loop.rung == 2, "the next batch rings again"
        await late

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_an_interrupted_ring_is_made_up_for() -> None:
    """Ctrl-C in the middle of a ring does not silence the ones to come."""
    loop = CountingLoop()

    async def main() -> None:
        first, second = wakeup(), wakeup()
        loop.interrupt = True
        with suppress(KeyboardInterrupt):
            first.set()
        second.set()
        await second
        await first

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_a_closed_loop_is_told_and_nothing_raised() -> None:
    """set says that the loop is gone."""

    async def main() -> list[Any]:
        return [wakeup(), wakeup()]

    first, second = asyncio.run(main())
    assert not first.set()
    assert not second.set()


def test_a_wait_has_an_end() -> None:
    """wait gives up after so many seconds, and a set that comes later changes nothing."""

    async def main() -> None:
        never = wakeup()
        assert not await never.wait(0.001)
        never.set()
        await asyncio.sleep(0)
        soon = wakeup()
        soon.set()
        assert await soon.wait(30.0)

    asyncio.run(main())


def test_a_wakeup_needs_a_loop() -> None:
    """Outside of every loop there is nothing to wake."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        wakeup()
