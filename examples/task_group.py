"""A group: tasks that end together with the block that started them.

One of three downloads fails. The one that is queued never starts, the one that runs
is asked to end, and the block is left when all of them are done.

Prints::

    all done: [5, 5, 5]
    a.html stopped in order
    1 of 3 tasks failed in a group of mirror: no such page: b.html
"""

import threading

from workpool import Pool, current


def size(page: str) -> int:
    return len(page) - 1


def copy(page: str, submitted: threading.Event) -> None:
    """Copy until it is done, or not wanted any more."""
    submitted.wait(30)
    while not current().cancelled:
        threading.Event().wait(0.01)  # a piece of the work
    print(page, "stopped in order")


def missing(page: str, submitted: threading.Event) -> None:
    submitted.wait(30)
    raise LookupError(f"no such page: {page}")


def main() -> None:
    with Pool(2, name="mirror") as pool:
        with pool.group() as group:
            sizes = [group.submit(size, page) for page in ("a.html", "b.html", "c.html")]
        print("all done:", [task.result() for task in sizes])

        submitted = threading.Event()
        try:
            with pool.group() as group:
                group.submit(copy, "a.html", submitted)
                group.submit(missing, "b.html", submitted)
                group.submit(print, "never printed: both workers are busy")
                submitted.set()
        except* LookupError as told:
            print(f"{told.message}:", *told.exceptions)


if __name__ == "__main__":
    main()
