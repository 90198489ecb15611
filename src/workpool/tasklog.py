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
from workpool.calm import is_strike
from workpool.errors import TimeLimitExceeded
from workpool.plain import plain
from workpool.safelog import SafeLog
from workpool.situation import here

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attribute", "forward", "handle", "levels", "name_tasks", "pass_on", "take_levels"]

_NOBODY = "-"
_lock = across_forks(Lock())  # guards the exchange of the factory
_log = SafeLog("workpool")


def name_tasks() -> None:
    """Have all log records of this process name the task they were made in, from now on."""
    with _lock:
        factory = logging.getLogRecordFactory()
        # Looked at each time: somebody may have put back one from before ours.
        if not isinstance(factory, _Naming):
            logging.setLogRecordFactory(_Naming(factory))


class _Naming:
    """A factory of log records that name their task, made by another factory."""

    __slots__ = ("_factory",)

    def __init__(self, factory: Callable[..., logging.LogRecord]) -> None:
        self._factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._factory(*args, **kwargs)
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
    """Pickle a record: its message made, its traceback as text, what cannot travel as its repr.

    This is in the middle of a task's call, as a handler's ``emit`` is. What is no Exception goes through,
    as it does there: it may be what a signal's handler raises to end the task. So does the warning of a time limit.
    """
    plain = dict(record.__dict__)
    try:
        plain["msg"] = record.getMessage()
    except TimeLimitExceeded:
        raise
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
    except TimeLimitExceeded:
        raise
    except Exception:
        return pickle.dumps({name: _travels(value) for name, value in plain.items()}, 5)


def _travels(value: object) -> object:
    try:
        pickle.loads(pickle.dumps(value, 5))
    except TimeLimitExceeded:
        raise
    except Exception:
        return _shown(value)
    return value


def _shown(value: object) -> str:
    try:
        return repr(value)
    except TimeLimitExceeded:
        raise
    except Exception:
        return f"<{type(value).__qualname__}>"


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
        facts: dict[str, Any] = pickle.loads(data)
    except BaseException:
        # An extra of a class that is not there, or that ends programs: the record is lost, and that is told.
        _log.exception("a log record from a worker cannot be unpickled")
        return
    try:
        record = logging.makeLogRecord(facts)
    except BaseException:
        # The program's own factory: it may want what only the program's own threads have.
        record = logging.LogRecord("", 0, "", 0, "", (), None)
        record.__dict__.update(facts)
    pass_on(logging.getLogger(record.name), record)


def pass_on(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Have a record handled that no call of this thread has made; raises only what strikes the thread itself."""
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException as error:
        if is_strike(error):
            raise
        with suppress(BaseException):
            logging.Handler().handleError(record)  # as a handler tells of its own faults
