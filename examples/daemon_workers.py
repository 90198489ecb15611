"""Daemon workers, and an exit that neither hangs nor loses anything.

A daemon thread does not keep the program alive: it is dropped wherever it is
when the main thread ends. Good for a worker that waits for work, bad for the
work itself. So: join the queue, then shut it down, then leave.

Prints::

    join() returned, and 100 of 100 jobs are done
    both workers have left: True
    a pool does the same by itself: 100
"""

import threading

from workpool import Counter, Pool, Queue


def work(jobs: Queue[int], done: Counter) -> None:
    """Take jobs until the queue is shut down."""
    for _job in jobs:  # marks each done, also if the body raises
        done.add()


def main() -> None:
    jobs: Queue[int] = Queue()
    done = Counter()
    workers = [threading.Thread(target=work, args=(jobs, done), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    for job in range(100):
        jobs.put(job)
    jobs.join(timeout=30)  # without it, the program could end with jobs in the queue
    print(f"join() returned, and {done.value} of 100 jobs are done")
    jobs.shutdown()  # without it, the workers would wait for more until they are dropped
    for worker in workers:
        worker.join(timeout=30)
    print("both workers have left:", not any(worker.is_alive() for worker in workers))

    # A pool's workers are daemons on one queue, too. The end of the block joins and shuts down.
    with Pool(2) as pool:
        counter = pool.counter()
        for _ in range(100):
            pool.submit(counter.add)
    print("a pool does the same by itself:", counter.value)


if __name__ == "__main__":
    main()
