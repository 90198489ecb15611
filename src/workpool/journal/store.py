"""The file of a journal: SQLite, held by one map call at a time.

States and guarantees
- The file is locked exclusively from the moment it is opened: POSIX record locks, which
  the kernel takes back when the process dies, however it does. Processes forked from this
  one do not inherit them.
- What ``write`` was given is with the kernel when it returns: all of it, or, after a kill at
  any instant, none of it. No death of this process can lose it any more.
- A power cut may lose the last transactions, whole, from the last to an earlier one, and no
  more than that: the log is synced when it is folded into the file, and at the end. To sync
  at each commit would cost a wait for the disk for every batch of results, to save work
  that is done again after a power cut anyway.
- A file that is not a journal of workpool is refused before anything in it is changed.

A kill before the first commit leaves an empty file, which is a new journal. A kill
later leaves the log beside the file (``-wal``): whoever opens the file reads it.
"""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from workpool._compat import Lock
from workpool.errors import JournalError, JournalInUse, JournalMismatch
from workpool.journal.identity import Identity

__all__ = ["Row", "Store"]

APPLICATION = 0x776B706C  # "wkpl", in SQLite's header: whose file it is
FORMAT = 1

Row = tuple[int, bytes, bytes]  # position, digest of the item, pickle of its result

_TABLES = """
BEGIN EXCLUSIVE;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (position INTEGER PRIMARY KEY, digest BLOB NOT NULL, result BLOB NOT NULL);
PRAGMA application_id = {application};
PRAGMA user_version = {format};
INSERT INTO facts VALUES ('function', '{{}}'), ('runs', '0');
COMMIT;
"""

_BUSY, _FULL, _CANTOPEN, _NOTADB = 5, 13, 14, 26  # SQLite's primary result codes


class Store:
    """An open journal; all its calls may come from any thread."""

    def __init__(self, path: str, identity: Identity) -> None:
        self.path = path
        self._lock = Lock()  # guards the connection: one statement or transaction at a time
        with explained(path, "be opened"):
            self._connection = connection = sqlite3.connect(
                path, timeout=0.0, isolation_level=None, check_same_thread=False
            )
        _open.add(connection)
        try:
            with explained(path, "be opened"):
                self._begin(connection, identity)
        except BaseException:
            self.close()
            raise
        self.largest = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)  # bytes of a result

    def _begin(self, connection: sqlite3.Connection, identity: Identity) -> None:
        # Before the file is first read, so that the lock is taken then, and kept.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = NORMAL")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            if application or tables or version:
                message = (
                    f"{self.path!r} is a SQLite file of something else, and was left as it is. "
                    "Give the journal a file of its own."
                )
                raise JournalError(message, path=self.path)
            connection.executescript(_TABLES.format(application=APPLICATION, format=FORMAT))
        elif version != FORMAT:
            message = (
                f"{self.path!r} is a journal in format {version}, and this workpool reads format {FORMAT}. "
                "Begin a new one, or use the version of workpool that wrote it."
            )
            raise JournalError(message, path=self.path)
        connection.execute("PRAGMA journal_mode = WAL")
        self._compare(connection, identity)

    def _compare(self, connection: sqlite3.Connection, identity: Identity) -> None:
        """Refuse another function than the one it was begun with; write, so that what cannot be written is told."""
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        known = json.loads(facts["function"])
        kept = Identity(**known) if known else identity
        _same_function(self.path, kept, identity)
        with transaction(connection):
            now = identity
            if kept.version is None and identity.version is None:
                now = kept  # the code it was begun with, should Python have changed meanwhile
            rows = [
                ("function", json.dumps(attrs.asdict(now))),
                ("runs", str(int(facts["runs"]) + 1)),
            ]
            connection.executemany("REPLACE INTO facts VALUES (?, ?)", rows)

    # ------------------------------------------------------------------------ items

    def known(self, start: int, count: int) -> list[Row]:
        """Give what is kept of so many neighbouring items."""
        with self._lock, explained(self.path, "be read"):
            return self._connection.execute(
                "SELECT position, digest, result FROM items WHERE position BETWEEN ? AND ?",
                (start, start + count - 1),
            ).fetchall()

    def digests(self) -> Iterator[tuple[int, bytes]]:
        """Go through the digests of all items that are kept."""
        with self._lock, explained(self.path, "be read"):
            yield from self._connection.execute("SELECT position, digest FROM items")

    def last(self) -> int:
        """Give the last position that is kept; -1 when there is none."""
        with self._lock, explained(self.path, "be read"):
            (last,) = self._connection.execute("SELECT max(position) FROM items").fetchone()
        return -1 if last is None else int(last)

    def write(self, rows: list[Row]) -> None:
        """Keep results; on return no death of this process can lose them."""
        with self._lock, explained(self.path, "be written"), transaction(self._connection):
            self._connection.executemany("REPLACE INTO items VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Let go of the file; the log is folded into it."""
        with self._lock:
            _open.discard(self._connection)
            try:
                self._connection.close()
            except sqlite3.Error:
                pass  # what was committed stays in the log, and is read from there


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """All of a block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself
        raise


@contextmanager
def explained(path: str, what: str) -> Generator[None]:
    """Say in our words what SQLite could not do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == _BUSY:
            message = (
                f"journal {path!r} is in use by another process. One map call at a time can go on with it: "
                "wait for that one to end, or give this one a journal of its own."
            )
            raise JournalInUse(message, path=path) from error
        hint = {
            _FULL: "Make room, and make the same call again: what was kept before stays.",
            _CANTOPEN: f"Its folder, {os.path.dirname(path)!r}, must be there and allow files to be made.",
            _NOTADB: "It is no SQLite file, and was left as it is: give the journal a file of its own.",
        }.get(code, "What was kept before stays; see the cause.")
        message = f"journal {path!r} cannot {what}: {error}. {hint}"
        raise JournalError(message, path=path) from error


def _same_function(path: str, kept: Identity, given: Identity) -> None:
    if kept.name != given.name:
        what = f"was begun with the function {kept.name}, and this call is about {given.name}"
    elif kept.star != given.star:
        what = f"was begun by {'starmap' if kept.star else 'map'}, and this call is the other one"
    elif kept.version is not None and kept.version != given.version:
        what = f"was begun with version {kept.version!r} of {kept.name}, and this call has version {given.version!r}"
    elif given.version is None and kept.python == given.python and kept.code != given.code:
        what = (
            f"was begun with another code of {kept.name} (or of what it closes over). If its results are good "
            f"all the same, say so: journal=Journal({path!r}, version='2')"
        )
    else:
        return
    message = (
        f"journal {path!r} {what}. Else begin anew: delete it, or give this call another file."
    )
    raise JournalMismatch(message, path=path, changed="function")


# ------------------------------------------------------------------------- forks

# In a forked child these must not be closed: SQLite would take the child for the last
# user of the file, fold the log into it and remove it, under the parent's feet.
_open: set[Any] = set()


def _in_child() -> None:
    for connection in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # never collected here
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
