"""Errors and retries: what a task raises is its own affair, and so is its worker's death.

Prints::

    one error, four results: [10, ValueError('0 is not allowed'), 5, 3, 2]
    flaky: done at attempt 3
    the worker died, its task has failed: WorkerLost, exit code 7
    the worker died, its task ran again: done at attempt 2
    the pool goes on: 42
"""

import os

from workpool import Pool, WorkerLost, current


def divide(n: int) -> int:
    if n == 0:
        raise ValueError("0 is not allowed")
    return 10 // n


def flaky() -> str:
    """Fail twice, as a server does that is just starting."""
    attempt = current().attempt
    if attempt < 3:
        raise ConnectionError("not yet")
    return f"done at attempt {attempt}"


def fragile() -> str:
    """Take the whole worker down at the first attempt, as a crash in C code would."""
    attempt = current().attempt
    if attempt == 1:
        os._exit(7)
    return f"done at attempt {attempt}"


def main() -> None:
    with Pool(2, backend="process") as pool:
        outcomes = list(pool.map(divide, [1, 0, 2, 3, 4], return_exceptions=True))
        print("one error, four results:", outcomes)

        patient = pool.options(retries=5, retry_on=ConnectionError, backoff=0.01)
        print("flaky:", patient.submit(flaky).result())

        try:
            pool.submit(fragile).result()
        except WorkerLost as error:
            print("the worker died, its task has failed: WorkerLost, exit code", error.exitcode)

        print(
            "the worker died, its task ran again:", pool.options(retries=1).submit(fragile).result()
        )
        print("the pool goes on:", pool.submit(int, "42").result())


if __name__ == "__main__":
    main()
