"""From multiprocessing.Pool: the same work, call by call.

================================  ==========================================
``pool.apply_async(f, (x,))``     ``pool.submit(f, x)``
``pool.map(f, xs)``               ``list(pool.map(f, xs))``
``pool.imap(f, xs)``              ``pool.map(f, xs)``
``pool.imap_unordered(f, xs)``    ``pool.map(f, xs, ordered=False)``
``pool.starmap(f, pairs)``        ``list(pool.starmap(f, pairs))``
``maxtasksperchild=n``            ``max_tasks_per_worker=n``
``pool.close(); pool.join()``     the end of the ``with`` block
================================  ==========================================

Prints::

    before: 81 [0, 1, 4, 9] [0, 1, 4, 9] [8, 9]
    after:  81 [0, 1, 4, 9] [0, 1, 4, 9] [8, 9]
    a lambda: [0, 2, 4]
"""

import multiprocessing

import workpool


def square(n: int) -> int:
    return n * n


def main() -> None:
    pairs = [(2, 3), (3, 2)]

    old = multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=50)
    one = old.apply_async(square, (9,)).get(timeout=30)
    ordered = old.map(square, range(4))
    as_they_come = sorted(old.imap_unordered(square, range(4)))
    powers = old.starmap(pow, pairs)
    old.close()
    old.join()
    print("before:", one, ordered, as_they_come, powers)

    with workpool.Pool(2, backend="process", max_tasks_per_worker=50) as new:
        one = new.submit(square, 9).result(timeout=30)
        ordered = list(new.map(square, range(4)))
        as_they_come = sorted(new.map(square, range(4), ordered=False))
        powers = list(new.starmap(pow, pairs))
        print("after: ", one, ordered, as_they_come, powers)
        print("a lambda:", list(new.map(lambda n: 2 * n, range(3))))  # which pickle cannot send


if __name__ == "__main__":
    main()
