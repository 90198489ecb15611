"""A resource for each worker: opened once, at hand in every task, closed at the end.

A database connection must not be shared between threads, and is too dear to be
opened for each task. ``worker_context`` is entered once in each worker; what it
yields is ``current().resource`` there.

Prints::

    [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    one connection for each worker that was used: True
    all of them closed: True
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from workpool import Counter, Pool, current


@contextmanager
def connection(opened: Counter, closed: Counter) -> Generator[sqlite3.Connection]:
    """Open a connection in the worker that will use it, and close it there."""
    database = sqlite3.connect(":memory:")
    opened.add()
    try:
        yield database
    finally:
        database.close()
        closed.add()


def square(n: int) -> int:
    database: sqlite3.Connection = current().resource
    (result,) = database.execute("SELECT ? * ?", (n, n)).fetchone()
    return int(result)


def main() -> None:
    opened, closed = Counter(scope="process"), Counter(scope="process")
    context = partial(connection, opened, closed)
    with Pool(2, backend="process", worker_context=context) as pool:
        print(list(pool.map(square, range(10), chunksize=1)))
    print("one connection for each worker that was used:", 1 <= opened.value <= 2)
    print("all of them closed:", closed.value == opened.value)


if __name__ == "__main__":
    main()
