"""Stdin belongs to the items.

A function that reads stdin, or starts a program that does (ssh, ffmpeg), would take lines that are
items. It finds nothing there: its descriptor leads nowhere meanwhile, which programs and worker
processes inherit. The items come in by a copy of it that nobody inherits.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["kept_for_items", "opened"]


@contextmanager
def kept_for_items() -> Generator[TextIO]:
    """Give what the items are read from; all others find stdin at its end."""
    stream = sys.stdin
    try:
        known = stream.fileno()
    except (AttributeError, OSError, ValueError):  # no file: a test's, or a program's own
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
        yield stream
        return
    with ExitStack() as at_the_end:
        items = at_the_end.enter_context(opened(os.dup(known)))
        with open(os.devnull, "rb") as nowhere:
            os.dup2(nowhere.fileno(), known)
        at_the_end.callback(_give_back, stream, known, items)
        yield items


def _give_back(stream: TextIO, known: int, items: TextIO) -> None:
    if not stream.closed:  # else a function has closed it, and the number may be another file's
        os.dup2(items.fileno(), known)


def opened(file: str | int) -> TextIO:
    """Open what has lines that are items."""
    return open(file, encoding="utf-8", errors="surrogateescape", newline="\n")
