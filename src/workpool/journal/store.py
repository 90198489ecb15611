"""The file of a journal: SQLite, held by one map call at a time.

States and guarantees
- The file is locked exclusively from the moment it is opened: POSIX record locks, which
  the kernel takes back when the process dies, however it does. Processes forked from this
  one do not inherit them. Beside them there is a `Hold`, which stays when they are dropped.
- What ``write`` was given is with the kernel when it returns: all of it, or, after a kill at
  any instant, none of it. No death of this process can lose it any more.
- A power cut may lose the last transactions, whole, from the last to an earlier one, and no
  more than that: the log is synced when it is folded into the file, and at the end. To sync
  at each commit would cost a wait for the disk for every batch of results, to save work
  that is done again after a power cut anyway.
- A file that is not a journal of workpool is refused before anything in it is changed.
- What is read is what was written: each row, and the facts about the function, have a checksum.
  SQLite sees a page that makes no sense; a byte that fell over in a result is for us to see.

A journal of format 1, which had no checksums, gets a column for them when it is opened, in one
transaction. Its rows stay as they are, unchecked.

A kill before the first commit leaves an empty file, which is a new journal. A kill
later leaves the log beside the file (``-wal``): whoever opens the file reads it.
"""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from workpool._compat import Lock
from workpool.errors import JournalError
from workpool.journal.hold import Hold
from workpool.journal.identity import Identity
from workpool.journal.refusals import damaged, explained, same_function
from workpool.journal.settings import Journal

__all__ = ["Row", "Store"]

APPLICATION = 0x776B706C  # "wkpl", in SQLite's header: whose file it is
FORMAT = 2
_UNCHECKED = 1  # the format before there were checksums

Row = tuple[int, bytes, bytes]  # position, digest of the item, pickle of its result

_TABLES = """
BEGIN EXCLUSIVE;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (position INTEGER PRIMARY KEY, digest BLOB NOT NULL, result BLOB NOT NULL,
                    checksum INTEGER);
PRAGMA application_id = {application};
PRAGMA user_version = {format};
INSERT INTO facts VALUES ('function', '{{}}'), ('runs', '0'), ('checksum', '{checksum}');
COMMIT;
"""


class Store:
    """An open journal; all its calls may come from any thread."""

    def __init__(
        self, path: str, identity: Identity, with_version: Callable[[str], str] | None = None
    ) -> None:
        self.path = path
        self._with_version = with_version or Journal(path).with_version
        self._lock = Lock()  # guards the connection: one statement or transaction at a time
        self._hold = Hold(path)
        try:
            with explained(path, "be opened"):
                self._connection = connection = sqlite3.connect(
                    path, timeout=0.0, isolation_level=None, check_same_thread=False
                )
        except BaseException:
            self._hold.release()
            raise
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
            facts = {"function": "{}", "runs": "0"}
            tables = _TABLES.format(
                application=APPLICATION, format=FORMAT, checksum=_checksum_of_facts(facts)
            )
            connection.executescript(tables)
        elif version not in (FORMAT, _UNCHECKED):
            message = (
                f"{self.path!r} is a journal in format {version}, and this workpool reads format {FORMAT}. "
                "Begin a new one, or use the version of workpool that wrote it."
            )
            raise JournalError(message, path=self.path)
        connection.execute("PRAGMA journal_mode = WAL")
        self._compare(connection, identity, unchecked=version == _UNCHECKED)

    def _compare(
        self, connection: sqlite3.Connection, identity: Identity, *, unchecked: bool
    ) -> None:
        """Refuse another function than the one it was begun with; write, so that what cannot be written is told."""
        facts = dict(connection.execute("SELECT name, value FROM facts"))
        try:
            if not unchecked and int(facts["checksum"]) != _checksum_of_facts(facts):
                facts = {}  # which is damage as well
            known = json.loads(facts["function"])
            kept = Identity(**known) if known else identity
            runs = int(facts["runs"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise damaged(self.path, "what it says of its function") from error
        same_function(self.path, kept, identity, self._with_version)
        with transaction(connection):
            now = identity
            if kept.version is None and identity.version is None:
                # The code it was begun with, should Python have changed meanwhile.
                now = attrs.evolve(kept, options=identity.options)
            if unchecked:
                connection.execute("ALTER TABLE items ADD COLUMN checksum INTEGER")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            facts = {"function": json.dumps(attrs.asdict(now)), "runs": str(runs + 1)}
            facts["checksum"] = str(_checksum_of_facts(facts))
            connection.executemany("REPLACE INTO facts VALUES (?, ?)", facts.items())

    # ------------------------------------------------------------------------ items

    def known(self, start: int, count: int) -> list[Row]:
        """Give what is kept of so many neighbouring items; JournalError if it is not what was written."""
        with self._lock, explained(self.path, "be read"):
            rows = self._connection.execute(
                "SELECT position, digest, result, checksum FROM items WHERE position BETWEEN ? AND ?",
                (start, start + count - 1),
            ).fetchall()
        return [self._checked(*row) for row in rows]

    def _checked(self, position: int, digest: Any, result: Any, checksum: Any) -> Row:
        whole = type(digest) is bytes and type(result) is bytes
        if whole and checksum is not None:  # a row of format 1 has none
            whole = checksum == _checksum(position, digest, result)
        if not whole:
            raise damaged(self.path, f"the result of item {position}")
        return position, digest, result

    def confirm(self, position: int, digest: object) -> None:
        """See that a row whose item is to be refused is no damaged one; JournalError if it is."""
        rows = self.known(position, 1)
        if not rows or digest != rows[0][1]:
            raise damaged(self.path, f"the result of item {position}")

    def digests(self) -> Iterator[tuple[int, bytes]]:
        """Go through the digests of all items that are kept, unchecked: those that differ are for ``confirm``."""
        with self._lock, explained(self.path, "be read"):
            yield from self._connection.execute(
                "SELECT position, digest FROM items WHERE position >= 0"
            )

    def last(self) -> int:
        """Give the last position that is kept; -1 when there is none."""
        with self._lock, explained(self.path, "be read"):
            (last,) = self._connection.execute("SELECT max(position) FROM items").fetchone()
        return -1 if last is None else int(last)

    def write(self, rows: list[Row]) -> None:
        """Keep results; on return no death of this process can lose them."""
        with self._lock, explained(self.path, "be written"), transaction(self._connection):
            self._connection.executemany(
                "REPLACE INTO items VALUES (?, ?, ?, ?)",
                [(*row, _checksum(*row)) for row in rows],
            )

    def close(self) -> None:
        """Let go of the file; the log is folded into it."""
        with self._lock:
            _open.discard(self._connection)
            try:
                self._connection.close()
            except sqlite3.Error:
                pass  # what was committed stays in the log, and is read from there
            finally:
                self._hold.release()


def _checksum(position: int, digest: bytes, result: bytes) -> int:
    return zlib.crc32(result, zlib.crc32(digest, position))


def _checksum_of_facts(facts: dict[str, str]) -> int:
    return zlib.crc32(f"{facts['runs']} {facts['function']}".encode())


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
