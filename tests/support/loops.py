"""Event loops: one coroutine, run by asyncio, uvloop and trio alike, with a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import anyio
import pytest

from tests.support.gates import DEADLINE

__all__ = ["LOOPS", "cancelled_kinds", "run_in"]

R = TypeVar("R")

LOOPS = ("asyncio", "uvloop", "trio")

# libuv opens a pipe for signals with its first loop and keeps it: no leak of any test.
have_uvloop = find_spec("uvloop") is not None  # it is not made for every Python
if have_uvloop:
    try:
        import_module("uvloop").new_event_loop().close()
    except ImportError:  # in an interpreter that is a worker, which has no use for it
        have_uvloop = False


def run_in(loop: str, main: Callable[[], Awaitable[R]]) -> R:
    """Run a coroutine function to its end in a loop of that kind."""
    if loop == "uvloop" and not have_uvloop:
        pytest.skip("uvloop is not made for this Python")

    async def bounded() -> R:
        with anyio.fail_after(DEADLINE):
            return await main()

    options: dict[str, Any] = {"use_uvloop": True} if loop == "uvloop" else {}
    backend = "trio" if loop == "trio" else "asyncio"
    return anyio.run(bounded, backend=backend, backend_options=options)


def cancelled_kinds() -> tuple[type[BaseException], ...]:
    """Give what a coroutine can see when the task it awaits was cancelled by somebody else."""
    import asyncio
    from concurrent.futures import CancelledError

    return asyncio.CancelledError, CancelledError
