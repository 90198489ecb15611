"""The demo's job: find the files of a tree, and examine one of them.

`walk` runs in the thread that consumes the results, a folder at a time, so a
tree of millions of files is never held as a list. `examine` is the task: it
runs in whatever worker the backend has, and reads a file of any size in
constant memory.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Report", "examine", "walk"]

BLOCK = 1 << 20  # bytes read at once
SAMPLE = 8192  # bytes in which a file that is not text shows a zero byte


class Report(NamedTuple):
    """What a task found out about one file."""

    path: str
    size: int  # bytes
    words: int | None  # None where the file is not text
    sha256: str


def examine(path: str) -> Report:
    """Read one file: its size, its words if it is text, its SHA-256.

    Parameters
    ----------
    path : str
        Where it is.

    Returns
    -------
    Report
        What was found.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        return read_through(path, iter(lambda: file.read(BLOCK), b""))


def read_through(path: str, blocks: Iterator[bytes]) -> Report:
    """Count and sum up a file that comes in blocks, of which none is empty."""
    digest = hashlib.sha256()
    size = words = 0
    in_word = False  # the last block ended within a word
    is_text = True
    for block in blocks:
        digest.update(block)
        if not size:
            is_text = b"\0" not in block[:SAMPLE]
        if is_text:
            words += len(block.split())
            if in_word and not block[:1].isspace():
                words -= 1  # the same word, seen from both sides
            in_word = not block[-1:].isspace()
        size += len(block)
    return Report(path, size, words if is_text else None, digest.hexdigest())


def walk(
    root: str, failed: Callable[[OSError], object], *, skip: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Find the files of a tree, in a fixed order; links are not followed.

    Parameters
    ----------
    root : str
        The folder to begin with.
    failed : callable
        Hears of each folder that cannot be listed.
    skip : frozenset of str
        Paths of files and folders to leave out.

    Yields
    ------
    str
        The path of a regular file.
    """
    folders = [root]
    while folders:
        try:
            with os.scandir(folders.pop()) as listing:
                entries = sorted(
                    (entry for entry in listing if entry.path not in skip),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            failed(error)
            continue
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.path
        # The last to be put on the stack is the next to be listed.
        folders += [
            entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)
        ]
