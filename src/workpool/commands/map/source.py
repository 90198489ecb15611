"""Where the items come from: lines of a file or of stdin, or paths; and which are on their way."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    import argparse

__all__ = ["Source", "unreadable"]

_short = reprlib.Repr()
_short.maxstring = 60  # characters of an item in a message


class Source:
    """The items, of which those on their way are remembered for what there is to tell of them."""

    def __init__(self, items: Iterable[str], file: TextIO | None = None) -> None:
        self._file = file  # to be closed
        self._under_way: dict[int, str] = {}
        self.taken = False  # something was asked for
        if isinstance(items, list):
            self._under_way.update(enumerate(items))
            self.items: Iterable[str] = items
        else:
            self.items = self._remembered(items)

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Source:
        """Open what the command line names."""
        if arguments.files is not None:
            return cls(list(arguments.files))
        if arguments.input == "-":
            reconfigure: Any = getattr(sys.stdin, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(encoding="utf-8", errors="surrogateescape")
            return cls(_lines(sys.stdin, skip_empty=arguments.jsonl))
        file = open(arguments.input, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - closed with the source
        return cls(_lines(file, skip_empty=arguments.jsonl), file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def forget(self, position: int) -> str:
        """Give an item for a message, for the last time."""
        self.taken = True
        return _short.repr(self._under_way.pop(position))

    def _remembered(self, items: Iterable[str]) -> Iterator[str]:
        for position, item in enumerate(items):
            self.taken = True
            self._under_way[position] = item
            yield item


def _lines(file: TextIO, *, skip_empty: bool) -> Iterator[str]:
    for line in file:
        if not skip_empty or line.strip():
            yield line.removesuffix("\n")


def unreadable(error: OSError) -> str:
    """Tell of a file that cannot be opened."""
    return f"--input: {error.filename}: {error.strerror}"
