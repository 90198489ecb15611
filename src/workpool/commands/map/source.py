"""Where the items come from: lines of a file or of stdin, or paths; and which are on their way."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self, TextIO

from workpool.commands.map.stdin import opened

if TYPE_CHECKING:
    import argparse

__all__ = ["Source", "unreadable"]

_short = reprlib.Repr()
_short.maxstring = 60  # characters of an item in a message

BOM = "\ufeff"  # with which some programs begin a file, to say that it is UTF-8


class Source:
    """The items, of which those on their way are remembered for what there is to tell of them."""

    def __init__(
        self, given: list[str] | TextIO, *, skip_empty: bool = False, close: bool = False
    ) -> None:
        self._file = given if close and not isinstance(given, list) else None
        self._under_way: dict[int, str] = {}
        self.taken = False  # something was asked for
        self.broken: str | None = None  # why the file was not read to its end
        if isinstance(given, list):
            self._under_way.update(enumerate(given))
            self.items: Iterable[str] = given
        else:
            self.items = self._remembered(_lines(given, skip_empty=skip_empty))

    @classmethod
    def of(cls, arguments: argparse.Namespace, stdin: TextIO | None) -> Source:
        """Open what the command line names; stdin is there if the items are its lines."""
        if arguments.files is not None:
            return cls(list(arguments.files))
        if stdin is not None:
            return cls(stdin, skip_empty=arguments.jsonl)
        return cls(opened(arguments.input), skip_empty=arguments.jsonl, close=True)

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
        try:
            for position, item in enumerate(items):
                self.taken = True
                self._under_way[position] = item
                yield item
        except OSError as error:  # the input ends here: what came before is done all the same
            self.broken = f"the input cannot be read: {error.strerror or error}"


def _lines(file: TextIO, *, skip_empty: bool) -> Iterator[str]:
    """Give the lines without their ends, of either kind; a carriage return elsewhere is part of the line."""
    first = True
    for line in file:
        text = line
        if first:
            first = False
            text = line.removeprefix(BOM)
            if not text:
                continue  # the mark alone: there is no line
        if not skip_empty or text.strip():
            yield text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def unreadable(error: OSError) -> str:
    """Tell of a file that cannot be opened."""
    return f"--input: {error.filename}: {error.strerror}"
