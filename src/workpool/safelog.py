"""Logging from where nothing may be raised: between a fault and what it has to settle.

A logger raises what the program's record factory, filters and handlers raise. Where the
library tells of a fault, others wait for what comes next: a pool that fails its tasks, a thread that
goes on to the next call. So what cannot be logged is written to the terminal, and what cannot be
written there is let go.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

from workpool.calm import is_strike

__all__ = ["SafeLog"]


class SafeLog:
    """A logger whose calls raise nothing but what comes from outside: of a signal's handler, or sent into a thread."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def exception(self, message: str, *about: object) -> None:
        """Tell of the error that is being handled."""
        self._say(logging.ERROR, message, about, sys.exception())

    def error(self, message: str, *about: object, exc_info: BaseException | None = None) -> None:
        """Tell of an error."""
        self._say(logging.ERROR, message, about, exc_info)

    def warning(self, message: str, *about: object) -> None:
        """Tell of what may have to be seen to."""
        self._say(logging.WARNING, message, about, None)

    def _say(
        self, level: int, message: str, about: tuple[Any, ...], error: BaseException | None
    ) -> None:
        try:
            # The place that is named is that of our caller's caller.
            self._logger.log(level, message, *about, exc_info=error, stacklevel=3)
        except BaseException as failure:
            if is_strike(failure):
                raise
            _write(message, about, error, failure)


def _write(
    message: str, about: tuple[Any, ...], error: BaseException | None, failure: BaseException
) -> None:
    """Write to the terminal what cannot be logged, and why it cannot, as far as that goes."""
    with suppress(BaseException):  # texts of errors are user code of all kinds
        import traceback

        why = "".join(traceback.format_exception_only(failure)).strip()
        lines = [f"{message % about} (this could not be logged: {why})\n"]
        if error is not None:
            lines += traceback.format_exception(error)
        if sys.__stderr__ is not None:
            sys.__stderr__.write("".join(lines))
            sys.__stderr__.flush()
