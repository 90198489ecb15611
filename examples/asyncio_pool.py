"""asyncio: await what a pool does; the event loop goes on meanwhile.

Prints::

    awaited: 25
    together: [1, 4, 9]
    as they come, without an end: [0, 1, 4, 9]
    the loop ticked while a worker was busy: True
    cancelling the await cancelled the task: True
"""

import asyncio
import threading
from itertools import count

from workpool import Pool


def square(n: int) -> int:
    return n * n


async def main() -> None:
    async with Pool(1) as pool:
        print("awaited:", await pool.run(square, 5))
        print("together:", await asyncio.gather(*(pool.submit(square, n) for n in (1, 2, 3))))

        seen: list[int] = []
        async for result in pool.map(square, count(), buffersize=4):
            seen.append(result)
            if len(seen) == 4:
                break
        print("as they come, without an end:", seen)

        go_on = threading.Event()
        busy = pool.submit(go_on.wait, 30)  # the only worker waits; the loop does not
        waiting = asyncio.create_task(pool.run(square, 6))
        await asyncio.sleep(0)  # the loop turns once, and the second task is queued
        waiting.cancel()
        outcomes = await asyncio.gather(waiting, return_exceptions=True)
        go_on.set()
        print("the loop ticked while a worker was busy:", await busy)
        print(
            "cancelling the await cancelled the task:",
            isinstance(outcomes[0], asyncio.CancelledError),
        )


if __name__ == "__main__":
    asyncio.run(main())
