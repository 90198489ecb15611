"""A journal whose file is damaged, of an earlier format, or not for us to write: told plainly, or read as before."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import lazily
from tests.support.tasks import echo
from workpool import JournalError, JournalMismatch, Pool
from workpool.ipc.pickling import dumps
from workpool.journal.digests import digest, earlier_digest
from workpool.journal.refusals import explained

SOURCES = pytest.mark.parametrize("source", [range, lazily])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a journal with ten results."""
    path = tmp_path / "run.sqlite"
    assert mapped(path, range(10)) == list(range(10))
    return path


def mapped(path: Path, items: Any) -> list[Any]:
    with Pool(1) as pool:
        return list(pool.map(echo, items, journal=path))


def change(path: Path, *statements: str) -> None:
    """Do to a journal what no workpool does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@SOURCES
@pytest.mark.parametrize(
    "damage",
    [
        "result = x'80054b072e'",
        "result = NULL",
        "result = 'text'",
        "digest = x'00'",
        "position = 90",
    ],
)
def test_a_damaged_result_is_no_result(
    path: Path, source: Callable[[int], Any], damage: str
) -> None:
    """What is not as it was written is told, whatever it can be taken for."""
    change(
        path,
        "PRAGMA writable_schema = 1",  # so that NULL gets in
        "UPDATE sqlite_master SET sql = REPLACE(sql, 'result BLOB NOT NULL', 'result BLOB')",
    )
    change(path, f"UPDATE items SET {damage} WHERE position = 9")
    with pytest.raises(JournalError, match=r"is damaged: the result of item 90? is") as told:
        mapped(path, source(10))
    assert not isinstance(told.value, JournalMismatch)
    assert told.value.path == str(path)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM facts WHERE name = 'function'",
        "DELETE FROM facts WHERE name = 'runs'",
        "DELETE FROM facts WHERE name = 'checksum'",
        "UPDATE facts SET value = '{' WHERE name = 'function'",
        "UPDATE facts SET value = '[1]' WHERE name = 'function'",
        "UPDATE facts SET value = REPLACE(value, 'echo', 'ecko')",
        "UPDATE facts SET value = 'many' WHERE name = 'runs'",
    ],
)
def test_damaged_facts_are_told(path: Path, damage: str) -> None:
    """A journal that does not know its function is damaged: that is no fault of the call."""
    change(path, damage)
    with pytest.raises(JournalError, match="is damaged: what it says of its function is") as told:
        mapped(path, range(10))
    assert not isinstance(told.value, JournalMismatch)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE facts SET value = CAST(x'ff' AS TEXT)",
        "DROP TABLE items",
        "ALTER TABLE items DROP COLUMN checksum",
    ],
)
def test_what_sqlite_cannot_read_is_told(path: Path, damage: str) -> None:
    """Text that is none, a table that is gone: a JournalError with the way out."""
    change(path, damage)
    with pytest.raises(JournalError, match=r"The file is damaged\. Bring back a copy"):
        mapped(path, range(10))


def test_bytes_that_fell_over_anywhere_give_no_wrong_result(path: Path) -> None:
    """Whatever byte of the file is another one: the results are right, or there is an error of ours."""
    before = path.read_bytes()
    for place in range(0, len(before), 97):
        changed = bytearray(before)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            results = mapped(path, range(10))
        except JournalError:
            continue
        assert results == list(range(10))


# ------------------------------------------------------------------------ format 1


def make_it_earlier(path: Path, items: list[Any]) -> None:
    """Make a journal what it was in format 1."""
    change(
        path,
        "ALTER TABLE items DROP COLUMN checksum",
        "DELETE FROM facts WHERE name = 'checksum'",
        "PRAGMA user_version = 1",
    )
    with closing(sqlite3.connect(path)) as connection:
        rows = [(n, earlier_digest(item), dumps(item)) for n, item in enumerate(items)]
        connection.executemany("REPLACE INTO items VALUES (?, ?, ?)", rows)
        connection.commit()


@SOURCES
def test_a_journal_of_format_1_goes_on(path: Path, source: Callable[[int], Any]) -> None:
    """It is read, gets checksums from then on, and is a journal of format 2."""
    make_it_earlier(path, list(range(10)))
    assert mapped(path, source(12)) == list(range(12))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        checked = connection.execute("SELECT count(checksum), count(*) FROM items").fetchone()
    assert checked == (2, 12)
    assert mapped(path, source(12)) == list(range(12))


@SOURCES
def test_paths_of_format_1_are_known_again(
    path: Path, tmp_path: Path, source: Callable[[int], Any]
) -> None:
    """Their digests were others, and they are the same items."""
    items = [tmp_path / f"{n}" for n in range(10)]
    assert earlier_digest(items[0]) != digest(items[0], 0)
    make_it_earlier(path, items)
    assert mapped(path, [items[n] for n in source(10)]) == items
    with pytest.raises(JournalMismatch, match="another item 9"):
        mapped(path, [*items[:9], tmp_path / "other"])


def test_a_refused_call_leaves_the_format(path: Path) -> None:
    """An earlier workpool can go on with what this one refused."""
    make_it_earlier(path, list(range(10)))
    with Pool(1) as pool, pytest.raises(JournalMismatch):
        pool.map(len, ["a"], journal=path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


# ---------------------------------------------------------------- where nothing can be written


def test_a_folder_is_told_to_be_one(tmp_path: Path) -> None:
    """Its being there is not what is wrong with it."""
    with pytest.raises(JournalError, match="It is a folder: give the path of a file in it"):
        mapped(tmp_path, range(3))


@pytest.mark.parametrize("code", [sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR_LOCK])
def test_what_may_not_be_written_says_what_to_see_to(path: Path, code: int) -> None:
    """A file or a disk that allows no writing has a way out."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    says = r"disk I/O error\. The file and its folder, .* make the same call"
    with pytest.raises(JournalError, match=says), explained(str(path), "be opened"):
        raise error


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_file_without_rights_is_told(path: Path) -> None:
    """It is there: what it lacks is rights."""
    path.chmod(0o000)
    with pytest.raises(JournalError, match="must allow reading and writing"):
        mapped(path, range(3))
