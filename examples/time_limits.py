"""Time limits and cancelling: three ways to stop a task, the gentlest last.

A process can be ended whatever it does, and another takes its place. What must be
left in good order is asked to stop, and looks now and then whether it was asked.

Prints::

    past its limit: TimeLimitExceeded, limit 0.2 s
    cancelled before it started: True
    cancelled while it ran: True
    asked to stop: tidied up and left
    the pool goes on: 42
"""

from workpool import Event, Pool, TimeLimitExceeded


def spin(running: Event) -> None:
    """Never end, and never wait for anything either."""
    running.set()
    while True:
        pass


def polite(running: Event, stop: Event) -> str:
    running.set()
    while not stop.wait(0.01):
        pass  # a piece of the work
    return "tidied up and left"


def main() -> None:
    with Pool(1, backend="process") as pool:
        running, stop = pool.event(), pool.event()
        try:
            pool.options(time_limit=0.2).submit(spin, running).result()
        except TimeLimitExceeded as error:
            print("past its limit: TimeLimitExceeded, limit", error.time_limit, "s")

        running.clear()
        task = pool.submit(spin, running)
        queued = pool.submit(spin, running)
        print("cancelled before it started:", queued.cancel())
        running.wait(30)
        print("cancelled while it ran:", task.cancel(kill=True))

        running.clear()
        answer = pool.submit(polite, running, stop)
        running.wait(30)
        stop.set()
        print("asked to stop:", answer.result())
        print("the pool goes on:", pool.submit(int, "42").result())


if __name__ == "__main__":
    main()
