"""A block that cannot be mapped: its file is closed at once, and once."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from typing import NoReturn

import pytest

from workpool._compat import LINUX
from workpool.ipc import block, nameless

pytestmark = pytest.mark.skipif(not LINUX, reason="elsewhere a block is a region of the arena")


def make() -> object:
    return block.make(4096)


def find() -> object:
    """Take over the block of a process that is this one, as if it were another."""
    theirs = nameless.make("workpool-theirs")
    try:
        nameless.grow(theirs, 0, 4096)
        return block._find("theirs", os.getpid(), theirs, 4096)
    finally:
        os.close(theirs)


@pytest.mark.parametrize("call", [make, find])
def test_it_closes_its_file_once(
    call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed a second time, when the error is let go of, it would be the file of whoever has that number then."""
    numbers: list[int] = []

    def refuse(fd: int, offset: int, size: int) -> NoReturn:
        del offset, size
        numbers.append(fd)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(nameless, "map_part", refuse)
    with pytest.raises(OSError, match="Too many open files") as caught:
        call()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers[0])
    null = os.open(os.devnull, os.O_RDONLY)
    mine = null if null == numbers[0] else os.dup2(null, numbers[0], inheritable=False)
    try:
        del caught  # the error, and all that it held
        gc.collect()
        os.fstat(mine)
    finally:
        for fd in {null, mine}:
            os.close(fd)
