"""Backpressure: an endless input, in constant memory.

``map`` pulls its input as results are consumed, and at most ``buffersize``
items ahead (without it, a bound made from measured durations). What is pulled
slowly is asked for slowly: a generator never fills the memory.

Prints::

    squares: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    never more than 8 numbers ahead: True
    a million squares, added up: 333332833333500000
    all ahead of the sum at once: False
"""

from collections.abc import Iterator
from itertools import count, islice

from workpool import Pool

MILLION = 1_000_000
pulled = 0


def numbers() -> Iterator[int]:
    """Give numbers without an end, and say how many were asked for."""
    global pulled
    for pulled in count(1):
        yield pulled - 1


def square(n: int) -> int:
    return n * n


def main() -> None:
    with Pool(2) as pool:
        with pool.map(square, numbers(), buffersize=8) as squares:
            print("squares:", list(islice(squares, 10)))
        # The end of the block has closed the map: what had not started is cancelled.
        print("never more than 8 numbers ahead:", pulled <= 10 + 8)

        ahead = total = 0
        for n, result in enumerate(pool.map(square, islice(numbers(), MILLION)), start=1):
            ahead = max(ahead, pulled - n)
            total += result
        print("a million squares, added up:", total)
        print("all ahead of the sum at once:", ahead > MILLION // 2)


if __name__ == "__main__":
    main()
