"""Progress of map calls: counted when items are finished, shown by tqdm, by rich, or in plain text.

Loaded by the first map call that asks to be shown; tqdm and rich by the first that
asks for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from workpool.errors import Unsupported
from workpool.integrations.progress.line import is_terminal
from workpool.integrations.progress.meter import Display, Meter
from workpool.integrations.progress.snapshot import Progress
from workpool.naming import visible
from workpool.safelog import SafeLog

__all__ = ["Progress", "Showing", "watch"]

_log = SafeLog("workpool.progress")

Showing = bool | Literal["tqdm", "rich", "plain"] | Callable[[Progress], object]

# Each has a function `display(name, total)`.
_HOMES = {
    "plain": "workpool.integrations.progress.plain",
    "rich": "workpool.integrations.progress.with_rich",
    "tqdm": "workpool.integrations.progress.with_tqdm",
}


def watch(showing: Any, *, name: str, total: int | None) -> Meter | None:
    """Begin to show a map call; None if it is not to be shown, an error if it cannot be."""
    if showing is False or showing is None:
        return None
    if callable(showing):
        return Meter(_Called(showing), name=name, total=total)
    home = import_module(_home_of(showing))
    try:
        display: Display = home.display(visible(name), total)
    except Exception:
        # A bar is drawn as it is made, and there may be nothing to draw on. The map goes on.
        _log.exception("the display of %s cannot be opened, and shows nothing", name)
        return None
    return Meter(display, name=name, total=total)


def _home_of(showing: Any) -> str:
    kind = _fitting() if showing is True else showing
    if not isinstance(kind, str) or kind not in _HOMES:
        message = (
            f"progress is True, False, {', '.join(map(repr, _HOMES))}, or a callable that is given a "
            f"workpool.Progress; got {showing!r}"
        )
        raise ValueError(message)
    if kind != "plain" and find_spec(kind) is None:
        message = (
            f"progress={kind!r} needs the package {kind}, which is not installed: pip install "
            f'"workpool[{kind}]", or say progress="plain".'
        )
        raise Unsupported(message)
    return _HOMES[kind]


def _fitting() -> str:
    """Choose for ``progress=True``: a bar where one can move, a line now and then elsewhere."""
    notebook = "ipykernel" in sys.modules
    moves = notebook or is_terminal(sys.stderr)
    return "tqdm" if moves and find_spec("tqdm") is not None else "plain"


class _Called:
    """The display is the user's callable."""

    tick: float | None = None

    def __init__(self, call: Callable[[Progress], object]) -> None:
        self._call = call

    def show(self, progress: Progress) -> None:
        """Call it."""
        self._call(progress)

    def close(self, progress: Progress | None) -> None:
        """Call it for the last time, unless it has raised."""
        if progress is not None:
            self._call(progress)
