"""Callers of an engine's place, in an event loop of the test's own: each waits, ends or gives up when it says."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from tests.support.gates import DEADLINE
from workpool.shared.in_engines.place import Place

__all__ = ["Caller", "settled", "story"]

Story: TypeAlias = "Callable[[Caller, Caller, Caller], Coroutine[Any, Any, None]]"


class Caller:
    """One thread of one process: a life that may end."""

    def __init__(self, place: Place, name: str, thread: int = 1) -> None:
        self.place = place
        self.life = name
        self.owner = (name, ord(name[0]), thread)

    async def ask(self, thing: int, name: str, *arguments: Any) -> Any:
        """Make a call, as a handle does."""
        went_well, result = pickle.loads(
            await self.place.call(self.owner, thing, name, pickle.dumps(arguments))
        )
        if not went_well:
            raise result
        return result

    async def make(self, kind: str, *arguments: Any) -> int:
        """Make a thing."""
        number: int = await self.ask(-1, "make", kind, *arguments)
        return number

    async def waits(self, thing: int, name: str, *arguments: Any) -> asyncio.Task[Any]:
        """Make a call that has to wait, and see that it does."""
        task = asyncio.ensure_future(self.ask(thing, name, *arguments))
        await settled()
        assert not task.done()
        return task

    def end(self) -> None:
        """End the life."""
        self.place.ended(self.life)

    def another_thread(self) -> Caller:
        """Give another thread of the same process."""
        return Caller(self.place, self.life, self.owner[2] + 1)


async def settled() -> None:
    """Let every call go as far as it gets without anybody's help: a few turns of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


def story(told: Story) -> Callable[[], None]:
    """Run a test with three callers of one place."""

    def test() -> None:
        async def run() -> None:
            place = Place()
            callers = [Caller(place, name) for name in ("ann", "bob", "cid")]
            await asyncio.wait_for(told(callers[0], callers[1], callers[2]), DEADLINE)

        asyncio.run(run())

    test.__doc__ = told.__doc__
    return test
