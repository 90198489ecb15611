"""One Pool over threads and processes, one queue with task_done/join, shared state that is safe.

Names are loaded when first used, so that ``import workpool`` costs next to
nothing and loads no multiprocessing, asyncio, numpy or engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workpool.errors import WorkpoolError as WorkpoolError

__version__ = "0.1.0"

_HOME = {
    "WorkpoolError": "workpool.errors",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        message = f"module 'workpool' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOME})
