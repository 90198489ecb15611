"""One program at a time has a journal, whatever else is done with its file.

SQLite's lock on the file is a POSIX record lock. The kernel drops it as soon as the process closes
any descriptor of that file: one that a backup had, or a checksum. So there is a lock of another
kind beside it (``flock``), on a file of its own, ``run.sqlite-lock``, which nobody has a reason to open.

States and guarantees
- The lock goes with the process, however that ends. A file that is left behind means nothing.
- Who has the lock has it on the file of that name: it looks after it has got it, for the one
  before removes the file as it lets go.
- A forked child has no part in it, though it has the descriptor: it closes that at once.
- Where there is no such lock, or the file cannot be made, SQLite's alone has to do.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

from workpool.journal.refusals import in_use

if sys.platform != "win32":
    import fcntl

__all__ = ["Hold"]

_TRIES: Final = 100  # each fails only because another one let go meanwhile


class Hold:
    """The lock on a journal.

    Parameters
    ----------
    path : str
        The journal.

    Raises
    ------
    JournalInUse
        Another process has it.
    """

    def __init__(self, path: str) -> None:
        self._file = os.path.realpath(path) + "-lock"
        self._fd = -1  # none
        if sys.platform == "win32":
            return
        for _ in range(_TRIES):
            try:
                self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                _held[self] = None
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(self._fd), os.stat(self._file)):
                    return
            except BlockingIOError as error:
                self._close()
                raise in_use(path) from error
            except FileNotFoundError:  # removed a moment ago; or there is no such folder
                pass
            except OSError:
                break
            except BaseException:
                self._close()
                raise
            self._close()
        self._close()

    def release(self) -> None:
        """Let another one have it."""
        if self._fd >= 0:
            with suppress(OSError):
                os.unlink(
                    self._file
                )  # first: who has the lock must have it on the file of that name
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        _held.pop(self, None)
        if fd >= 0:
            os.close(fd)


_held: dict[Hold, None] = {}


def _in_child() -> None:
    for hold in list(_held):
        hold._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
