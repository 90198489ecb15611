"""Log records that name their task, and their way from a worker process to its parent.

Every record made in a process that ``name_tasks`` was called in has four attributes
more: ``wp_pool``, ``wp_worker`` (its index), ``wp_task`` (its name) and ``wp_task_id``; each is
``"-"`` outside of tasks, so that one format serves all records. Names that a program could
use itself, in ``extra=``, would not do: logging refuses to overwrite an attribute.

In a worker process records are *forwarded*: they pass the loggers, whose levels are
those of the parent's, and then travel instead of going to handlers. In the parent
they are handled by the logger of the same name, as if they had been made there.
"""

from __future__ import annotations

import logging
import pickle
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock, across_forks
from workpool.plain import plain
from workpool.situation import here

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attribute", "forward", "handle", "levels", "name_tasks", "take_levels"]

_NOBODY = "-"
_lock = across_forks(Lock())  # guards _named
_named = False  # whether records of this process name their task


def name_tasks() -> None:
    """Have all log records of this process name the task they were made in, from now on."""
    global _named  # noqa: PLW0603 - logging has one factory a process, and so this
    with _lock:
        if _named:
            return
        _named = True
    before = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        situation = here.situation
        if situation is None:
            attribute(record, _NOBODY, _NOBODY, _NOBODY, _NOBODY)
        else:
            attribute(
                record,
                situation.pool,
                situation.worker,
                situation.task_name() or _NOBODY,
                situation.task_id(),
            )
        return record

    logging.setLogRecordFactory(make)


def attribute(
    record: logging.LogRecord, pool: str, worker: int | str, task: str, task_id: int | str
) -> None:
    """Name a record's task."""
    record.__dict__.update(wp_pool=pool, wp_worker=worker, wp_task=task, wp_task_id=task_id)


# ------------------------------------------------------------------ in a worker process


def forward(send: Callable[[bytes], None]) -> None:
    """Send every record that passes its logger's level and filters, instead of handling it here."""

    def call_handlers(_: logging.Logger, record: logging.LogRecord) -> None:
        send(_pack(record))

    # Handlers that came along (by a fork, or because __main__ is imported) would say it twice.
    logging.Logger.callHandlers = call_handlers  # type: ignore[assignment,method-assign]  # as the line above says


def take_levels(known: dict[str, int]) -> None:
    """Set the levels of loggers as they are in the parent."""
    known = dict(known)
    logging.disable(known.pop("disable"))
    logging.getLogger().setLevel(known.pop(""))
    for name, level in known.items():
        logging.getLogger(name).setLevel(level)


def _pack(record: logging.LogRecord) -> bytes:
    """Pickle a record: its message made, its traceback as text, what cannot travel as its repr."""
    plain = dict(record.__dict__)
    try:
        plain["msg"] = record.getMessage()
    except Exception:
        # As in a handler: the fault of the call that logs, told and not raised.
        plain["msg"] = f"{record.msg!r} with arguments {record.args!r} cannot be formatted"
        plain["exc_info"] = sys.exc_info()
        plain["exc_text"] = None
    plain["args"] = None
    error = plain.get("exc_info")
    if error and not plain.get("exc_text"):
        plain["exc_text"] = "".join(traceback.format_exception(*error)).rstrip("\n")
    plain["exc_info"] = None
    try:
        return pickle.dumps(plain, 5)
    except Exception:
        return pickle.dumps({name: _travels(value) for name, value in plain.items()}, 5)


def _travels(value: object) -> object:
    try:
        pickle.loads(pickle.dumps(value, 5))
    except Exception:
        with suppress(Exception):
            return repr(value)
        return f"<{type(value).__qualname__}>"
    return value


# ------------------------------------------------------------------------- in the parent


def levels() -> dict[str, int]:
    """Give the levels that loggers have here; ``""`` is the root's, ``"disable"`` that of all."""
    manager = logging.Logger.manager
    known = {
        plain(name): plain(logger.level)
        for name, logger in list(manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level and name != "disable"
    }
    return {**known, "": plain(logging.getLogger().level), "disable": plain(manager.disable)}


def handle(data: bytes) -> None:
    """Handle a record that came from a worker; raises nothing."""
    try:
        record = logging.makeLogRecord(pickle.loads(data))
    except Exception:
        # An extra of a class that is not there, say: the record is lost, and that is told.
        logging.getLogger("workpool").exception("a log record from a worker cannot be unpickled")
        return
    logger = logging.getLogger(record.name)
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException:
        logging.Handler().handleError(record)  # as a handler tells of its own faults
