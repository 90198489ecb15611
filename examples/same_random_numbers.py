"""A simulation that gives the same result on one worker, on four, in threads and in processes.

Prints::

    1 thread:    walks end at -0.19 on average, the farthest at 26
    4 threads:   the same
    2 processes: the same
"""

from workpool import BackendName, Pool, current

STEPS, WALKS = 100, 200


def walk(_: int) -> int:
    """Go left or right, so many times; tell where that ends."""
    rng = current().rng  # the task's own: no other task draws from it
    return sum(rng.choice((-1, 1)) for _ in range(STEPS))


def simulate(workers: int, backend: BackendName) -> list[int]:
    with Pool(workers, backend=backend, seed=2024) as pool:
        return list(pool.map(walk, range(WALKS)))


def main() -> None:
    first = simulate(1, "thread")
    mean, farthest = sum(first) / WALKS, max(map(abs, first))
    print(f"1 thread:    walks end at {mean:.2f} on average, the farthest at {farthest}")
    for title, again in (
        ("4 threads:  ", simulate(4, "thread")),
        ("2 processes:", simulate(2, "process")),
    ):
        print(title, "the same" if again == first else "something else")


if __name__ == "__main__":
    main()
