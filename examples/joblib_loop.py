"""joblib's loops on workpool's workers, and a pool of yours under them.

Prints::

    [0, 1, 4, 9, 16, 25]
    in other processes: True
    it failed: no 3 today
    the pool did the work: True
"""

import os

import joblib

import workpool.integrations.joblib  # to import it is to register "workpool"
from workpool import Pool


def square(n: int) -> int:
    return n * n


def process(_: int) -> int:
    return os.getpid()


def picky(n: int) -> int:
    if n == 3:
        raise ValueError("no 3 today")
    return n


def main() -> None:
    loop = joblib.delayed
    with joblib.parallel_config("workpool", n_jobs=2):
        print(joblib.Parallel()(loop(square)(n) for n in range(6)))
        print(
            "in other processes:",
            os.getpid() not in joblib.Parallel()(loop(process)(n) for n in range(4)),
        )
        try:
            joblib.Parallel()(loop(picky)(n) for n in range(6))
        except ValueError as error:
            print("it failed:", error)

    with Pool(2, backend="process") as pool:
        with joblib.parallel_config("workpool", pool=pool, n_jobs=2):
            joblib.Parallel()(loop(square)(n) for n in range(6))
        print("the pool did the work:", pool.stats().done > 0)

    workpool.integrations.joblib.close()  # or at the end of the program, by itself


if __name__ == "__main__":
    main()
