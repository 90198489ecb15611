"""What tasks print: kept with the task, or told line by line.

``print`` knows one ``sys.stdout`` for all threads. While a pool of threads captures, a
*routed* stream stands there: what a task of such a pool writes goes to its worker, all
else to the stream that was there before.

What a task prints is kept as text (``Task.stdout``). Items of a map call have nothing to
keep it in: their lines become log records of ``workpool.stdout`` and ``workpool.stderr``,
which name worker and item; where no logging is set up they go to the real streams.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from workpool._compat import Lock, across_forks
from workpool.calm import is_strike
from workpool.safelog import SafeLog
from workpool.situation import here
from workpool.tasklog import attribute, pass_on

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["STDERR", "STDOUT", "Lines", "Who", "begin_routing", "end_routing"]

STDOUT, STDERR = 0, 1
_NAMES = ("stdout", "stderr")
_LEVELS = (logging.INFO, logging.WARNING)

_lock = across_forks(Lock())  # guards _pools and the exchange of streams
_telling = threading.local()  # ``now`` is there while this thread tells a line
_log = SafeLog("workpool")
_lost: set[int] = set()  # streams of which it is told that they take nothing
_pools = 0  # that capture, and have threads of this process as workers


class Routed:
    """Stands for ``sys.stdout`` or ``sys.stderr``; tells tasks that are captured from all others."""

    def __init__(self, which: int, stream: Any) -> None:
        self._which = which
        self._stream = stream

    def write(self, text: str) -> int:
        """Write to where the caller's output belongs."""
        if self.captures():
            here.worker.printed(self._which, text)
            return len(text)
        written: int = self._stream.write(text)
        return written

    @staticmethod
    def captures() -> bool:
        """Tell whether what the caller writes is kept."""
        worker = here.worker
        # A log handler that writes here tells a line: it must not become another one.
        return (
            worker is not None
            and getattr(worker, "captures", False)
            and not worker.written_off
            and not hasattr(_telling, "now")
        )

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    @property
    def buffer(self) -> _Bytes:
        """What takes bytes, where the stream has such a thing."""
        return _Bytes(self, self._stream.buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Bytes:
    """Stands for ``sys.stdout.buffer``: bytes of a task that is captured become text, write by write."""

    def __init__(self, routed: Routed, buffer: Any) -> None:
        self._routed = routed
        self._buffer = buffer

    def write(self, data: Any) -> int:
        """Write to where the caller's output belongs."""
        routed = self._routed
        if not routed.captures():
            written: int = self._buffer.write(data)
            return written
        data = bytes(data)
        routed.write(data.decode("utf-8", "replace"))
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)


def begin_routing() -> None:
    """Put routed streams in place, for one more pool."""
    global _pools  # noqa: PLW0603 - sys has one stdout, and so this
    with _lock:
        _pools += 1
        for which, name in enumerate(_NAMES):
            stream = getattr(sys, name)
            # Again for each pool: somebody may have put another stream there since.
            if stream is not None and not isinstance(stream, Routed):
                setattr(sys, name, Routed(which, stream))


def end_routing() -> None:
    """Put the streams back after the last pool, unless others stand there by now."""
    global _pools  # noqa: PLW0603 - as above
    with _lock:
        _pools -= 1
        if not _pools:
            for name in _NAMES:
                stream = getattr(sys, name)
                if isinstance(stream, Routed):
                    setattr(sys, name, stream._stream)


class Who(NamedTuple):
    """Who printed."""

    pool: str
    worker: int
    task: str
    task_id: int


class Lines:
    """Text cut into lines, each told with the name of who wrote it; for one worker."""

    def __init__(self) -> None:
        self._begun: list[tuple[Who, str] | None] = [None, None]

    def add(self, which: int, text: str, who: Who) -> None:
        """Tell the lines that are whole, and keep the rest for later."""
        begun = self._begun[which]
        if begun is not None:
            if begun[0] == who:
                text = begun[1] + text
            else:
                _tell(which, begun[1], begun[0])
        *lines, rest = text.split("\n")
        self._begun[which] = (who, rest) if rest else None
        for line in lines:
            _tell(which, line, who)

    def end(self) -> None:
        """Tell what has no end of line, because nothing more comes from there."""
        for which in (STDOUT, STDERR):
            begun, self._begun[which] = self._begun[which], None
            if begun is not None:
                _tell(which, begun[1], begun[0])


def _tell(which: int, line: str, who: Who) -> None:
    _telling.now = True
    try:
        _tell_now(which, line, who)
    finally:
        del _telling.now


def _tell_now(which: int, line: str, who: Who) -> None:
    logger = logging.getLogger(f"workpool.{_NAMES[which]}")
    if not logger.hasHandlers():
        _show(which, line)
        return
    if not logger.level:
        logger.setLevel(logging.INFO)  # else the root's usual level would swallow what was printed
    facts = logger.name, _LEVELS[which], "(printed)", 0, line, (), None
    try:
        record = logger.makeRecord(*facts)
    except BaseException as error:  # the program's own factory, as in tasklog
        if is_strike(error):
            raise
        record = logging.LogRecord(*facts)
    attribute(record, who.pool, who.worker, who.task or "-", who.task_id)
    pass_on(logger, record)


def _show(which: int, line: str) -> None:
    """Write a line to the real stream; what that one does not take is lost, and nothing else with it."""
    stream = getattr(sys, _NAMES[which])
    stream = stream._stream if isinstance(stream, Routed) else stream
    if stream is None:
        return
    try:
        try:
            stream.write(line + "\n")
        except UnicodeEncodeError as error:
            shown = line.encode(error.encoding, "backslashreplace").decode(error.encoding)
            stream.write(shown + "\n")
    except BaseException as error:  # a stream of the program's may raise anything
        if is_strike(error):
            raise
        if which not in _lost:
            _lost.add(which)
            why = f"{type(error).__name__}: {error}"
            _log.warning(
                "%s does not take what tasks print: lines are lost (%s)", _NAMES[which], why
            )
