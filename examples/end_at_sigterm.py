"""A service that ends in order when the system tells it to.

`systemctl stop`, `docker stop` and Kubernetes send SIGTERM, and kill what is still
there some seconds later. A handler that raises SystemExit ends what the main thread waits in,
wherever that is: a pool comes through it whole. Then there is a choice to make: what runs is finished
here, what waits in the queue is cancelled.

Prints::

    serving request 0
    serving request 1
    told to end; 2 requests are being served, 3 wait
    2 served, 3 sent back
"""

import signal
from typing import NoReturn

from workpool import Event, Pool, Queue


def leave(*_: object) -> NoReturn:
    raise SystemExit


def serve(number: int, started: Queue[int], may_end: Event) -> int:
    """Say that it has begun, and take its time."""
    started.put(number)
    may_end.wait(timeout=30)
    return number


def main() -> None:
    signal.signal(signal.SIGTERM, leave)
    with Pool(2) as pool:
        started, may_end = Queue[int](), pool.event()
        requests = [pool.submit(serve, number, started, may_end) for number in range(5)]
        try:
            for number in sorted(started.get(timeout=30) for _ in range(2)):
                print("serving request", number)
            signal.raise_signal(signal.SIGTERM)  # here the system would
            pool.join()
        except SystemExit:
            print("told to end; 2 requests are being served, 3 wait")
            pool.shutdown(wait=False, cancel_futures=True)
            may_end.set()
    sent_back = sum(request.cancelled() for request in requests)
    print(f"{len(requests) - sent_back} served, {sent_back} sent back")


if __name__ == "__main__":
    main()
