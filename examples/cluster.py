"""One program for the processes of this machine, and for a cluster of Dask or Ray.

``python examples/cluster.py --backend dask`` starts a cluster on this machine and ends
it; with ``--address tcp://scheduler:8786`` (or a Ray's) it takes one that runs. A worker
that dies on the way costs its task one more attempt, and the count stays right.

Prints::

    longest of 200 walks: begins at 171, takes 124 steps
    attempts counted: 200
"""

import argparse

from workpool import Counter, Pool


def steps(start: int, counted: Counter) -> int:
    """Count the steps from a number to 1: halve it, or triple it and add 1."""
    counted.add()
    number, taken = start, 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        taken += 1
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="Look for the longest walk.")
    parser.add_argument("--backend", choices=["process", "dask", "ray"], default="process")
    parser.add_argument("--address", help="of a cluster that runs already")
    given = parser.parse_args()

    with Pool(2, backend=given.backend, address=given.address) as pool:
        counted = pool.counter()  # in shared memory, or with the cluster's scheduler
        careful = pool.options(retries=2)  # a worker may be lost
        tasks = {start: careful.submit(steps, start, counted) for start in range(1, 201)}
        pool.join(timeout=600.0)
        walks = {start: task.result() for start, task in tasks.items()}
        longest = max(walks, key=lambda start: walks[start])
        print(f"longest of {len(walks)} walks: begins at {longest}, takes {walks[longest]} steps")
        print("attempts counted:", counted.value)


if __name__ == "__main__":
    main()
