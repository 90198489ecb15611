"""A bounded queue: ``submit`` waits for room, or refuses after a while.

A producer that is faster than the workers would otherwise queue its whole input.

Prints::

    two tasks wait, the third was refused: Full
    all that was accepted ran: ['first', 'second', 'third']
"""

import queue
import threading

from workpool import Pool


def hold(running: threading.Event, go_on: threading.Event) -> None:
    """Keep a worker busy."""
    running.set()
    go_on.wait(30)


def main() -> None:
    running, go_on = threading.Event(), threading.Event()
    with Pool(1, queue_size=2) as pool:
        pool.submit(hold, running, go_on)
        running.wait(30)  # the only worker is busy from now on
        accepted = [pool.submit(str, "first"), pool.submit(str, "second")]

        impatient = pool.options(queue_timeout=0.01)
        try:
            impatient.submit(str, "third")
        except queue.Full as error:
            print("two tasks wait, the third was refused:", type(error).__name__)

        go_on.set()
        accepted.append(pool.submit(str, "third"))  # waits until there is room
        print("all that was accepted ran:", [task.result() for task in accepted])


if __name__ == "__main__":
    main()
