"""Which errors say that the system is short of something, so that the same call may do later."""

from __future__ import annotations

import errno
from typing import Final

__all__ = ["is_shortage"]

_SHORT_OF: Final = {errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EFBIG}


def is_shortage(error: BaseException) -> bool:
    """Tell whether memory or descriptors ran out, or what a file may hold.

    The end of a time limit is an OSError, too, and is not meant.
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in _SHORT_OF
    )
