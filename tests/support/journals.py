"""A function that notes how often each item ran, and a journal for its map calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from workpool import Pool, Results

__all__ = ["Runs", "lazily"]


def lazily(count: int) -> Iterator[int]:
    yield from range(count)


def run_once(folder: str, n: int) -> int:
    """Note in a folder that the item ran; every fifth fails at its first run."""
    path = os.path.join(folder, f"{n}")
    again = os.path.exists(path)
    with open(path, "a") as note:
        note.write("ran\n")
    if n % 5 == 4 and not again:
        raise ValueError(n)
    return n * n


class Runs:
    """A function that notes how often each item ran, and its journal."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run.sqlite"
        self._notes = folder / "notes"
        self._notes.mkdir()
        self.fn: Callable[[int], int] = partial(run_once, str(self._notes))

    def counts(self) -> dict[int, int]:
        """Tell how often each item has run so far."""
        return {int(note.name): note.read_text().count("ran") for note in self._notes.iterdir()}

    def map(self, pool: Pool, items: Iterable[int], **how: Any) -> Results[Any]:
        results: Results[Any] = pool.map(
            self.fn, items, journal=self.path, return_exceptions=True, **how
        )
        return results
