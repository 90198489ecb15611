"""Between a map call and its journal: gives back what is kept, and keeps what comes out.

On the way in, whoever pulls the input asks for each item whether it is kept. On the
way out, a result goes to the scribe instead of the consumer. A thread, one for each map
call that has a journal, writes all that has come meanwhile in one transaction, and only
then settles it. So an item is counted done, shown and yielded when its result is kept
and not before, and a slow disk is met by larger transactions.

States and guarantees
- A result is on its way to the file (``_pieces``), or in the file and settled, or dropped
  because the file could not be written, in which case the map call has ended with the reason.
- A kill before the commit loses the result, and nobody had been told of it. A kill after
  the commit and before the settling loses nothing: the next run restores it.
- The thread ends when nothing more can come: all input is pulled, or the call was closed,
  and every item has its outcome. Or when it is stopped: by the program's end, or by
  another map call of this process that goes on with the file of a closed one.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Any

from workpool._compat import Lock, daemon_threads_allowed
from workpool.errors import (
    JournalError,
    JournalInUse,
    JournalMismatch,
    NotPicklable,
    WorkpoolError,
    brief,
)
from workpool.ipc.pickling import dumps, loads
from workpool.journal.digests import digest, other_digests
from workpool.journal.identity import identify
from workpool.journal.settings import CommandJournal, Journal
from workpool.journal.store import Store
from workpool.safelog import SafeLog
from workpool.waits import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workpool.journal.store import Row
    from workpool.scheduling.chunk import Piece

__all__ = ["Scribe"]

PATIENCE = 10.0  # seconds for a disk to take what is left at the end, at most

_log = SafeLog("workpool.journal")
_lock = Lock()  # guards _scribes
_scribes: dict[str, Scribe] = {}  # by the file they have open


class Scribe:
    """What one map call has to do with its journal."""

    def __init__(self, given: Any, fn: Callable[..., Any], *, star: bool) -> None:
        journal = Journal.of(given)
        self._key = os.path.realpath(journal.path)
        self._job: Any = None  # the map call
        self._digests: dict[int, bytes] = {}  # of items that are pulled and not kept, by position
        self._ahead: list[bytes] = []  # of all items, where they are known at the call
        self._pieces: list[Piece] = []  # on their way to the disk; guarded by the scheduler's lock
        self._news = Event()
        self._stopping = Event()
        self._ended = Event()  # the file is closed
        self._awaited: list[Callable[[], object]] = []
        self._over = False  # what still comes is not kept; guarded by the scheduler's lock
        self._broken = False  # the file cannot be written
        command = journal if isinstance(journal, CommandJournal) else None
        identity = identify(
            fn,
            star=star,
            version=journal.version,
            name=command.function if command else None,
            options=command.options if command else None,
            way_out=journal.with_version("1"),
        )
        with _lock:
            before = _scribes.get(self._key)
            if before is not None and not before.give_way():
                message = (
                    f"journal {journal.path!r} is in use by another map call of this program. Consume or close "
                    "that one first (with pool.map(...) as results: closes it however its loop is left), or give "
                    "this one a journal of its own."
                )
                raise JournalInUse(message, path=journal.path)
            self._store = Store(self._key, identity, journal.with_version)
            if not _scribes:
                atexit.unregister(_stop_all)
                atexit.register(_stop_all)
            _scribes[self._key] = self

    def begin(self, job: Any) -> None:
        """Work for a map call from now on."""
        self._job = job
        name = f"{job.host.name}-journal"
        try:
            threading.Thread(target=self._run, name=name, daemon=daemon_threads_allowed()).start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._close()
            raise

    def abandon(self) -> None:
        """Close the file of a call that was refused."""
        if self._job is None:
            self._close()
        else:
            self.stop()
            self.wait()

    # ----------------------------------------------------------------- on the way in

    def compare_all(self, items: Sequence[Any]) -> None:
        """Compare a whole input with what is kept, before anything of it runs."""
        self._ahead = [digest(item, position) for position, item in enumerate(items)]
        others = [
            (position, kept)
            for position, kept in self._store.digests()
            if position < len(items) and kept != self._ahead[position]
        ]
        for position, kept in others:  # after the walk, which has the file
            self._must_be(items[position], position, kept)
        self._compare_length(len(items))

    def restore(self, start: int, items: Sequence[Any], *, last: bool) -> dict[int, Any]:
        """Give the results that are kept of these items, by position; in the thread that pulls.

        Raises
        ------
        JournalMismatch
            An item is not what it was, or (``last``: no more will come) there are fewer.
        """
        found: dict[int, Any] = {}
        if items:
            digests = self._ahead[start : start + len(items)] or [
                digest(item, start + offset) for offset, item in enumerate(items)
            ]
            for position, kept, result in self._store.known(start, len(items)):
                if kept != digests[position - start]:
                    self._must_be(items[position - start], position, kept)
                found[position] = self._load(position, result)
            for offset, known in enumerate(digests):
                if start + offset not in found:
                    self._digests[start + offset] = known
        if last:
            self._compare_length(start + len(items))
        return found

    def _load(self, position: int, result: bytes) -> Any:
        try:
            return loads(result)
        except Exception as error:
            message = (
                f"journal {self._key!r}: the result of item {position} cannot be unpickled: {brief(error)}. "
                "Bring back what it was made of, or begin a new journal."
            )
            raise JournalError(message, path=self._key) from error

    def _compare_length(self, count: int) -> None:
        last = self._store.last()
        if last >= count:
            self._store.known(last, 1)  # which tells damage by its name
            message = (
                f"journal {self._key!r} keeps the result of item {last}, and this input ends after {count} items. "
                "Give the input it was begun with (more items at its end are welcome), or another file."
            )
            raise JournalMismatch(message, path=self._key, changed="input", position=count)

    def _must_be(self, item: Any, position: int, kept: bytes) -> None:
        """Refuse an item whose digest is not the one that is kept, but for what explains it."""
        if kept in other_digests(item):
            return
        self._store.confirm(position, kept)
        message = (
            f"journal {self._key!r} was begun with another item {position} than this call has. Give the input it was "
            "begun with, in the same order (more items at its end are welcome), or another file."
        )
        raise JournalMismatch(message, path=self._key, changed="input", position=position)

    # ---------------------------------------------------------------- on the way out

    def take(self, job: Any, piece: Piece) -> None:
        """Take results, to settle them when they are kept; lock held."""
        if self._over:
            job.settle(piece)
        else:
            self._pieces.append(piece)
            self._news.set()

    def look(self) -> None:
        """See whether that was all; lock held."""
        self._news.set()

    def wait(self) -> None:
        """Let the file be closed, at the end of the map call that has come to it."""
        self._ended.wait(PATIENCE)

    def when_done(self, call: Callable[[], object]) -> float:
        """Have a call made when the file is closed; give the seconds for which that is worth waiting."""
        self._awaited.append(call)
        if self._ended.is_set():  # seen after the call was left: one of the two makes it, or both
            call()
        return PATIENCE

    def give_way(self) -> bool:
        """Let another map call have the file, if this one has no use for it any more."""
        job = self._job
        if job is None or not (job.closed or job.complete):
            return False
        self.stop()
        return self._ended.wait(PATIENCE)

    def stop(self) -> None:
        """Keep what has come so far, and close the file."""
        self._stopping.set()
        self._news.set()

    # --------------------------------------------------------------------- the thread

    def _run(self) -> None:
        job = self._job
        pieces: list[Piece] = []
        try:
            while True:
                self._news.wait()
                self._news.clear()
                stopping = (
                    self._stopping.is_set()
                )  # before the pieces: those that came before it are kept
                with job.host.lock:
                    pieces, self._pieces = self._pieces, []
                if pieces:
                    self._keep(pieces)  # which empties it: results are held by their consumer alone
                with job.host.lock:
                    if not self._pieces and (job.complete or stopping):
                        self._over = True
                        break
        except BaseException as error:
            self._give_up(error, pieces)
        finally:
            del job
            self._job = _Through  # no cycle
            self._close()

    def _give_up(self, error: BaseException, pieces: list[Piece]) -> None:
        """End the map call rather than leave results lying that nobody would settle."""
        job = self._job
        with job.host.lock:
            self._over = True
            job.close(error)
            _settle(job, pieces)
            _settle(job, self._pieces)

    def _keep(self, pieces: list[Piece]) -> None:
        """Write results, then settle them; those that are settled are taken out of the list."""
        job = self._job
        rows: list[Row] = []
        for piece in pieces:
            self._dump(piece, rows)
        reason: JournalError | None = None
        if rows and not self._broken:
            try:
                self._store.write(rows)
            except JournalError as error:
                self._broken = True
                reason = error
        with job.host.lock:
            if reason is not None:
                if job.closed or job.unseen:
                    _log.error("%s", reason)
                job.close(reason)
            _settle(job, pieces)

    def _dump(self, piece: Piece, rows: list[Row]) -> None:
        """Pickle the results of a piece; one that has no pickle becomes that item's error."""
        errors = piece.errors or {}
        unkept: dict[int, BaseException] = {}
        for offset, value in enumerate(piece.values):
            position = piece.start + offset
            known = self._digests.pop(position, None)
            if offset in errors or known is None:
                continue
            try:
                data = self._pickle(value, position)
            except WorkpoolError as error:
                unkept[offset] = error
                piece.values[offset] = None
            else:
                rows.append((position, known, data))
        if unkept:
            piece.errors = {**errors, **unkept}

    def _pickle(self, value: Any, position: int) -> bytes:
        try:
            data = dumps(value)
        except BaseException as error:
            message = (
                f"the result of item {position} cannot be kept in journal {self._key!r}: {brief(error)}. "
                "Return what can be pickled, or map without a journal."
            )
            raise NotPicklable(message, part="result") from error
        if len(data) > self._store.largest - 1024:  # a row holds a little more than the result
            message = (
                f"the result of item {position} is too large for journal {self._key!r}: {len(data):,} bytes. "
                "Write it to a file of its own, and return the path."
            )
            raise JournalError(message, path=self._key)
        return data

    def _close(self) -> None:
        self._store.close()
        # Out of the table when the file is closed, and before whoever waits for that opens it again.
        if _scribes.get(self._key) is self:
            del _scribes[self._key]
        self._ended.set()
        for call in self._awaited:
            try:
                call()
            except Exception:  # noqa: S110 - an event loop that is closed waits no more
                pass


def _settle(job: Any, pieces: list[Piece]) -> None:
    """Settle results, in the order they came; lock held."""
    pieces.reverse()
    while pieces:
        job.settle(pieces.pop())


class _Through:
    """Stands for a map call that has come to its end."""

    closed = complete = True


def _stop_all() -> None:
    """At exit, keep what has come: a thread must not be cut off while there is still time."""
    scribes = list(_scribes.values())
    for scribe in scribes:
        scribe.stop()
    for scribe in scribes:
        scribe.wait()


def _in_child() -> None:
    """In a forked child: the threads stayed in the parent, and so did the files."""
    global _lock  # noqa: PLW0603 - it may have been held by a thread that is not here
    _lock = Lock()
    _scribes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
