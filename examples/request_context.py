"""A log that tells for which request a task works, though the task runs in another process.

Prints::

    [request 1] summing up in a worker
    [request 2] summing up in a worker
    [request 1] checksum 2bb9450b
    [request 2] checksum c419d969
    [no request] done
"""

import zlib
from contextvars import ContextVar

from workpool import Pool, Task

request: ContextVar[str] = ContextVar("request", default="no request")


def log(message: str) -> str:
    return f"[{request.get()}] {message}"


def check(data: bytes) -> tuple[str, int]:
    """Sum up, and log on behalf of whoever asked for it."""
    return log("summing up in a worker"), zlib.crc32(data)


def main() -> None:
    with Pool(2, backend="process", context=[request]) as pool:
        tasks: dict[str, Task[tuple[str, int]]] = {}
        for number in (1, 2):
            token = request.set(f"request {number}")
            tasks[request.get()] = pool.submit(check, b"abc" * 1000 * number)
            request.reset(token)
        for task in tasks.values():
            print(task.result()[0])
        for name, task in tasks.items():
            token = request.set(name)
            print(log(f"checksum {task.result()[1]:08x}"))
            request.reset(token)
        print(log("done"))


if __name__ == "__main__":
    main()
