"""One picture in shared memory: each process fills some lines of it, and nothing is copied.

Prints::

    ........@@@@........
    ....@@@@@@@@@@@@....
    ..@@@@@@@@@@@@@@@@..
    .@@@@@@@@@@@@@@@@@@.
    .@@@@@@@@@@@@@@@@@@.
    .@@@@@@@@@@@@@@@@@@.
    .@@@@@@@@@@@@@@@@@@.
    ..@@@@@@@@@@@@@@@@..
    ....@@@@@@@@@@@@....
    ........@@@@........
    136 bytes are set, counted by 2 processes
"""

from workpool import Array, Pool

WIDTH, HEIGHT = 20, 10


def draw(picture: Array, row: int) -> None:
    """Draw one row of a disc; rows are different memory, so no lock is needed."""
    for column in range(WIDTH):
        x, y = (column + 0.5) / WIDTH - 0.5, (row + 0.5) / HEIGHT - 0.5
        picture[row, column] = x * x + y * y < 0.21


def count(picture: Array, total: Array, row: int) -> None:
    """Add to one number that all share: under the lock."""
    found = sum(int(picture[row, column]) for column in range(WIDTH))
    with total.lock() as view:
        view[0] += found


def main() -> None:
    with Pool(2, backend="process") as pool:
        picture, total = pool.array((HEIGHT, WIDTH), bool), pool.array(1, int)
        list(pool.starmap(draw, [(picture, row) for row in range(HEIGHT)]))
        list(pool.starmap(count, [(picture, total, row) for row in range(HEIGHT)]))
        for row in range(HEIGHT):
            print("".join(".@"[bool(picture[row, column])] for column in range(WIDTH)))
        print(f"{total[0]} bytes are set, counted by {pool.max_workers} processes")


if __name__ == "__main__":
    main()
