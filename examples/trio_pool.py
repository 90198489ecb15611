"""trio: the same pool, awaited where the rest of the program is trio's (or anyio's).

Prints::

    awaited: 25
    together: [0, 1, 4, 9]
    as they come, without an end: [0, 1, 4, 9]
    too late, so cancelled: True
"""

import threading
from itertools import count

import trio

from workpool import Pool


def square(n: int) -> int:
    return n * n


async def main() -> None:
    async with Pool(1) as pool:
        print("awaited:", await pool.run(square, 5))

        found: list[int] = []

        async def one(n: int) -> None:
            found.append(await pool.run(square, n))

        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(one, n)
        print("together:", sorted(found))

        seen: list[int] = []
        async for result in pool.map(square, count(), buffersize=4):
            seen.append(result)
            if len(seen) == 4:
                break
        print("as they come, without an end:", seen)

        go_on = threading.Event()
        pool.submit(go_on.wait, 30)  # the only worker waits; the next task stays in the queue
        late = pool.submit(square, 6)
        with trio.move_on_after(0.05):
            await late
        go_on.set()
        print("too late, so cancelled:", late.cancelled())


if __name__ == "__main__":
    trio.run(main)
