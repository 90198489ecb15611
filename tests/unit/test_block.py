"""A block: who can still give it, and that its file is closed once where it cannot be mapped."""

from __future__ import annotations

import errno
import gc
import os
import pickle
from collections.abc import Callable
from multiprocessing import get_context
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
        place = os.getpid(), theirs
        return block._find("theirs", place, 4096, place)
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


def test_its_maker_gives_it_when_who_passed_it_on_has_ended() -> None:
    """What a worker has put into a queue or a shared value is there as long as its maker keeps it."""
    fork = get_context("fork")
    made = block.make(4096)
    made.view[0] = 42
    answers = fork.SimpleQueue()

    def pass_on(pickled: bytes) -> None:
        block._blocks.clear()  # as a process that was not forked from its maker
        passed = pickle.loads(pickled)
        answers.put((passed is not made, passed.view[0], pickle.dumps(passed)))

    pickled = pickle.dumps(made)
    for _ in range(3):  # each has it from the one before, which has ended
        process = fork.Process(target=pass_on, args=(pickled,))
        process.start()
        process.join(30)
        assert process.exitcode == 0
        another, first, pickled = answers.get()
        assert another
        assert first == 42
    answers.close()
