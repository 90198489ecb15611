"""One trial, in a process that is fresh for it: ``python -m benchmarks.faults.trial FAULT CLASS``."""

from __future__ import annotations

import os
import sys
from functools import partial

from benchmarks.faults import calls, pools
from benchmarks.faults.faults import FAULTS
from benchmarks.faults.pools import PoolUnderTest


def busy(pool: PoolUnderTest) -> None:
    """Have both workers in C code, and wait for them."""
    with os.fdopen(os.dup(1), "w"):
        pool.open()
        pool.run(calls.hold_gil, [1, 1])


def no_end(pool: PoolUnderTest, folder: str) -> None:
    """Submit, and come to the end of the program."""
    pool.open()
    for n in range(10):
        pool.submit(partial(calls.note, folder), n)


def main() -> None:
    """Do it, and print what came of it in one line."""
    what, name, *args = sys.argv[1:]
    pool: PoolUnderTest = getattr(pools, name)()
    if what == "busy":
        busy(pool)
    elif what == "no_end":
        no_end(pool, *args)
    else:
        print(FAULTS[what][1](pool), flush=True)
        os._exit(0)  # how it would end now is another fault


if __name__ == "__main__":
    main()
