"""Copies of a worker that a task makes by ``os.fork``, and what becomes of one that comes back from the task.

It would come back to where the worker does: its value would be the task's outcome, and after that it would serve as
a second worker at the same pipes. It ends there instead, as a child of ``multiprocessing`` does where its function
ends. One that ends by itself (``os._exit``, an ``exec``, all that ``multiprocessing`` starts) never gets there.

A copy has none of the worker's pipes from its first moment on, and not its journal: what would be written there is
an error, in the middle of a slice, too.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.journal import Journal
    from workpool.ipc.runner import Runner

__all__ = ["end_copies"]


def end_copies(
    runner: Runner, journal: Journal, pipes: list[int], in_order: Callable[[], object]
) -> None:
    """Have each copy of this process end where a task does; ``in_order`` is done right before."""

    def leave(error: BaseException | None) -> NoReturn:
        code = 1
        try:
            with suppress(BaseException):
                code = _code(error)
            _let_go_of_siblings()
            in_order()
        finally:
            os._exit(code)

    def become() -> None:
        runner.copied = leave
        journal.close()
        with suppress(OSError):
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in pipes:
                os.dup2(nothing, fd, inheritable=False)
            os.close(nothing)

    os.register_at_fork(after_in_child=become)


def _code(error: BaseException | None) -> int:
    """Give the exit code, and print what Python prints at the end of a program."""
    if error is None:
        return 0
    # What is written to a stream that is captured gets nowhere: the pipe for it is the worker's.
    file = sys.__stderr__
    if not isinstance(error, SystemExit):
        from traceback import print_exception

        print_exception(error, file=file)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=file)
    return 1


def _let_go_of_siblings() -> None:
    """Leave what the worker has started with ``multiprocessing`` alone: daemons would be ended here."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        here = os.getpid()
        process._children = {each for each in process._children if each._parent_pid == here}
